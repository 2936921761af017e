// Reads an uplink's lanes ahead of what is sent, as far as memory allows (lane_runs.h says what is next). On
// the loop.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "log/log.h"
#include "uplink/dating.h"
#include "uplink/isolation.h"
#include "uplink/lane_turns.h"
#include "uplink/uplink.h"

namespace millrace {

class LaneReader {
 public:
  // `look_at_times`: records may expire. `came`: rows did, or the log could not be read; not after it was
  // closed.
  LaneReader(Log& log, LaneTurns& lanes, const Isolation& isolation, Dating& dating, bool look_at_times,
             std::function<void(const Status&)> came)
      : log_(log),
        lanes_(lanes),
        isolation_(isolation),
        dating_(dating),
        look_at_times_(look_at_times),
        came_(std::move(came)) {}
  ~LaneReader() { *alive_ = false; }

  // The next of a run, where it wants more and is not being read.
  void read_more(ShippingLane& lane, Run& run, const Uplink::Limits& limits);

 private:
  void take(Lane lane, std::uint64_t run, Result<std::vector<Row>> rows, Sequence through);

  Log& log_;
  LaneTurns& lanes_;
  const Isolation& isolation_;
  Dating& dating_;
  const bool look_at_times_;
  const std::function<void(const Status&)> came_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
