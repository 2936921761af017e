// Reading rows back, and giving back the space of what nobody wants any more: reclaimed, evicted, or found unreadable.
#include <algorithm>

#include "base/logger.h"
#include "log/sqlite_log.h"
#include "log/state_table.h"

namespace millrace {

// ---- reading --------------------------------------------------------------------------------------------------------

void SqliteLog::read(Lane lane, Range range, Direction direction, std::size_t bytes_max,
                     std::function<void(Result<std::vector<Row>>)> done) {
  range.last = std::min(range.last, committed_);
  if (range.first >= cached_from_ && direction == Direction::up) {
    std::vector<Row> rows;
    std::size_t bytes = 0;
    for (const Row& row : cache_) {
      if (row.lane != lane || row.last() < range.first || row.first > range.last) continue;
      if (!rows.empty() && bytes + row.columns->size() > bytes_max) break;
      bytes += row.columns->size();
      rows.push_back(row);
    }
    loop_.post([done = std::move(done), rows = std::move(rows)]() mutable { done(std::move(rows)); });
    return;
  }
  std::vector<SegmentInfo> segments;
  for (const auto& [id, segment] : sealed_) {
    if (!segment.lanes[static_cast<std::size_t>(lane)].empty()) segments.push_back(segment);
  }
  segments.push_back(head_);
  auto result = std::make_shared<ReadRows>();
  loop_.run_blocking(
      "read",
      [reader = reader_, segments = std::move(segments), head = head_.id, lane, range, direction, bytes_max, result] {
        *result = reader->read(segments, head, lane, range, direction, bytes_max);
      },
      [this, alive = alive_, lane, result, done = std::move(done)] {
        if (!*alive) return done(Status{Code::closed, "the log is closed"});
        on_read(lane, *result);
        if (!result->segment_fault.ok() && result->rows.empty()) return done(result->segment_fault);
        done(std::move(result->rows));
      });
}

void SqliteLog::on_read(Lane lane, const ReadRows& read) {
  for (const Row& row : read.unreadable) settle_lost(lane, row, How::unreadable, "checksum");
  if (!read.segment_fault.ok()) {
    LOG_ERROR("log: ", segment_name(read.fault_in), " cannot be read: ", read.segment_fault.detail());
    const auto found = sealed_.find(read.fault_in);
    const bool gone = folder_.size_of(segment_name(read.fault_in)) == 0;
    if (found != sealed_.end() && (gone || read.segment_fault.code() == Code::corrupt)) {
      lose_span(found->second, lane, read.rows.empty() ? 0 : read.rows.back().last() + 1, gone ? "missing file" : "damaged file");
      open_dirty_ = true;
      schedule_close();
    }
  }
}

// What a segment held of a lane, from `from` on, will never be read: every consumer that lacked it is settled, and told.
void SqliteLog::lose_span(const SegmentInfo& segment, Lane lane, Sequence from, const char* reason) {
  const LaneSpan& span = segment.lanes[static_cast<std::size_t>(lane)];
  if (span.empty() || from > span.last) return;
  ++stats_.unreadable_rows;
  for (auto& [key, cursor] : cursors_) {
    if (key.second != lane) continue;
    for (const Range& r : cursor.settled.unsettled_in({std::max(from, span.first), span.last})) {
      lose(lane, r, std::min<std::uint64_t>(r.last - r.first + 1, span.records), key.first, How::unreadable, reason);
    }
  }
}

// ---- space ----------------------------------------------------------------------------------------------------------

std::uint64_t SqliteLog::bytes_used() const {
  std::uint64_t sum = head_.file_bytes;
  for (const auto& [id, segment] : sealed_) sum += segment.file_bytes;
  return sum;
}

// Whether less than `margin` is left beside what a roll-over and the group in the air may need.
bool SqliteLog::over(std::uint64_t margin) const {
  std::uint64_t waiting = 0;
  for (const BatchBuilder& builder : open_) waiting += builder.bytes_waiting();
  return bytes_used() + waiting + margin + 3 * options_.segment_bytes > options_.bytes_max;
}

bool SqliteLog::settled_by_all(const SegmentInfo& segment, Lane lane) const {
  const LaneSpan& span = segment.lanes[static_cast<std::size_t>(lane)];
  if (span.empty()) return true;
  if (lane == Lane::dead) return false;  // nobody reads dead letters: they stay until there is no room for them
  for (const auto& [key, cursor] : cursors_) {
    if (key.second == lane && !cursor.settled.unsettled_in({span.first, std::min(span.last, segment.valid_through)}).empty()) return false;
  }
  return true;
}

// Lets go of segments that nobody wants any more, and of the oldest one when the bound asks for it.
void SqliteLog::make_room() {
  if (reclaiming_ || stopping_) return;
  const bool evict = options_.when_full == WhenFull::evict && (over(0) || (!stats_.trouble.empty() && writing_));
  std::vector<SegmentInfo> oldest_first;
  for (const auto& [id, segment] : sealed_) oldest_first.push_back(segment);
  for (const SegmentInfo& segment : oldest_first) {
    bool wanted = false;
    for (const Lane lane : all_lanes) wanted = wanted || (lane != Lane::dead && !settled_by_all(segment, lane));
    if (wanted && !evict) continue;
    if (!wanted && segment.lanes[static_cast<std::size_t>(Lane::dead)].empty()) {
      reclaim(segment, {}, false);
      continue;
    }
    // Rows must be looked at: which stay, and how many are lost.
    reclaiming_ = true;
    auto rows = std::make_shared<Result<std::vector<std::pair<Row, std::uint64_t>>>>(Status{Code::closed, "not read"});
    loop_.run_blocking("read", [reader = reader_, segment = segment, rows] { *rows = reader->list(segment); },
                       [this, alive = alive_, segment = segment, rows, wanted] {
                         if (!*alive) return;
                         if (!rows->ok()) LOG_ERROR("log: ", segment_name(segment.id), ": ", rows->status().detail());
                         reclaim(segment, rows->ok() ? rows->value() : std::vector<std::pair<Row, std::uint64_t>>{}, wanted);
                       });
    return;
  }
  if (evict && !seal_next_ && head_.file_bytes >= options_.segment_bytes / 2 && !writing_) {
    seal_next_ = true;  // the head is all there is: close it, so that it can go next time
    open_dirty_ = true;
    schedule_close();
  }
}

// One commit: the rows that stay move to the head, the rest is settled as evicted with a loss record, the table forgets
// the segment. The file goes after that commit.
void SqliteLog::reclaim(const SegmentInfo& segment, const std::vector<std::pair<Row, std::uint64_t>>& rows, bool evict) {
  reclaiming_ = false;
  if (!sealed_.contains(segment.id)) return;
  std::uint64_t dead_bytes = head_.lanes[static_cast<std::size_t>(Lane::dead)].bytes;
  for (const auto& [id, s] : sealed_) dead_bytes += id == segment.id ? 0 : s.lanes[static_cast<std::size_t>(Lane::dead)].bytes;
  std::uint64_t keep_budget = options_.segment_bytes / 2;
  GroupWrite::Copy copy{segment, {}};
  for (const Lane lane : {Lane::alarm, Lane::dead, Lane::window, Lane::raw, Lane::held}) {
    for (const auto& [row, bytes] : rows) {
      if (row.lane != lane) continue;
      SegmentInfo only = segment;
      only.lanes = {};
      only.lanes[static_cast<std::size_t>(lane)].add(row.first, row.last(), row.count, bytes);
      const bool wanted = lane == Lane::dead || !settled_by_all(only, lane);
      if (!wanted) continue;
      const bool may_stay = lane == Lane::dead ? dead_bytes + bytes <= options_.bytes_max / 10 : lane == Lane::alarm || lane == Lane::window || !evict;
      if (may_stay && bytes <= keep_budget) {
        keep_budget -= bytes;
        if (lane == Lane::dead) dead_bytes += bytes;
        copy.firsts.push_back(row.first);
      } else if (lane == Lane::dead) {
        lose(lane, {row.first, row.last()}, row.count, "", How::evicted, "dead_full");
      } else {
        settle_lost(lane, row, How::evicted, "evicted");
      }
    }
  }
  if (!copy.firsts.empty()) open_copies_.push_back(std::move(copy));
  sealed_.erase(segment.id);
  drop_state(segment_key(segment.id));
  open_removals_.push_back(segment_name(segment.id));
  loop_.run_blocking("read", [reader = reader_, id = segment.id] { reader->forget(id); }, [] {});
  open_dirty_ = true;
  if (writing_ && !stats_.trouble.empty()) {
    // The group in the air cannot be written for want of space: the file goes with it, not after the next one.
    for (const std::string& key : changed_) {
      const auto found = state_.find(key);
      if (found == state_.end()) writing_->state.erase(key);
    }
    for (const char* suffix : {"", "-wal", "-shm"}) (void)folder_.remove(segment_name(segment.id) + suffix);
  }
  schedule_close();
}

void SqliteLog::settle_lost(Lane lane, const Row& row, How how, const char* reason) {
  if (how == How::unreadable) ++stats_.unreadable_rows;
  std::vector<std::pair<std::string, Range>> losses;
  for (const auto& [key, cursor] : cursors_) {
    if (key.second != lane) continue;
    for (const Range& r : cursor.settled.unsettled_in({row.first, row.last()})) losses.emplace_back(key.first, r);
  }
  for (const auto& [consumer, range] : losses) lose(lane, range, range.last - range.first + 1, consumer, how, reason);
  open_dirty_ = true;
  schedule_close();
}

// Settles what will never arrive and says so: a loss record in the alarm lane, for every uplink to forward.
void SqliteLog::lose(Lane lane, Range range, std::uint64_t records, const std::string& consumer, How how, const char* reason) {
  if (!consumer.empty()) {
    const auto found = cursors_.find({consumer, lane});
    if (found != cursors_.end()) {
      const auto parts = found->second.settled.unsettled_in(range);
      for (const Range& part : parts) {
        if (!found->second.settled.can_settle(part)) return;  // the lowest gap is filled first; it comes round again
        found->second.settled.settle(part);
      }
      found->second.ledger.settled[static_cast<std::size_t>(how)] += records;
    }
  }
  if (how == How::evicted) stats_.evicted_records += records;
  if (!consumer.empty() && consumer.front() == '@') return;  // our own consumers (windows) have no one to tell
  auto detail = std::make_shared<Detail>();
  detail->body = LossDetail{consumer, reason, records, range.first, range.last};
  Record record;
  record.kind = Kind::loss;
  record.metric = lane_name(lane);
  record.time = loop_.wall();
  record.trust = TimeTrust::gateway;
  record.detail = std::move(detail);
  append(Lane::alarm, record);
}

}  // namespace millrace
