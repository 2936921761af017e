// The shipper's part in exactly once: what the far side says it has is settled here before anything is sent.
#include <algorithm>

#include "base/logger.h"
#include "uplink/shipper.h"

namespace millrace {

// What of it is not settled here goes to `adopting_`. False when nothing may be sent.
bool Shipper::read_marker() {
  replan_ = true;  // what waits in memory may be there already
  const Bytes bytes = uplink_.marker();
  if (bytes.empty()) return true;
  const auto decoded = decode_marker(bytes);
  if (!decoded.ok()) {
    LOG_ERROR("uplink ", options_.name, ": the far side's marker: ", decoded.status().detail(), "; going on from our own cursor, records may come twice");
    return true;
  }
  const Marker& marker = decoded.value();
  if (marked_ && marker.instance != instance_) {
    usurped_ = true;
    needed_person_ = "another gateway sends under the same name: give one of them another, then restart";
    reach_ = {false, needed_person_, true};
    LOG_ERROR("uplink ", options_.name, ": ", needed_person_, " (somebody must act)");
    return false;
  }
  if (marker.epoch != log_.epoch()) {
    LOG_WARN("uplink ", options_.name, ": the far side last heard from another log (epoch ", marker.epoch, ", this one has ", log_.epoch(),
             "): this log was replaced, copied or restored; what is not settled here is sent, with its own identity");
    return true;
  }
  const Sequence through = marker.instance == instance_ ? UINT64_MAX : found_through_;
  Sequence highest = 0;
  for (const auto& [lane, settled] : marker.lanes) highest = std::max(highest, settled.ranges().empty() ? settled.low() : settled.ranges().back().last);
  if (highest > log_.last_committed()) log_.number_behind(highest);
  for (const LaneState& lane : lanes_) {
    const auto settled = marker.lanes.find(lane.lane);
    if (settled == marker.lanes.end()) continue;
    std::vector<Range> there{{1, settled->second.low()}};
    there.insert(there.end(), settled->second.ranges().begin(), settled->second.ranges().end());
    for (const Range& open : log_.unsettled(options_.name, lane.lane)) {
      for (const Range& range : there) {
        const Range both{std::max(open.first, range.first), std::min({open.last, range.last, through})};
        if (!both.empty()) adopting_.emplace_back(lane.lane, both);
      }
    }
  }
  return true;
}

// Settles what the far side has, counted by the log's own rows.
void Shipper::adopt_next() {
  if (adopting_.empty()) return go_on();
  const Lane lane = adopting_.front().first;
  const Range range = adopting_.front().second;
  log_.read(lane, range, Log::Direction::up, uplink_.limits().bytes_max, [this, alive = alive_, lane, range](const Result<std::vector<Row>>& rows) {
    if (!*alive || adopting_.empty() || adopting_.front() != std::pair(lane, range)) return;
    if (!rows.ok()) {
      if (rows.status().code() == Code::closed) return;
      LOG_ERROR("uplink ", options_.name, ": reading the log: ", rows.status().detail());
      pump_timer_ = loop_.after(std::chrono::seconds(1), [this] { adopt_next(); });
      return;
    }
    std::uint64_t records = 0;
    Sequence through = range.last;
    for (const Row& row : rows.value()) {
      records += std::min(row.last(), range.last) - std::max(row.first, range.first) + 1;
      through = std::min(row.last(), range.last);
    }
    log_.commit({.settles = {{options_.name, lane, {range.first, through}, records, How::delivered}}}, {});
    LOG_INFO("uplink ", options_.name, ": the far side has ", records, " records of lane ", lane_name(lane), " that were not settled here");
    adopting_.pop_front();
    if (through < range.last) adopting_.emplace_front(lane, Range{through + 1, range.last});
    adopt_next();
  });
}

// With one batch in flight everything before it in its run is settled.
Bytes Shipper::marker_after(Lane lane, const Run& run, const Batch& batch) const {
  Marker marker{log_.epoch(), instance_, {}};
  for (const LaneState& state : lanes_) marker.lanes.emplace(state.lane, log_.settled(options_.name, state.lane));
  SettledSet& settled = marker.lanes.at(lane);
  for (const Range& part : settled.unsettled_in(run.settled_with(batch))) {
    if (settled.can_settle(part)) settled.settle(part);
  }
  return encode_marker(marker);
}

}  // namespace millrace
