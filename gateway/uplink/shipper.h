// Ships one uplink's share of the log: reads its lanes after the cursor, sends, settles, moves the cursor.
// The cursor never passes a record that the far side has not acknowledged, the dead lane does not hold (or,
// of a log that is full to the last byte, the loss records that it could not), and the ledger does not name
// as expired. Lives on the loop; knows nothing of any protocol.
//
// What stands here is the switch over outcomes and what may be sent when. Whose turn it is among lanes is in
// lane_turns.h, in which order one is read in lane_runs.h, reading ahead in lane_reader.h; what a batch is in
// batching.h, how fast a backlog goes in drain_rate.h; what is done about what the far side does not take in
// isolation.h, what leaves in settling.h; what waits for the clock in dating.h; whether the far
// side may be sent to in far_side.h.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/backoff.h"
#include "base/handle.h"
#include "base/metrics.h"
#include "base/rng.h"
#include "loop/loop.h"
#include "uplink/batching.h"
#include "uplink/breaker.h"
#include "uplink/dating.h"
#include "uplink/drain_rate.h"
#include "uplink/far_side.h"
#include "uplink/flights.h"
#include "uplink/isolation.h"
#include "uplink/lane_reader.h"
#include "uplink/lane_turns.h"
#include "uplink/settling.h"
#include "uplink/shipper_metrics.h"
#include "uplink/shipper_options.h"
#include "uplink/uplink.h"
#include "uplink/uplink_latency.h"

namespace millrace {

class Shipper {
 public:
  Shipper(Loop& loop, Log& log, Uplink& uplink, Metrics& metrics, Rng& rng, ShipperOptions options);

  Status start();
  void stop(std::function<void()> done);

  const std::string& name() const { return options_.name; }
  // Whose cursor it sends from.
  const std::string& consumer() const { return options_.consumer(); }
  const FarSide& far_side() const { return far_; }
  // "up", or why it is not; and whether something waits for the clock.
  std::string health() const;
  bool healthy() const { return far_.healthy(); }
  bool waits_for_clock() const { return far_.open() && dating_.held().count() > 0; }
  // The size limit that the far side is suspected to have, in words; empty: none.
  std::string size_limit() const { return isolation_.suspicion().limit_words(); }
  // Records not yet settled; of a standby none, they are the other's.
  std::uint64_t backlog() const { return options_.standby_of.empty() ? lanes_.unsettled() : 0; }
  // Nothing that is committed waits to be sent or settled.
  bool idle() const { return backlog() == 0 && flights_.empty(); }
  // Seconds until the backlog is gone at the present rates; infinite when it grows.
  double eta_seconds() const { return rate_.eta_seconds(static_cast<double>(backlog())); }
  const UplinkLatency& latency() const { return latency_; }
  // Sends a dead letter once more, under its old number, outside of the lanes. `done` runs once.
  void send_again(Row row, std::function<void(Outcome)> done);

 private:
  void go_on(bool anew);
  void on_committed();
  void on_rows(const Status& status);

  // ---- what may be sent
  void pump();
  void pump_after(Duration delay);
  Run* servable(ShippingLane& lane, Duration& wait);
  bool held_for_clock(const ShippingLane& lane, Run& run, Duration& wait);
  bool send(ShippingLane& lane, Run& run);
  bool send_nothing(ShippingLane& lane, Run& run, const Suspicion::Part& suspect);

  // ---- what becomes of it
  void on_outcome(std::uint64_t flight, const Outcome& outcome);
  void hold_off(const Flight& flight, const Outcome& outcome, Instant now);
  void block(const std::string& reason, Duration retry_after);

  Loop& loop_;
  Log& log_;
  Uplink& uplink_;
  Metrics& metrics_;
  Rng& rng_;
  ShipperOptions options_;
  Backoff backoff_;
  Breaker breaker_;
  DrainRate rate_;
  LaneTurns lanes_;
  Flights flights_;
  bool replan_ = false;     // order = newest: the runs begin anew once nothing flies
  bool read_anew_ = false;  // times can be told that could not be, or otherwise
  std::unique_ptr<Timer> pump_timer_;
  Instant not_before_, stop_deadline_;
  Instant failed_;  // when the far side last did: what was on its way then and fails, too, is no more news
  bool stopping_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>();  // calls that come back hold it weakly

  ShipperMetrics counts_;
  UplinkLatency latency_;
  Isolation isolation_;
  Batching batching_;
  Settling settling_;
  Dating dating_;
  LaneReader reader_;
  Metrics::Hook scrape_;
  Handle subscription_, listening_;
  FarSide far_;
};

}  // namespace millrace
