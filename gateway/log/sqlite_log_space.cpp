// Reading rows back, and giving back the space of what nobody wants any more, or what there is no room for.
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
  if (!mending_.empty()) {  // a damaged file is about to be replaced: what it holds is not to be seen before
    mending_.begin()->second.push_back([this, alive = alive_, lane, range, direction, bytes_max, done = std::move(done)](Status status) {
      if (!status.ok() || !*alive) return done(status.ok() ? Status{Code::closed, "the log is closed"} : status);
      read(lane, range, direction, bytes_max, done);
    });
    return;
  }
  if (range.last > durable_) {  // part of it is held back from flash: whoever reads so far back shows that it must not be
    flush_held();
    (writing_ ? writing_dones_ : open_dones_).push_back([this, lane, range, direction, bytes_max, done = std::move(done)](const Status& status) {
      if (status.ok()) read(lane, range, direction, bytes_max, done);
      else done(status);
    });
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
      [this, alive = alive_, lane, range, direction, bytes_max, result, done = std::move(done)] {
        if (!*alive) return done(Status{Code::closed, "the log is closed"});
        if (result->fault.ok()) return done(std::move(result->rows));
        on_read_fault(result->fault_in, result->fault, [this, alive, lane, range, direction, bytes_max, result, done](Status status) {
          if (!*alive) return done(Status{Code::closed, "the log is closed"});
          if (status.ok()) return read(lane, range, direction, bytes_max, done);
          if (result->rows.empty()) return done(status);
          done(std::move(result->rows));
        });
      });
}

// ---- space ----------------------------------------------------------------------------------------------------------

std::uint64_t SqliteLog::bytes_used() const {
  std::uint64_t sum = head_.file_bytes + aside_bytes_ + (note_has_space_ ? SettleNote::file_bytes : 0);
  for (const auto& [id, segment] : sealed_) sum += segment.file_bytes;
  for (const auto* files : {&state_files_, &retired_state_files_}) {
    for (const StateFile& file : *files) sum += file.bytes;
  }
  return sum;
}

// What the open group and the one in the air will add.
std::uint64_t SqliteLog::bytes_coming() const {
  std::uint64_t bytes = waiting();
  if (writing_) {
    for (const Row& row : writing_->rows) bytes += row.columns->size();
  }
  return bytes;
}

// Whether less than `margin` is left beside what a roll-over may need, and state when its files become one.
bool SqliteLog::over(std::uint64_t margin) const {
  const std::uint64_t state = state_files_.empty() ? 0 : state_bytes_;
  return bytes_used() + bytes_coming() + state + margin + 3 * options_.segment_bytes > options_.bytes_max;
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
  if (aside_bytes_ > 0 && over(0)) {
    remove_aside(folder_);
    aside_bytes_ = 0;
  }
  if (over(0)) {  // they were for the day this head is lost
    for (const StateFile& file : std::exchange(retired_state_files_, {})) (void)folder_.remove(state_file_name(file.id));
  }
  // For the log's own bound alone: a disk that others fill, or that fails, evicts nothing. And only while records come in: when
  // only settles do, rows on their way north are better delivered than evicted.
  const bool evict = options_.when_full == WhenFull::evict && over(0) && coming_;
  std::vector<SegmentInfo> oldest_first;
  for (const auto& [id, segment] : sealed_) {
    if (!mending_.contains(id)) oldest_first.push_back(segment);
  }
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
    auto rows = std::make_shared<Result<std::vector<ListedRow>>>(Status{Code::closed, "not read"});
    loop_.run_blocking("read", [reader = reader_, segment = segment, wanted, rows] { *rows = reader->list(segment, wanted); },
                       [this, alive = alive_, segment = segment, rows, wanted] {
                         if (!*alive) return;
                         reclaiming_ = false;
                         if (wanted && !stats_.trouble.empty()) return;  // what is evicted must be told, and that cannot be written
                         if (rows->ok()) return reclaim(segment, rows->value(), wanted);
                         on_read_fault(segment.id, rows->status(), [this, alive, segment](Status status) {
                           // What cannot be mended cannot be kept either, when there is no room left. What could not be
                           // looked at just now can: no descriptor or a slow disk is no damage.
                           if (!*alive || status.ok() || status.code() == Code::unavailable || !over(0)) return;
                           if (read_failures_[segment.id] >= read_failures_max) lose_segment(segment.id, "damaged file");
                         });
                       });
    return;
  }
  if (evict && !seal_next_ && head_.row_bytes() >= options_.segment_bytes / 4 && !writing_) {
    seal_next_ = true;  // the head is all there is: close it, so that it can go next time
    open_dirty_ = true;
    schedule_close();
  }
}

// One commit: the rows that stay move to the head, the rest is settled as evicted with a loss record, the table forgets
// the segment. The file goes after that commit.
void SqliteLog::reclaim(const SegmentInfo& segment, const std::vector<ListedRow>& rows, bool evict) {
  if (!sealed_.contains(segment.id)) return;
  // What the log holds of each lane besides: alarms and windows stay, but not for ever in the place of everything else.
  std::array<std::uint64_t, lane_count> lane_bytes{};
  for (const SegmentInfo& other : segments()) {
    for (std::size_t lane = 0; other.id != segment.id && lane < lane_count; ++lane) lane_bytes[lane] += other.lanes[lane].bytes;
  }
  const auto lane_bytes_max = [&](Lane lane) -> std::uint64_t {
    if (lane == Lane::dead) return options_.bytes_max / 10;
    if (!evict) return UINT64_MAX;
    return lane == Lane::alarm || lane == Lane::window ? options_.bytes_max / 5 : 0;
  };
  std::uint64_t keep_budget = options_.segment_bytes / 2;
  GroupWrite::Copy copy{segment, {}};
  for (const Lane lane : {Lane::alarm, Lane::dead, Lane::window, Lane::raw, Lane::held}) {
    for (const ListedRow& listed : rows) {
      const Row& row = listed.row;
      if (row.lane != lane) continue;
      SegmentInfo only = segment;
      only.lanes = {};
      only.lanes[static_cast<std::size_t>(lane)].add(row.first, row.last(), row.count, listed.bytes);
      if (settled_by_all(only, lane)) continue;
      if (lane == Lane::dead && std::any_of(struck_.begin(), struck_.end(), [&](const Range& r) { return r.first <= row.first && row.last() <= r.last; })) {
        continue;
      }
      std::uint64_t& held = lane_bytes[static_cast<std::size_t>(lane)];
      if (held + listed.bytes <= lane_bytes_max(lane) && listed.bytes <= keep_budget) {
        keep_budget -= listed.bytes;
        held += listed.bytes;
        copy.firsts.push_back(row.first);
      } else if (lane == Lane::dead) {
        lose({"", lane}, {{row.first, row.last()}}, row.count, How::evicted, "dead_full");
      } else {
        // The oldest go first: below a raw or held row that is evicted nothing of its lane is left.
        lose_row(listed, lane == Lane::raw || lane == Lane::held ? 1 : row.first, How::evicted, "evicted");
      }
    }
  }
  if (!copy.firsts.empty()) open_copies_.push_back(std::move(copy));
  drop_segment(segment.id);
}

// The table forgets the segment in the open group; the file goes once that is committed.
void SqliteLog::drop_segment(std::uint32_t id) {
  sealed_.erase(id);
  drop_state(segment_key(id));
  open_removals_.push_back(segment_name(id));
  loop_.run_blocking("read", [reader = reader_, id] { reader->forget(id); }, [] {});
  open_dirty_ = true;
  schedule_close();
}

}  // namespace millrace
