// How long readings take on their way through the gateway, of one uplink: from received to acknowledged, and
// of that how long they waited to be sent and for the answer; by lane, and live apart from backlog. Live is
// what was committed while the far side was there and nothing older of its lane waited: so an outage, and the
// draining after it, is not in the live figures. Recorded by row, never by reading. On the loop.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "uplink/commit_times.h"
#include "uplink/lane_turns.h"

namespace millrace {

// What was seen in the last five to ten minutes: who looks wants to know how it is, not how it was last week.
class RecentLatency {
 public:
  static constexpr Duration turn = std::chrono::minutes(5);

  void observe(double seconds, std::uint64_t records, Instant now);
  const Histogram& of(Instant now) const;

 private:
  Histogram older_, younger_;  // the older one has all that the younger has
  Instant turned_;
};

class UplinkLatency {
 public:
  UplinkLatency(Metrics& metrics, std::string uplink, Sequence committed)
      : metrics_(metrics), uplink_(std::move(uplink)), times_(committed) {}

  void on_committed(const Log::GroupTimes& group);
  // Something is in the way: a connection that broke, a batch that must be sent again.
  void on_trouble();
  bool behind(Lane lane) const { return (free_ & bit(lane)) == 0; }
  // Nothing of the lane waits to be sent any more.
  void on_caught_up(Lane lane) { free_ = static_cast<std::uint8_t>(free_ | bit(lane)); }
  // Lanes in which nothing is in the way any more. Only while the far side is reached.
  void look_at(LaneTurns& lanes);
  void on_acknowledged(Lane lane, const Row& row, Instant sent, Instant now);

  // From received to acknowledged, in seconds: bounds, below which a half and 99 in 100 are.
  struct Whole {
    Lane lane;
    bool live;
    std::uint64_t records = 0, recent_records = 0;
    double p50 = 0, p99 = 0, recent_p50 = 0, recent_p99 = 0;
  };
  // Those that something was seen of.
  std::vector<Whole> whole(Instant now) const;

 private:
  struct Stages {
    Histogram *whole = nullptr, *wait = nullptr, *answer = nullptr;
    RecentLatency recent;
  };
  static std::uint8_t bit(Lane lane) { return static_cast<std::uint8_t>(1u << static_cast<unsigned>(lane)); }
  Stages& stages(Lane lane, bool live);

  Metrics& metrics_;
  const std::string uplink_;
  CommitTimes times_;
  std::uint8_t free_ = 0;  // a bit a lane
  std::array<std::array<Stages, 2>, lane_count> stages_{};
};

}  // namespace millrace
