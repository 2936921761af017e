#include "uplink/lane_reader.h"

#include <utility>

namespace millrace {

// A suspect needs a neighbour, also among large ones: then more is read.
void LaneReader::read_more(ShippingLane& lane, Run& run, const Uplink::Limits& limits) {
  const bool seeking = isolation_.suspect_in(lane.runs.lane(), run).has_value();
  const std::size_t held_max = limits.bytes_max * (limits.batches_in_flight + 1) * (seeking ? 4 : 1);
  const auto range = lane.runs.to_read(run, limits.bytes_max, held_max, seeking);
  if (!range) return;
  run.reading = true;
  log_.read(lane.runs.lane(), *range, run.up ? Log::Direction::up : Log::Direction::down, limits.bytes_max,
            [this, alive = alive_, which = lane.runs.lane(), id = run.id,
             through = range->last](Result<std::vector<Row>> rows) {
              if (*alive) take(which, id, std::move(rows), through);
            });
}

void LaneReader::take(Lane lane, std::uint64_t id, Result<std::vector<Row>> rows, Sequence through) {
  ShippingLane& state = lanes_.of(lane);
  Run* run = state.runs.find(id);
  if (!run) return;  // the runs began anew meanwhile
  run->reading = false;
  if (!rows.ok()) {
    if (rows.status().code() != Code::closed) came_(rows.status());
    return;
  }
  state.runs.take(
      *run, std::move(rows).value(), through, [this](Row& row) { return dating_.correct(row); },
      look_at_times_);
  isolation_.cut_again(lane, *run);
  came_({});
}

}  // namespace millrace
