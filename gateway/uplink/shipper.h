// Ships one uplink's share of the log: reads its lanes after the cursor, sends, settles, moves the cursor. The cursor never
// passes a record that the far side has not acknowledged, the dead lane does not hold, and the ledger does not name as
// expired. Lives on the loop; knows nothing of any protocol.
//
// Lanes go by priority (alarm, window, raw unless configured otherwise), but a waiting lane gets one batch in ten at
// least. A lane is read in runs: with order = oldest one run upwards, with order = newest one upwards from the last
// reconnect and then one downwards through what lies below it. A run settles its rows in its own order, so that a crash
// sends again what was in flight and nothing else. A refused batch is halved until the record that will never be taken
// stands alone; that one goes to the dead lane with this uplink's name, its neighbours go through.
//
// Where the far side keeps the cursor in one transaction with the data (exactly once), what it kept is the truth each time
// it is reached anew: what it has is settled here, whatever answer we heard or did not hear.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/handle.h"
#include "base/metrics.h"
#include "base/rng.h"
#include "uplink/shipping.h"
#include "loop/loop.h"
#include "uplink/breaker.h"
#include "uplink/drain.h"
#include "uplink/marker.h"
#include "uplink/pace.h"
#include "uplink/run.h"
#include "uplink/shipper_metrics.h"
#include "uplink/suspicion.h"
#include "uplink/uplink.h"

namespace millrace {

struct ShipperOptions {
  std::string name;
  DrainConfig drain;
  bool start_oldest = false;
  Duration initial_interval = std::chrono::milliseconds(500), max_interval = std::chrono::minutes(1);
  Breaker::Options breaker;
  std::function<bool()> clock_trusted = [] { return true; };  // whether stamps of ours can be believed
  // The clock by which records get old; nothing while none can be told: time that jumped is not time that passed.
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
  std::string size_limit() const { return suspicion_.limit_words(); }
  std::uint64_t backlog() const;  // records not yet settled
  std::size_t in_flight() const { return flights_.size(); }
  // Nothing that is committed waits to be sent or settled.
  bool idle() const { return backlog() == 0 && flights_.empty(); }
  // Seconds until the backlog is gone at the present rates; infinite when it grows.
  double eta_seconds() const;
  // Sends a dead letter once more, under its old number, outside of the lanes. `done` runs once.
  void send_again(Row row, std::function<void(Outcome)> done);

 private:
  struct LaneState {
    Lane lane;
    std::int64_t priority = 0;
    std::deque<Run> runs;            // the first one that has something waiting is served
    Sequence reconnected_at = 0;     // order = newest: the last number committed when the far side came back
    int passed_over = 0;
    Instant rests_until;             // it waits for something smaller than what is in question; the others go on
  };
  struct Flight {
    Lane lane;
    std::uint64_t run;
    std::vector<Sequence> firsts;
    Instant sent;
    std::size_t bytes = 0;
    bool full = false;                          // as batches went when it was cut
    Duration control{0};
    std::optional<Suspicion::Part> stands_for;  // it is a neighbour of this suspect
  };

  void go_on();
  bool read_marker();
  void adopt_next();
  Bytes marker_after(Lane lane, const Run& run, const Batch& batch) const;
  void pump();
  void plan_runs(LaneState& lane);
  Run make_run(bool up, Sequence from, Sequence end);
  std::pair<LaneState*, Run*> choose(Duration& wait);
  Run* servable(LaneState& lane, Duration& wait);
  Duration rest_of(const Run& run) const;
  LaneState& state_of(Lane lane);
  Run* find_run(Lane lane, std::uint64_t id);
  void read_more(LaneState& lane, Run& run);
  void take_rows(Lane lane, std::uint64_t run, Result<std::vector<Row>> rows, Sequence through);
  void expire(Lane lane, Run& run);
  bool over_rate(std::size_t bytes, double records) const;
  bool send(LaneState& lane, Run& run);
  Run::Pieces::iterator pick(Lane lane, Run& run, Flight& flight);
  void on_outcome(std::uint64_t flight, const Outcome& outcome);
  void isolate(Lane lane, Run& run, const Flight& flight, const std::vector<Sequence>& refused, const Outcome& outcome);
  void bury(Run& run, Run::Pieces::iterator at, const std::string& reason);
  void sift(Lane lane, Run& run);
  void on_lost(const Flight& flight, const Outcome& outcome);
  std::optional<Suspicion::Part> suspect_in(Lane lane, Run& run) const;
  void on_neighbour(Run& run, const Suspicion::Part& suspect, bool passed);
  void block(const std::string& reason, Duration retry_after);
  void settle(Lane lane, Run& run);
  void on_reach(const Uplink::Reach& reach);
  void note_trouble(Verdict verdict, const std::string& reason);
  void pump_after(Duration delay);
  void on_committed();
  void age_commits();
  bool is_replay(const Row& row);
  void observe_pace(const Flight& flight, const Outcome& outcome, Instant now);
  std::size_t cut_for(std::size_t row, std::size_t in_it, std::size_t bytes_max) const;
  std::size_t flights_max() const;

  Loop& loop_;
  Log& log_;
  Uplink& uplink_;
  Metrics& metrics_;
  Rng& rng_;
  ShipperOptions options_;
  std::vector<LaneState> lanes_;
  std::map<std::uint64_t, Flight> flights_;
  std::uint64_t next_flight_ = 1, next_run_ = 1;
  Backoff backoff_;
  Breaker breaker_;
  TokenBucket bytes_allowed_, records_allowed_;
  RateMeter bytes_arriving_, records_arriving_, records_leaving_;
  Pace pace_;
  Suspicion suspicion_;
  std::vector<Suspicion::Part> lost_, swallowed_;  // with the connection, of all that was on its way
  Instant answered_;                   // when the last answer came
  bool replan_ = false;                // order = newest: the runs begin anew once nothing flies
  std::unique_ptr<Timer> pump_timer_;
  Instant not_before_, stop_deadline_;
  // When which number was committed, as far back as `replay_after`; what is older is backlog.
  std::deque<std::pair<Sequence, Instant>> commits_;
  Sequence old_through_ = 0;
  // The far side's marker: what it settles is worked off before anything is sent. One that an earlier process wrote speaks
  // of no number that was given since.
  const std::uint64_t instance_;
  const Sequence found_through_;
  std::deque<std::pair<Lane, Range>> adopting_;
  bool marked_ = false, usurped_ = false;
  bool stopping_ = false;
  Uplink::Reach reach_{false, "not connected yet", false};
  std::string needed_person_;  // why somebody must act; until it is up
  std::string trouble_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  ShipperMetrics counts_;
  Metrics::Hook scrape_;
  Handle subscription_, listening_;
};

}  // namespace millrace
