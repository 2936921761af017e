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
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/handle.h"
#include "base/metrics.h"
#include "base/rng.h"
#include "config/config.h"
#include "loop/loop.h"
#include "uplink/breaker.h"
#include "uplink/drain.h"
#include "uplink/marker.h"
#include "uplink/uplink.h"

namespace millrace {

struct ShipperOptions {
  std::string name;
  DrainConfig drain;
  bool start_oldest = false;
  Duration initial_interval = std::chrono::milliseconds(500), max_interval = std::chrono::minutes(1);
  Breaker::Options breaker;
  std::function<bool()> clock_trusted = [] { return true; };  // nothing expires by a clock nobody has set
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
  bool healthy() const { return up_ && trouble_.empty(); }
  std::uint64_t backlog() const;  // records not yet settled
  std::size_t in_flight() const { return flights_.size(); }
  // Nothing that is committed waits to be sent or settled.
  bool idle() const { return backlog() == 0 && flights_.empty(); }
  // Seconds until the backlog is gone at the present rates; infinite when it grows.
  double eta_seconds() const;
  // Sends a dead letter once more, under its old number, outside of the lanes. `done` runs once.
  void send_again(Row row, std::function<void(Outcome)> done);

 private:
  // A row on its way, or a part of one that was split.
  struct Piece {
    enum State : std::uint8_t { waiting, flying, safe, dead, expired } state = waiting;
    Row row;
    Sequence row_first = 0;                // of the row it is a part of
    std::int64_t newest_us = INT64_MAX;    // of its trusted times, when records may expire
    std::string reason;                    // why it is dead
    bool finished() const { return state == safe || state == dead || state == expired; }
  };
  // A way through a lane: upwards from `next`, or downwards to `end`.
  struct Run {
    std::uint64_t id = 0;
    bool up = true;
    Sequence next = 1;               // the first number not yet read
    Sequence end = UINT64_MAX;       // the last one of the run
    Sequence edge = 0;               // settled up to here (upwards: included; downwards: this is the lowest settled one)
    std::deque<Piece> pieces;        // in the order of the run; finished ones leave from the front
    std::size_t bytes_waiting = 0, bytes_held = 0;  // not yet sent; in memory altogether
    std::size_t rows_max = SIZE_MAX;  // of one batch; smaller while a poison record is being isolated
    bool reading = false;
    bool exhausted(Sequence committed) const { return up ? next > std::min(end, committed) : next < end || next == 0; }
  };
  struct LaneState {
    Lane lane;
    std::int64_t priority = 0;
    std::deque<Run> runs;            // the first one that has something waiting is served
    Sequence reconnected_at = 0;     // order = newest: the last number committed when the far side came back
    int passed_over = 0;
  };
  struct Flight {
    Lane lane;
    std::uint64_t run;
    std::vector<Sequence> firsts;
    Instant sent;
  };

  void go_on();
  bool read_marker();
  void adopt_next();
  Bytes marker_after(const LaneState& lane, const Run& run, const Batch& batch, const std::vector<Sequence>& row_firsts) const;
  void pump();
  void plan_runs(LaneState& lane);
  Run make_run(bool up, Sequence from, Sequence end);
  std::pair<LaneState*, Run*> choose(Duration& wait);
  Run* servable(LaneState& lane, Duration& wait);
  LaneState& state_of(Lane lane);
  Run* find_run(Lane lane, std::uint64_t id);
  static std::deque<Piece>::iterator find_piece(Run& run, Sequence first);
  void read_more(LaneState& lane, Run& run);
  void take_rows(Lane lane, std::uint64_t run, Result<std::vector<Row>> rows, Sequence through);
  void add_row(Run& run, Row row);
  void expire(Lane lane, Run& run);
  bool over_rate(std::size_t bytes, double records) const;
  void send(LaneState& lane, Run& run);
  void on_outcome(std::uint64_t flight, const Outcome& outcome);
  void isolate(Run& run, const std::vector<Sequence>& refused, const std::string& reason);
  void settle_finished(LaneState& lane, Run& run);
  Record dead_letter(Lane lane, const Piece& piece) const;
  void note_trouble(Verdict verdict, const std::string& reason);
  void pump_after(Duration delay);
  void on_committed();
  void age_commits();
  bool is_replay(const Row& row);
  std::size_t batch_bytes_max() const { return std::min(uplink_.limits().bytes_max, slow_start_); }

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
  std::size_t slow_start_;             // after a reconnect batches begin small and grow with each answer
  bool replan_ = false;                // order = newest: the runs begin anew once nothing flies
  std::unique_ptr<Timer> pump_timer_;
  Instant not_before_, stop_deadline_;
  // When which number was committed, as far back as `replay_after`; what is older is backlog.
  std::deque<std::pair<Sequence, Instant>> commits_;
  Sequence old_through_ = 0;
  std::int64_t clock_offset_us_ = 0;   // wall minus monotonic: a step shows here
  Instant clock_stepped_;
  // The far side's marker: what it settles is worked off before anything is sent. One that an earlier process wrote speaks
  // of no number that was given since.
  const std::uint64_t instance_;
  const Sequence found_through_;
  std::deque<std::pair<Lane, Range>> adopting_;
  bool marked_ = false, usurped_ = false;
  bool up_ = false, stopping_ = false;
  std::string down_reason_ = "not connected yet", trouble_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  Counter& records_sent_;
  Counter& bytes_sent_;
  Counter& retries_;
  Counter& refused_;
  Counter& expired_;
  Gauge& up_gauge_;
  Gauge& backlog_gauge_;
  Gauge& eta_gauge_;
  Gauge& breaker_gauge_;
  Gauge& blocked_gauge_;
  Histogram& round_trip_;
  Metrics::Hook scrape_;
  Handle subscription_, listening_;
};

}  // namespace millrace
