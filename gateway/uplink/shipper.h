// Ships one uplink's share of the log: reads its lanes after the cursor, sends, settles, moves the cursor. The cursor never
// passes a record that the far side has not acknowledged and the dead lane does not hold. Lives on the loop; knows nothing
// of any protocol.
//
// Lanes go by priority (alarm, window, raw), but a waiting lane gets one batch in ten at least. Inside a lane rows are
// settled in order, so that a crash sends again what was in flight and nothing else. A refused batch is halved until the
// record that will never be taken stands alone; that one goes to the dead lane with this uplink's name, its neighbours
// go through.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/rng.h"
#include "loop/loop.h"
#include "base/backoff.h"
#include "uplink/breaker.h"
#include "uplink/uplink.h"

namespace millrace {

struct ShipperOptions {
  std::string name;
  std::vector<Lane> lanes = {Lane::alarm, Lane::window, Lane::raw};
  bool start_oldest = false;
  Duration initial_interval = std::chrono::milliseconds(500), max_interval = std::chrono::minutes(1);
  Duration replay_after = std::chrono::seconds(10);
  Breaker::Options breaker;
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

 private:
  // A row on its way, or a part of one that was split.
  struct Piece {
    enum State : std::uint8_t { waiting, flying, safe, dead } state = waiting;
    Row row;
    std::string reason;  // why it is dead
  };
  struct LaneState {
    Lane lane;
    Sequence next = 1;               // first number not yet read
    Sequence settled_through = 0;
    std::deque<Piece> pieces;        // in number order; finished ones leave from the front
    std::size_t bytes_waiting = 0, bytes_held = 0;  // not yet sent; in memory altogether
    std::size_t rows_max = SIZE_MAX;  // of one batch; smaller while a poison record is being isolated
    bool reading = false;
    int passed_over = 0;
  };
  struct Flight {
    Lane lane;
    std::vector<Sequence> firsts;
    Instant sent;
  };

  void pump();
  LaneState* choose();
  LaneState& state_of(Lane lane);
  static std::deque<Piece>::iterator find_piece(LaneState& lane, Sequence first);
  void read_more(LaneState& lane);
  void take_rows(LaneState& lane, Result<std::vector<Row>> rows, Sequence through);
  void send(LaneState& lane);
  void on_outcome(std::uint64_t flight, const Outcome& outcome);
  void isolate(LaneState& lane, const std::vector<Sequence>& refused, const std::string& reason);
  void settle_finished(LaneState& lane);
  Record dead_letter(const Piece& piece) const;
  void note_trouble(Verdict verdict, const std::string& reason);
  void pump_after(Duration delay);
  void age_commits();
  bool is_replay(const Row& row);

  Loop& loop_;
  Log& log_;
  Uplink& uplink_;
  Rng& rng_;
  ShipperOptions options_;
  std::vector<LaneState> lanes_;
  std::map<std::uint64_t, Flight> flights_;
  std::uint64_t next_flight_ = 1;
  Backoff backoff_;
  Breaker breaker_;
  std::unique_ptr<Timer> pump_timer_;
  Instant not_before_, stop_deadline_;
  // When which number was committed, as far back as `replay_after`; what is older is backlog.
  std::deque<std::pair<Sequence, Instant>> commits_;
  Sequence old_through_ = 0;
  bool up_ = false, stopping_ = false;
  std::string down_reason_ = "not connected yet", trouble_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  Counter& records_sent_;
  Counter& bytes_sent_;
  Counter& retries_;
  Counter& refused_;
  Gauge& up_gauge_;
  Gauge& backlog_gauge_;
  Gauge& breaker_gauge_;
  Gauge& blocked_gauge_;
  Histogram& round_trip_;
  Metrics::Hook scrape_;
};

}  // namespace millrace
