// What is lost is settled, counted and told: losses gather in the open group and become one record for each consumer, lane
// and reason. And what keeps losses small: a damaged segment is rebuilt from its whole rows before anybody goes on reading.
#include <algorithm>

#include "base/logger.h"
#include "log/sqlite_log.h"
#include "log/state_table.h"

namespace millrace {
namespace {

std::uint64_t numbers_in(const std::vector<Range>& ranges) {
  std::uint64_t sum = 0;
  for (const Range& r : ranges) sum += r.last - r.first + 1;
  return sum;
}

}  // namespace

// Settles what will never arrive. `who` without a consumer concerns them all and moves no cursor.
void SqliteLog::lose(const CursorKey& who, const std::vector<Range>& ranges, std::uint64_t records, How how, const char* reason,
                     const LossDetail* devices) {
  if (ranges.empty() || records == 0) return;
  if (const auto found = cursors_.find(who); found != cursors_.end()) {
    records = std::min(records, found->second.ledger.unsettled());
    for (const Range& range : ranges) {
      // A ninth range is never opened: the cursor passes over these numbers when it settles their neighbours.
      if (found->second.settled.can_settle(range)) found->second.settled.settle(range);
    }
    found->second.ledger.settled[static_cast<std::size_t>(how)] += records;
  }
  if (records == 0) return;
  if (!who.first.empty() && who.first.front() == '@') return;  // our own consumers (windows) have no one to tell
  if (how == How::evicted) stats_.evicted_records += records;
  if (how == How::unreadable) stats_.lost_records += records;
  const auto [at, fresh] = open_losses_.try_emplace({who.first, who.second, reason});
  LossDetail& loss = at->second;
  if (fresh) {
    loss.consumer = who.first;
    loss.reason = reason;
    loss.first = ranges.front().first;
  }
  loss.count += records;
  loss.first = std::min(loss.first, ranges.front().first);
  loss.last = std::max(loss.last, ranges.back().last);
  if (devices) {
    for (const auto& [device, count] : devices->devices) loss.add_device(device, count);
    loss.other_devices += devices->other_devices;
  }
  open_dirty_ = true;
}

// The row goes, and `from` is the lowest number that goes with it: numbers of other lanes between rows must not keep the
// cursor back.
void SqliteLog::lose_row(const ListedRow& listed, Sequence from, How how, const char* reason) {
  const Row& row = listed.row;
  for (const auto& [key, cursor] : cursors_) {
    if (key.second != row.lane) continue;
    const std::uint64_t records = numbers_in(cursor.settled.unsettled_in({row.first, row.last()}));
    LossDetail some;  // part of the row is settled: whose records are left is not looked up
    some.other_devices = records;
    lose(key, cursor.settled.unsettled_in({from, row.last()}), records, how, reason, records == row.count ? &listed.devices : &some);
  }
}

// The file is gone: what it held is lost, and nobody waits for it.
void SqliteLog::lose_segment(std::uint32_t id, const char* reason) {
  const auto found = sealed_.find(id);
  if (found == sealed_.end()) return;
  LOG_ERROR("log: ", segment_name(id), ": ", reason, "; what it held and was not delivered is lost");
  const SegmentInfo segment = found->second;
  ++stats_.unreadable_rows;
  for (const auto& [key, cursor] : cursors_) {
    const LaneSpan& span = segment.lanes[static_cast<std::size_t>(key.second)];
    if (span.empty()) continue;
    const auto ranges = cursor.settled.unsettled_in({span.first, span.last});
    lose(key, ranges, std::min(numbers_in(ranges), span.records), How::unreadable, reason);
  }
  drop_segment(id);
}

void SqliteLog::lose_missing_rows(const SegmentInfo& before, const std::array<LaneSpan, lane_count>& now, const std::vector<Row>& rows, How how,
                                  const char* reason) {
  for (const auto& [key, cursor] : cursors_) {
    const LaneSpan& was = before.lanes[static_cast<std::size_t>(key.second)];
    const std::uint64_t whole = now[static_cast<std::size_t>(key.second)].records;
    if (was.records <= whole) continue;
    std::vector<Range> ranges;
    for (const Range& gap : gaps_between(rows, {was.first, was.last})) {
      for (const Range& part : cursor.settled.unsettled_in(gap)) ranges.push_back(part);
    }
    lose(key, ranges, std::min(numbers_in(ranges), was.records - whole), how, reason);
  }
}

// `again` is called with success when reading may be tried again, else with what stands in the way.
void SqliteLog::on_read_fault(std::uint32_t segment, const Status& fault, std::function<void(Status)> again) {
  const auto here = folder_.identity(anchor_name);
  if (!here.ok()) return again(here.status());
  if (here.value() != folder_identity_) return again({Code::unavailable, "the log's folder is not there"});
  const auto is_gone = gone(segment);
  if (!is_gone.ok()) return again(is_gone.status());
  if (is_gone.value() && sealed_.contains(segment)) {
    lose_segment(segment, "missing file");
    loop_.post([again = std::move(again)] { again({}); });
    return;
  }
  // No descriptor, no memory: the shipper comes again, and its file is none the worse for it.
  if (fault.code() == Code::unavailable) {
    if (read_trouble_ != fault.detail()) LOG_WARN("log: ", segment_name(segment), " cannot be read now: ", fault.detail());
    read_trouble_ = fault.detail();
    return again(fault);
  }
  read_trouble_.clear();
  LOG_ERROR("log: ", segment_name(segment), ": ", fault.detail());
  if (fault.code() != Code::corrupt && ++read_failures_[segment] < read_failures_max) return again(fault);
  mend(segment, std::move(again));
}

void SqliteLog::mend(std::uint32_t id, std::function<void(Status)> then) {
  if (const auto at = mending_.find(id); at != mending_.end()) {
    at->second.push_back(std::move(then));
    return;
  }
  if (id == head_.id && !sealed_.contains(id)) {  // the head is sealed first
    seal_next_ = open_dirty_ = open_urgent_ = true;
    open_dones_.push_back([this, id, then = std::move(then)](Status status) {
      if (status.ok()) mend(id, then);
      else then(status);
    });
    schedule_close();
    return;
  }
  if (!sealed_.contains(id)) {
    loop_.post([then = std::move(then)] { then({}); });
    return;
  }
  LOG_WARN("log: ", segment_name(id), " is damaged; taking over what is whole");
  mending_[id].push_back(std::move(then));
  auto rebuilt = std::make_shared<Rebuilt>();
  loop_.run_blocking("read", [reader = reader_, id, rebuilt] { *rebuilt = reader->rebuild(id); },
                     [this, alive = alive_, id, rebuilt] {
                       if (*alive) on_rebuilt(id, *rebuilt);
                     });
}

// The losses and the new account of the segment go into one commit; after it the rebuilt file takes the damaged one's
// place. A crash before leaves all as it was, and the damage is found again.
void SqliteLog::on_rebuilt(std::uint32_t id, const Rebuilt& rebuilt, How how) {
  if (!rebuilt.status.ok()) {
    LOG_ERROR("log: ", segment_name(id), " cannot be rebuilt: ", rebuilt.status.detail());
    if (rebuilt.status.code() != Code::unavailable) ++read_failures_[id];
    for (auto& then : std::exchange(mending_[id], {})) then(rebuilt.status);
    mending_.erase(id);
    return;
  }
  SegmentInfo& segment = sealed_.at(id);
  const SegmentInfo before = segment;
  segment.file_bytes = rebuilt.file_bytes;
  segment.lanes = rebuilt.lanes;
  std::vector<Row> rows = rebuilt.rows;
  if (std::erase_if(rows, [&](const Row& row) { return row.first > before.valid_through; }) > 0) {
    segment.lanes = {};  // remains of a commit that was repeated elsewhere do not count
    for (const Row& row : rows) segment.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count, 0);
  }
  take_over_rows(rows);
  for (const Row& row : rows) committed_ = std::max(committed_, row.last());
  lose_missing_rows(before, segment.lanes, rows, how, how == How::unreadable ? "damaged file" : how_name(how));
  put_state(segment_key(id), encode_segment(segment));
  open_replacements_.push_back({id, how == How::unreadable});
  open_dirty_ = open_urgent_ = true;
  schedule_close();
  if (how != How::unreadable) return;
  std::uint64_t whole = 0, held = 0;
  for (const LaneSpan& span : segment.lanes) whole += span.records;
  for (const LaneSpan& span : before.lanes) held += span.records;
  LOG_WARN("log: ", segment_name(id), ": ", whole, " of ", std::max(held, whole), " records are whole");
  ++stats_.files_set_aside;
  if (held > whole) ++stats_.unreadable_rows;
}

}  // namespace millrace
