#include "log/mending.h"

#include <algorithm>

#include "base/logger.h"
#include "log/log_parts.h"
#include "log/state_table.h"
#include "record/batch.h"
#include "record/record_proto.h"

namespace millrace {
namespace {

// The rows that stay of `row`: its records but those that `goes` says, in pieces that keep their numbers.
std::vector<Row> without(const Row& row, const std::function<bool(const Record&)>& goes,
                         LossDetail& taken_out) {
  std::vector<Record> records;
  if (!decode_batch(*row.columns, row.zstd, records).ok()) return {row};
  std::vector<Row> rows;
  std::size_t from = 0;
  for (std::size_t i = 0; i <= records.size(); ++i) {
    const bool gone = i < records.size() && goes(records[i]);
    if (gone) taken_out.add_device(records[i].device, 1);
    if (i < records.size() && !gone) continue;
    if (i > from) {
      auto part = i - from == records.size() ? Result<EncodedBatch>(EncodedBatch{*row.columns, row.zstd})
                                             : slice_batch(*row.columns, row.zstd, from, i - from);
      if (!part.ok()) return {row};
      Row kept;
      kept.lane = row.lane;
      kept.first = row.first + from;
      kept.count = static_cast<std::uint32_t>(i - from);
      kept.zstd = part.value().zstd;
      kept.columns = std::make_shared<const Bytes>(std::move(part.value().bytes));
      rows.push_back(std::move(kept));
    }
    from = i + 1;
  }
  return rows;
}

std::vector<Range> without_ranges(std::vector<Range> ranges, const std::vector<Range>& others) {
  for (const Range& other : others) {
    std::vector<Range> left;
    for (const Range& range : ranges) {
      if (range.first < other.first) left.push_back({range.first, std::min(range.last, other.first - 1)});
      if (range.last > other.last) left.push_back({std::max(range.first, other.last + 1), range.last});
    }
    ranges = std::move(left);
  }
  return ranges;
}

// Of what an uplink refused the reading's, not the refusal's.
WallTime time_of(const Record& record) {
  const auto* letter = record.detail ? std::get_if<DeadDetail>(&record.detail->body) : nullptr;
  if (!letter || !letter->from_uplink()) return record.time;
  const auto refused = decode_record(letter->payload);
  return refused.ok() ? refused.value().time : record.time;
}

Status log_closed() { return {Code::closed, "the log is closed"}; }

}  // namespace

// Settles what will never arrive. `who` without a consumer concerns them all and moves no cursor.
void Mending::lose(const Cursors::Key& who, const std::vector<Range>& ranges, std::uint64_t records, How how,
                   const char* reason, const LossDetail* devices, const std::vector<Range>& elsewhere) {
  if (ranges.empty() || records == 0) return;
  records = p_.cursors.lose(who, without_ranges(ranges, elsewhere), records, how);
  if (records == 0) return;
  // our own consumers (windows) have no one to tell
  if (!who.first.empty() && who.first.front() == '@') return;
  if (how == How::evicted) p_.stats.evicted_records += records;
  if (how == How::unreadable) p_.stats.lost_records += records;
  LossDetail loss = devices ? *devices : LossDetail();
  loss.consumer = who.first;
  loss.reason = reason;
  loss.count = records;
  loss.first = ranges.front().first;
  loss.last = ranges.back().last;
  p_.open.add_loss(who.second, loss);
  p_.open.dirty = true;
}

// The row goes, and `from` is the lowest number that goes with it: numbers of other lanes between rows must
// not keep the cursor back.
void Mending::lose_row(const ListedRow& listed, Sequence from, How how, const char* reason) {
  const Row& row = listed.row;
  for (const auto& [key, cursor] : p_.cursors) {
    if (key.second != row.lane) continue;
    const std::uint64_t records = numbers_in(cursor.settled.unsettled_in({row.first, row.last()}));
    LossDetail some;  // part of the row is settled: whose records are left is not looked up
    some.other_devices = records;
    lose(key, cursor.settled.unsettled_in({from, row.last()}), records, how, reason,
         records == row.count ? &listed.devices : &some);
  }
}

// The file is gone: what it held is lost, and nobody waits for it.
void Mending::lose_segment(std::uint32_t id, const char* reason) {
  const auto found = p_.sealed.find(id);
  if (found == p_.sealed.end()) return;
  LOG_ERROR("log: ", segment_name(id), ": ", reason, "; what it held and was not delivered is lost");
  const SegmentInfo segment = found->second;
  ++p_.stats.unreadable_rows;
  for (const auto& [key, cursor] : p_.cursors) {
    const LaneSpan& span = segment.lanes[static_cast<std::size_t>(key.second)];
    if (span.empty()) continue;
    const auto ranges = cursor.settled.unsettled_in({span.first, span.last});
    lose(key, ranges, std::min(numbers_in(ranges), span.records), How::unreadable, reason, nullptr,
         held_elsewhere(segment, key.second));
  }
  const LaneSpan& dead = segment.lanes[static_cast<std::size_t>(Lane::dead)];
  if (!dead.empty()) lose_letters({{dead.first, dead.last}}, dead.records, How::unreadable, reason);
  p_.space.drop_segment(id);
}

// Between letters lie numbers of other lanes, so that it may be more than there were, and is never less.
void Mending::lose_letters(const std::vector<Range>& where, std::uint64_t records, How how,
                           const char* reason) {
  const std::vector<Range> left = without_ranges(where, p_.struck.ranges());
  lose({"", Lane::dead}, left, std::min(numbers_in(left), records), how, reason);
}

void Mending::lose_missing_rows(const SegmentInfo& before, const std::array<LaneSpan, lane_count>& now,
                                const std::vector<Row>& rows, How how, const char* reason) {
  for (const auto& [key, cursor] : p_.cursors) {
    const LaneSpan& was = before.lanes[static_cast<std::size_t>(key.second)];
    const std::uint64_t whole = now[static_cast<std::size_t>(key.second)].records;
    if (was.records <= whole) continue;
    std::vector<Range> ranges;
    for (const Range& gap : gaps_between(rows, {was.first, was.last})) {
      for (const Range& part : cursor.settled.unsettled_in(gap)) ranges.push_back(part);
    }
    lose(key, ranges, std::min(numbers_in(ranges), was.records - whole), how, reason, nullptr,
         held_elsewhere(before, key.second));
  }
  const LaneSpan& dead = before.lanes[static_cast<std::size_t>(Lane::dead)];
  const std::uint64_t whole = now[static_cast<std::size_t>(Lane::dead)].records;
  if (how == How::unreadable && dead.records > whole)
    lose_letters(gaps_between(rows, {dead.first, dead.last}), dead.records - whole, how, reason);
}

// Between the first and the last number of a segment that rows were carried into lie those of rows in other
// segments, and of rows on their way.
std::vector<Range> Mending::held_elsewhere(const SegmentInfo& segment, Lane lane) const {
  std::vector<Range> ranges;
  const auto add = [&](const SegmentInfo& other) {
    const LaneSpan& span = other.lanes[static_cast<std::size_t>(lane)];
    if (other.id != segment.id && !span.empty()) ranges.push_back({span.first, span.last});
  };
  for (const SegmentInfo& other : p_.segments()) add(other);
  for (const GroupWrite::Copy* copy : p_.copies()) add(copy->segment);
  return ranges;
}

// `again` is called with success when reading may be tried again, else with what stands in the way.
void Mending::on_read_fault(std::uint32_t segment, const Status& fault, std::function<void(Status)> again) {
  const auto here = p_.folder.identity(anchor_name);
  if (!here.ok()) return again(here.status());
  if (here.value() != p_.folder_identity) return again({Code::unavailable, "the log's folder is not there"});
  const auto is_gone = gone(segment);
  if (!is_gone.ok()) return again(is_gone.status());
  if (is_gone.value() && p_.sealed.contains(segment)) {
    lose_segment(segment, "missing file");
    p_.loop.post([again = std::move(again)] { again({}); });
    return;
  }
  // No descriptor, no memory: the shipper comes again, and its file is none the worse for it.
  if (fault.code() == Code::unavailable) {
    if (trouble_ != fault.detail())
      LOG_WARN("log: ", segment_name(segment), " cannot be read now: ", fault.detail());
    trouble_ = fault.detail();
    return again(fault);
  }
  trouble_.clear();
  LOG_ERROR("log: ", segment_name(segment), ": ", fault.detail());
  if (fault.code() != Code::corrupt && ++failures_[segment] < read_failures_max) return again(fault);
  mend(segment, std::move(again));
}

void Mending::mend(std::uint32_t id, std::function<void(Status)> then) {
  if (const auto at = waiting.find(id); at != waiting.end()) {
    at->second.push_back(std::move(then));
    return;
  }
  if (id == p_.head.id && !p_.sealed.contains(id)) {  // the head is sealed first
    p_.open.seal_next = p_.open.dirty = p_.open.urgent = true;
    p_.open.dones.push_back([this, id, then = std::move(then)](Status status) {
      if (status.ok()) mend(id, then);
      else then(status);
    });
    p_.groups.schedule_close();
    return;
  }
  if (!p_.sealed.contains(id)) {
    p_.loop.post([then = std::move(then)] { then({}); });
    return;
  }
  LOG_WARN("log: ", segment_name(id), " is damaged; taking over what is whole");
  waiting[id].push_back(std::move(then));
  auto rebuilt = std::make_shared<Rebuilt>();
  p_.loop.run_blocking(
      "read", [reader = p_.reader, id, rebuilt] { *rebuilt = reader->rebuild(id); },
      [this, alive = p_.alive, id, rebuilt] {
        if (*alive) on_rebuilt(id, *rebuilt);
      });
}

// The losses and the new account of the segment go into one commit; after it the rebuilt file takes the
// damaged one's place. A crash before leaves all as it was, and the damage is found again.
void Mending::on_rebuilt(std::uint32_t id, const Rebuilt& rebuilt, How how) {
  if (p_.stopping) return tell_waiting(id, log_closed());  // the last commit is on its way, or has been
  if (!rebuilt.status.ok()) {
    LOG_ERROR("log: ", segment_name(id), " cannot be rebuilt: ", rebuilt.status.detail());
    if (rebuilt.status.code() != Code::unavailable) ++failures_[id];
    return tell_waiting(id, rebuilt.status);
  }
  // Nobody gives back a segment that is being rebuilt (LogSpace::make_room).
  SegmentInfo& segment = p_.sealed.at(id);
  const SegmentInfo before = segment;
  segment.file_bytes = rebuilt.file_bytes;
  segment.lanes = rebuilt.lanes;
  p_.space.look_again(id);
  std::vector<Row> rows = rebuilt.rows;
  if (std::erase_if(rows, [&](const Row& row) { return row.first > before.valid_through; }) > 0) {
    segment.lanes = {};  // remains of a commit that was repeated elsewhere do not count
    for (const Row& row : rows)
      segment.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count, 0);
  }
  p_.cursors.take_over(rows);
  for (const Row& row : rows) p_.committed = std::max(p_.committed, row.last());
  lose_missing_rows(before, segment.lanes, rows, how,
                    how == How::unreadable ? "damaged file" : how_name(how));
  p_.state.put(segment_key(id), encode_segment(segment));
  p_.open.replacements.push_back({id, how == How::unreadable});
  p_.open.dirty = p_.open.urgent = true;
  p_.groups.schedule_close();
  if (how != How::unreadable) return;
  std::uint64_t whole = 0, held = 0;
  for (const LaneSpan& span : segment.lanes) whole += span.records;
  for (const LaneSpan& span : before.lanes) held += span.records;
  LOG_WARN("log: ", segment_name(id), ": ", whole, " of ", std::max(held, whole), " records are whole");
  ++p_.stats.files_set_aside;
  if (held > whole) ++p_.stats.unreadable_rows;
}

void Mending::tell_waiting(std::uint32_t id, const Status& status) {
  const auto waiters = std::move(waiting[id]);
  waiting.erase(id);  // first: who waited may begin anew
  for (const auto& then : waiters) then(status);
  rest();
}

// A log that is full took nothing while a segment was made anew (OpenGroup::accepting), and no commit need
// follow that tells it takes some again.
void Mending::rest() {
  if (busy()) return;
  p_.loop.post([this, alive = p_.alive] {
    if (*alive) p_.groups.tell_room();
  });
}

// An error when it cannot be told: then it is not gone.
Result<bool> Mending::gone(std::uint32_t id) const {
  for (const char* suffix : {"", "-wal"}) {
    const auto size = p_.folder.look(segment_name(id) + suffix);
    if (!size.ok()) return size.status();
    if (size.value() > 0) return false;
  }
  return true;
}

void Mending::on_replaced(std::uint32_t id) {
  p_.loop.run_blocking(
      "read", [reader = p_.reader, id] { reader->forget(id); }, [] {});
  failures_.erase(id);
  for (auto& then : std::exchange(waiting[id], {})) p_.loop.post([then = std::move(then)] { then({}); });
  waiting.erase(id);
}

struct Mending::Forgetting {
  std::string device;
  std::optional<WallTime> before;
  std::function<void(Result<std::uint64_t>)> done;
  std::vector<std::uint32_t> left;  // the oldest last: it comes first
  std::uint64_t records = 0;

  // Once, however it ends: the log may be closed while the answer of a worker is on its way.
  void answer(const Result<std::uint64_t>& how) {
    if (const auto to = std::exchange(done, nullptr)) to(how);
  }
};

// Segment after segment is rewritten without those records, as a damaged one is without the rows that are
// gone. Until it has been none of its rows is carried into another.
void Mending::forget_device(const std::string& device, std::optional<WallTime> before,
                            std::function<void(Result<std::uint64_t>)> done) {
  const auto work = std::make_shared<Forgetting>(Forgetting{device, before, std::move(done), {}});
  ++sealing_;
  p_.groups.seal([this, alive = p_.alive, work](const Status& status) {
    if (!*alive) return work->answer(log_closed());
    --sealing_;
    if (!status.ok()) return give_up(*work, status);
    p_.cache.begin_after(p_.committed);  // what is in memory holds the device, too
    for (auto at = p_.sealed.rbegin(); at != p_.sealed.rend(); ++at) work->left.push_back(at->first);
    to_rewrite_.insert(work->left.begin(), work->left.end());
    LOG_INFO("log: forgetting device ", work->device);
    forget_next(work);
  });
}

std::uint32_t Mending::take(Forgetting& work) {
  const std::uint32_t id = work.left.back();
  work.left.pop_back();
  to_rewrite_.extract(id);
  return id;
}

void Mending::give_up(Forgetting& work, const Status& why) {
  while (!work.left.empty()) take(work);
  work.answer(why);
  rest();
}

void Mending::forget_next(const std::shared_ptr<Forgetting>& work) {
  while (!work->left.empty() && !p_.sealed.contains(work->left.back())) take(*work);
  if (work->left.empty()) {
    work->answer(work->records);
    return rest();
  }
  if (p_.stopping) return give_up(*work, log_closed());
  // It is mended, or another device is taken out of it: its turn comes behind that, however that ends.
  if (const auto at = waiting.find(work->left.back()); at != waiting.end()) {
    return at->second.push_back([this, alive = p_.alive, work](const Status&) {
      if (!*alive) return work->answer(log_closed());
      forget_next(work);
    });
  }
  forget_in(take(*work), work);
}

void Mending::forget_in(std::uint32_t id, const std::shared_ptr<Forgetting>& work) {
  waiting[id].push_back([this, alive = p_.alive, work](const Status& status) {
    if (!*alive) return work->answer(log_closed());
    if (status.ok()) return forget_next(work);
    give_up(*work, status);
  });
  auto rebuilt = std::make_shared<Rebuilt>();
  p_.loop.run_blocking(
      "read",
      [reader = p_.reader, id, device = work->device, before = work->before, rebuilt] {
        LossDetail taken_out;
        const auto goes = [&](const Record& record) {
          return record.device == device && (!before || time_of(record) < *before);
        };
        *rebuilt = reader->rebuild(id, [&](const Row& row) { return without(row, goes, taken_out); });
        rebuilt->taken_out = std::move(taken_out);
      },
      [this, alive = p_.alive, work, id, rebuilt] {
        if (!*alive) return work->answer(log_closed());
        for (const auto& [name, count] : rebuilt->taken_out.devices) work->records += count;
        on_rebuilt(id, *rebuilt, How::forgotten);
      });
}

void Mending::end() {
  for (const auto& [id, waiters] : std::exchange(waiting, {})) {
    for (const auto& then : waiters) then(log_closed());
  }
}

}  // namespace millrace
