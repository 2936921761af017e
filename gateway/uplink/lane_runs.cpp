#include "uplink/lane_runs.h"

#include <algorithm>

#include "base/logger.h"

namespace millrace {

// Numbers are given once over all lanes.
Run LaneRuns::make(bool up, Sequence from, Sequence end) {
  Run run;
  run.id = ++made_ * lane_count + static_cast<std::uint64_t>(lane_);
  run.up = up;
  run.next = from;
  run.end = end;
  run.edge = up ? from - 1 : from + 1;
  return run;
}

void LaneRuns::plan() {
  runs_.clear();
  const Sequence committed = log_->last_committed();
  const std::vector<Range> open = log_->unsettled(uplink_, lane_);
  if (!newest_first_) {
    // What newest first had settled above a gap, before it was configured otherwise, is not sent again.
    const Range lowest = open.empty() ? Range{committed + 1, committed} : open.front();
    runs_.push_back(make(true, lowest.first, lowest.last < committed ? lowest.last : UINT64_MAX));
    return;
  }
  const Sequence at = reconnected_at_;
  Sequence live = std::max(at, committed) + 1;
  for (const Range& range : open) {
    if (range.last > at) {
      live = std::max(at + 1, range.first);
      break;
    }
  }
  // What would open a ninth settled range waits: the lowest gap is filled first.
  if (!open.empty() && !log_->can_settle(uplink_, lane_, {live, live})) {
    runs_.push_back(make(true, open.front().first, open.front().last));
    return;
  }
  runs_.push_back(make(true, live, UINT64_MAX));
  for (auto range = open.rbegin(); range != open.rend(); ++range) {
    if (range->first <= at) runs_.push_back(make(false, std::min(range->last, at), range->first));
  }
}

Run* LaneRuns::find(std::uint64_t id) {
  const auto found = std::find_if(runs_.begin(), runs_.end(), [id](const Run& run) { return run.id == id; });
  return found == runs_.end() ? nullptr : &*found;
}

bool LaneRuns::caught_up() const {
  const Sequence committed = log_->last_committed();
  return std::any_of(runs_.begin(), runs_.end(), [committed](const Run& run) {
    return !is_bounded(run) && !run.reading && run.bytes_waiting == 0 && run.exhausted(committed);
  });
}

Range LaneRuns::end(std::size_t at) {
  const Run& run = runs_[at];
  const Range rest = run.up ? Range{run.edge + 1, run.end} : Range{run.end, run.edge - 1};
  runs_.erase(runs_.begin() + static_cast<std::ptrdiff_t>(at));
  return rest;
}

std::optional<Range> LaneRuns::to_read(const Run& run, std::size_t bytes_max, std::size_t held_max,
                                       bool ahead) const {
  const Sequence committed = log_->last_committed();
  if (run.reading || run.exhausted(committed)) return {};
  if (run.bytes_held >= held_max || (run.bytes_waiting >= bytes_max && !ahead)) return {};
  return run.up ? Range{run.next, std::min(run.end, committed)} : Range{run.end, run.next};
}

void LaneRuns::take(Run& run, std::vector<Row> rows, Sequence through, const std::function<bool(Row&)>& date,
                    bool look_at_times) {
  const bool none = rows.empty();
  for (Row& row : rows) {
    const Sequence first = row.first;
    const bool undated = date(row);
    const Status status = run.add(std::move(row), look_at_times, undated);
    if (!status.ok()) LOG_ERROR("uplink ", uplink_, ": row ", first, ": ", status.detail());
  }
  if (none) run.next = run.up ? std::max(run.next, through + 1) : run.end - 1;
}

}  // namespace millrace
