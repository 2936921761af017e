// What people ask of a log: which segments there are, to seal it for a copy, to forget a device, to strike dead letters.
#include <algorithm>

#include "base/logger.h"
#include "log/sqlite_log.h"
#include "log/state_table.h"
#include "record/batch.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::size_t struck_max = 4096;  // ranges; beyond it the oldest are forgotten, and those letters are there again

// The rows that stay of `row`: its records but those that `goes` says, in pieces that keep their numbers.
std::vector<Row> without(const Row& row, const std::function<bool(const Record&)>& goes, LossDetail& taken_out) {
  std::vector<Record> records;
  if (!decode_batch(*row.columns, row.zstd, records).ok()) return {row};
  std::vector<Row> rows;
  std::size_t from = 0;
  for (std::size_t i = 0; i <= records.size(); ++i) {
    const bool gone = i < records.size() && goes(records[i]);
    if (gone) taken_out.add_device(records[i].device, 1);
    if (i < records.size() && !gone) continue;
    if (i > from) {
      auto part = i - from == records.size() ? Result<EncodedBatch>(EncodedBatch{*row.columns, row.zstd}) : slice_batch(*row.columns, row.zstd, from, i - from);
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

}  // namespace

std::vector<SegmentInfo> SqliteLog::segments() const {
  std::vector<SegmentInfo> all;
  for (const auto& [id, segment] : sealed_) all.push_back(segment);
  if (head_.id != 0) all.push_back(head_);
  return all;
}

std::vector<std::string> SqliteLog::consumers() const {
  std::vector<std::string> names;
  for (const auto& [key, cursor] : cursors_) {
    if (names.empty() || names.back() != key.first) names.push_back(key.first);
  }
  return names;
}

void SqliteLog::seal(Done done) {
  if (stopping_) return done({Code::closed, "the log is closed"});
  seal_next_ = open_dirty_ = open_urgent_ = true;
  open_dones_.push_back(std::move(done));
  schedule_close();
}

// Segment after segment is rewritten without those records, as a damaged one is without the rows that are gone.
void SqliteLog::forget_device(const std::string& device, WallTime before, std::function<void(Result<std::uint64_t>)> done) {
  struct Work {
    std::vector<std::uint32_t> left;
    std::uint64_t records = 0;
    std::function<void()> next;
  };
  auto work = std::make_shared<Work>();
  work->next = [this, work = std::weak_ptr(work), device, before, done] {
    const auto w = work.lock();
    while (!w->left.empty() && (!sealed_.contains(w->left.back()) || mending_.contains(w->left.back()))) w->left.pop_back();
    if (w->left.empty()) return done(w->records);
    const std::uint32_t id = w->left.back();
    w->left.pop_back();
    auto rebuilt = std::make_shared<Rebuilt>();
    mending_[id].push_back([w, done](Status status) {
      if (!status.ok()) return done(status);
      w->next();
    });
    loop_.run_blocking(
        "read",
        [reader = reader_, id, device, before, rebuilt] {
          LossDetail taken_out;
          const auto goes = [&](const Record& record) { return record.device == device && (before.us == 0 || record.time < before); };
          *rebuilt = reader->rebuild(id, [&](const Row& row) { return without(row, goes, taken_out); });
          rebuilt->taken_out = std::move(taken_out);
        },
        [this, alive = alive_, w, id, rebuilt] {
          if (!*alive) return;
          for (const auto& [name, count] : rebuilt->taken_out.devices) w->records += count;
          on_rebuilt(id, *rebuilt, How::forgotten);
        });
  };
  seal([this, alive = alive_, work, done, device](Status status) {
    if (!*alive) return;
    if (!status.ok()) return done(status);
    cache_.clear();  // what is in memory holds the device, too
    cache_bytes_ = 0;
    cached_from_ = committed_ + 1;
    for (const auto& [id, segment] : sealed_) work->left.push_back(id);
    LOG_INFO("log: forgetting device ", device);
    work->next();
  });
}

// ---- dead letters ---------------------------------------------------------------------------------------------------

bool SqliteLog::is_struck(Sequence number) const {
  return std::any_of(struck_.begin(), struck_.end(), [number](const Range& r) { return r.first <= number && number <= r.last; });
}

void SqliteLog::strike(const std::vector<Range>& struck) {
  struck_.insert(struck_.end(), struck.begin(), struck.end());
  std::sort(struck_.begin(), struck_.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  std::vector<Range> merged;
  for (const Range& range : struck_) {
    if (!merged.empty() && range.first <= merged.back().last + 1) merged.back().last = std::max(merged.back().last, range.last);
    else merged.push_back(range);
  }
  Sequence oldest = UINT64_MAX;  // of any dead letter there is: what lies before it need not be remembered
  for (const SegmentInfo& segment : segments()) {
    const LaneSpan& span = segment.lanes[static_cast<std::size_t>(Lane::dead)];
    if (!span.empty()) oldest = std::min(oldest, span.first);
  }
  std::erase_if(merged, [oldest](const Range& r) { return r.last < oldest; });
  if (merged.size() > struck_max) merged.erase(merged.begin(), merged.end() - struck_max);
  struck_ = std::move(merged);
  Bytes bytes;
  wire::Writer writer(bytes);
  for (const Range& range : struck_) {
    writer.put_varint(range.first);
    writer.put_varint(range.last);
  }
  put_state("struck", std::move(bytes));
}

}  // namespace millrace
