#include "uplink/far_marker.h"

#include <algorithm>

#include "base/logger.h"
#include "base/rng.h"

namespace millrace {

FarMarker::FarMarker(Loop& loop, Log& log, std::string uplink)
    : loop_(loop),
      log_(log),
      uplink_(std::move(uplink)),
      instance_(random_from_kernel()),
      found_through_(log.last_committed()) {}

FarMarker::Read FarMarker::read(const Bytes& found, const std::vector<Lane>& lanes) {
  forget();
  if (found.empty()) return Read::adopt;
  const auto decoded = decode_marker(found);
  if (!decoded.ok()) {
    LOG_ERROR("uplink ", uplink_, ": the far side's marker: ", decoded.status().detail(),
              "; going on from our own cursor, records may come twice");
    return Read::adopt;
  }
  const Marker& marker = decoded.value();
  if (marked_ && marker.instance != instance_) return Read::usurped;
  if (marker.epoch != log_.epoch()) {
    LOG_WARN(
        "uplink ", uplink_, ": the far side last heard from another log (epoch ", marker.epoch,
        ", this one has ", log_.epoch(),
        "): this log was replaced, copied or restored; what is not settled here is sent, with its own identity");
    return Read::adopt;
  }
  const Sequence through = marker.instance == instance_ ? UINT64_MAX : found_through_;
  Sequence highest = 0;
  for (const auto& [lane, settled] : marker.lanes)
    highest = std::max(highest, settled.ranges().empty() ? settled.low() : settled.ranges().back().last);
  if (highest > log_.last_committed()) log_.number_behind(highest);
  for (const Lane lane : lanes) {
    const auto settled = marker.lanes.find(lane);
    if (settled == marker.lanes.end()) continue;
    std::vector<Range> there{{1, settled->second.low()}};
    there.insert(there.end(), settled->second.ranges().begin(), settled->second.ranges().end());
    for (const Range& open : log_.unsettled(uplink_, lane)) {
      for (const Range& range : there) {
        const Range both{std::max(open.first, range.first), std::min({open.last, range.last, through})};
        if (!both.empty()) adopting_.emplace_back(lane, both);
      }
    }
  }
  return Read::adopt;
}

void FarMarker::adopt(std::size_t bytes, std::function<void()> done) {
  if (adopting_.empty()) return done();
  const Lane lane = adopting_.front().first;
  const Range range = adopting_.front().second;
  log_.read(
      lane, range, Log::Direction::up, bytes,
      [this, alive = alive_, lane, range, bytes,
       done = std::move(done)](const Result<std::vector<Row>>& rows) {
        if (!*alive || adopting_.empty() || adopting_.front() != std::pair(lane, range)) return;
        if (!rows.ok()) {
          if (rows.status().code() == Code::closed) return;
          LOG_ERROR("uplink ", uplink_, ": reading the log: ", rows.status().detail());
          again_ = loop_.after(std::chrono::seconds(1), [this, bytes, done] { adopt(bytes, done); });
          return;
        }
        std::uint64_t records = 0;
        Sequence through = range.last;
        for (const Row& row : rows.value()) {
          records += std::min(row.last(), range.last) - std::max(row.first, range.first) + 1;
          through = std::min(row.last(), range.last);
        }
        log_.commit({.settles = {{uplink_, lane, {range.first, through}, records, How::delivered}}}, {});
        LOG_INFO("uplink ", uplink_, ": the far side has ", records, " records of lane ", lane_name(lane),
                 " that were not settled here");
        adopting_.pop_front();
        if (through < range.last) adopting_.emplace_front(lane, Range{through + 1, range.last});
        adopt(bytes, done);
      });
}

Bytes FarMarker::after(const std::vector<Lane>& lanes, Lane lane, const Run& run, const Batch& batch) const {
  Marker marker{log_.epoch(), instance_, {}};
  for (const Lane one : lanes) marker.lanes.emplace(one, log_.settled(uplink_, one));
  SettledSet& settled = marker.lanes.at(lane);
  for (const Range& part : settled.unsettled_in(run.settled_with(batch))) {
    if (settled.can_settle(part)) settled.settle(part);
  }
  return encode_marker(marker);
}

}  // namespace millrace
