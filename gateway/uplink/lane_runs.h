// In which order a lane is read, and what of it is held in memory. With order = oldest one run upwards; with
// order = newest one upwards from the last reconnect, and then one downwards through each range that lies
// below it. A run settles its rows in its own order, so that a crash sends again what was in flight and
// nothing else. Asks the log what is unsettled; reads nothing.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "uplink/run.h"

namespace millrace {

class LaneRuns {
 public:
  LaneRuns(const Log& log, std::string uplink, Lane lane, bool newest_first)
      : log_(&log), uplink_(std::move(uplink)), lane_(lane), newest_first_(newest_first) {}

  Lane lane() const { return lane_; }
  bool empty() const { return runs_.empty(); }
  std::size_t size() const { return runs_.size(); }
  // The first one that has something waiting is served.
  Run& operator[](std::size_t at) { return runs_[at]; }
  Run* find(std::uint64_t id);
  // All of them anew: what is in memory is dropped, so nothing of it may be on its way.
  void plan();
  // Where newest goes first: what is committed from now on goes before all else, at the next plan().
  void on_reconnected() { reconnected_at_ = log_->last_committed(); }

  // Nothing that is committed waits to be sent, but for what newest first keeps for later.
  bool caught_up() const;

  // A run that has an end; of those one at a time is served.
  static bool is_bounded(const Run& run) { return run.end != UINT64_MAX || !run.up; }
  // Nothing of it is left to be read, sent or settled.
  bool is_over(const Run& run) const {
    return is_bounded(run) && run.pieces.empty() && !run.reading && run.exhausted(log_->last_committed());
  }
  // It leaves, and what is still to be settled of it: numbers that are not of this lane join the ranges to
  // both sides.
  Range end(std::size_t at);

  // What is to be read of it now, about `bytes_max` bytes; nothing while enough is held: what flies is in
  // memory too, and together `held_max` is the bound. `ahead`: also where enough waits already.
  std::optional<Range> to_read(const Run& run, std::size_t bytes_max, std::size_t held_max, bool ahead) const;
  // Rows of the range up to `through` have come. `date` corrects their stamps (dating.h).
  // `look_at_times`: they may expire.
  void take(Run& run, std::vector<Row> rows, Sequence through, const std::function<bool(Row&)>& date,
            bool look_at_times);

 private:
  Run make(bool up, Sequence from, Sequence end);

  const Log* log_;
  std::string uplink_;
  Lane lane_;
  bool newest_first_;
  std::deque<Run> runs_;
  Sequence reconnected_at_ = 0;  // the last number that was committed when the far side came back
  std::uint64_t made_ = 0;
};

}  // namespace millrace
