// Ships one uplink's share of the log: reads its lanes after the cursor, sends, settles, moves the cursor.
// The cursor never passes a record that the far side has not acknowledged, the dead lane does not hold, and
// the ledger does not name as expired. Lives on the loop; knows nothing of any protocol.
//
// Lanes go by priority (alarm, window, raw unless configured otherwise), but a waiting lane gets one batch in
// ten at least. What stands here is the switch over outcomes and what may be sent when; in which order a lane
// is read is in lane_runs.h, how fast a backlog goes in drain_rate.h and pace.h, what is done about what the
// far side does not take in isolation.h, what it knows itself (exactly once) in far_marker.h.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/handle.h"
#include "base/metrics.h"
#include "base/rng.h"
#include "loop/loop.h"
#include "uplink/breaker.h"
#include "uplink/drain_rate.h"
#include "uplink/far_marker.h"
#include "uplink/isolation.h"
#include "uplink/lane_runs.h"
#include "uplink/pace.h"
#include "uplink/shipper_metrics.h"
#include "uplink/shipping.h"
#include "uplink/uplink.h"
#include "uplink/uplink_latency.h"

namespace millrace {

struct ShipperOptions {
  std::string name;
  DrainConfig drain;
  bool start_oldest = false;
  Duration initial_interval = std::chrono::milliseconds(500), max_interval = std::chrono::minutes(1);
  Breaker::Options breaker;
  std::function<bool()> clock_trusted = [] { return true; };  // whether stamps of ours can be believed
  // The clock by which records get old; nothing while none can be told: time that jumped is not time that
  // passed.
  std::function<std::optional<WallTime>()> age_clock = [] { return std::optional<WallTime>(); };
  std::uint64_t boot_id = 0;
};

class Shipper {
 public:
  Shipper(Loop& loop, Log& log, Uplink& uplink, Metrics& metrics, Rng& rng, ShipperOptions options);
  ~Shipper() { *alive_ = false; }

  Status start();
  void stop(std::function<void()> done);

  const std::string& name() const { return options_.name; }
  // "up", or why it is not.
  std::string health() const;
  bool healthy() const { return reach_.up && trouble_.empty(); }
  // The size limit that the far side is suspected to have, in words; empty: none.
  std::string size_limit() const { return isolation_.suspicion().limit_words(); }
  std::uint64_t backlog() const;  // records not yet settled
  std::size_t in_flight() const { return flights_.size(); }
  // Nothing that is committed waits to be sent or settled.
  bool idle() const { return backlog() == 0 && flights_.empty(); }
  // Seconds until the backlog is gone at the present rates; infinite when it grows.
  double eta_seconds() const { return rate_.eta_seconds(static_cast<double>(backlog())); }
  const UplinkLatency& latency() const { return latency_; }
  // Sends a dead letter once more, under its old number, outside of the lanes. `done` runs once.
  void send_again(Row row, std::function<void(Outcome)> done);

 private:
  struct LaneState {
    LaneRuns runs;
    std::int64_t priority = 0;
    int passed_over = 0;
    Instant rests_until;  // it waits for something smaller than what is in question; the others go on
  };
  struct Flight : Isolation::Trip {
    std::uint64_t run = 0;
    Instant sent;
    std::size_t bytes = 0;
    bool full = false;  // as batches went when it was cut
  };

  void on_reach(const Uplink::Reach& reach);
  void go_on();
  void on_committed();

  // ---- what may be sent
  void pump();
  void pump_after(Duration delay);
  std::pair<LaneState*, Run*> choose(Duration& wait);
  Run* servable(LaneState& lane, Duration& wait);
  Duration rest_of(const Run& run) const;
  LaneState& state_of(Lane lane);
  void read_more(LaneState& lane, Run& run);
  void take_rows(Lane lane, std::uint64_t run, Result<std::vector<Row>> rows, Sequence through);
  void expire(Lane lane, Run& run);
  bool send(LaneState& lane, Run& run);
  bool send_nothing(LaneState& lane, Run& run, const Suspicion::Part& suspect);
  Batch fill(LaneState& lane, Run& run, Run::Pieces::iterator from, Flight& flight);
  std::size_t cut_for(std::size_t row, std::size_t in_it, std::size_t bytes_max) const;
  std::size_t flights_max() const;

  // ---- what becomes of it
  void on_outcome(std::uint64_t flight, const Outcome& outcome);
  std::vector<Sequence> take_back(const Flight& flight, const Outcome& outcome, Run& run);
  void observe_pace(const Flight& flight, const Outcome& outcome, Instant now);
  void block(const std::string& reason, Duration retry_after);
  void note_trouble(Verdict verdict, const std::string& reason);
  void settle(Lane lane, Run& run);
  void look_at_latency();

  Loop& loop_;
  Log& log_;
  Uplink& uplink_;
  Metrics& metrics_;
  Rng& rng_;
  ShipperOptions options_;
  std::vector<Lane> lane_names_;
  std::vector<LaneState> lanes_;  // by priority
  std::map<std::uint64_t, Flight> flights_;
  std::uint64_t next_flight_ = 1;
  Backoff backoff_;
  Breaker breaker_;
  DrainRate rate_;
  Pace pace_;
  Instant answered_;     // when the last answer came
  bool replan_ = false;  // order = newest: the runs begin anew once nothing flies
  std::unique_ptr<Timer> pump_timer_;
  Instant not_before_, stop_deadline_;
  bool usurped_ = false;
  bool stopping_ = false;
  Uplink::Reach reach_{false, "not connected yet", false};
  std::string needed_person_;  // why somebody must act; until it is up
  std::string trouble_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  FarMarker far_;
  ShipperMetrics counts_;
  UplinkLatency latency_;
  Isolation isolation_;
  Metrics::Hook scrape_;
  Handle subscription_, listening_;
};

}  // namespace millrace
