#include "latest_values.h"

#include "base/composite_key.h"
#include "clock_notes.h"
#include "record/record_text.h"
#include "record/redate.h"

namespace millrace {
namespace {

constexpr std::uint64_t readings_at_once = 1 << 14;  // unpacked in a turn of the loop: some milliseconds

}  // namespace

struct LatestValues::Work {
  Log& log;
  Wish wish;
  Done done;
  BootTimes times;
  Found found;
  std::size_t lane = 0, pages = 0;
  Sequence before = UINT64_MAX;

  Lane here() const { return wish.lanes[lane]; }
  bool lane_done() const { return before <= wish.after + 1 || pages == wish.pages_max; }
  bool enough() const { return wish.one_is_enough && found.devices.size() == wish.devices.size(); }
  void next_lane() {
    ++lane;
    pages = 0;
    before = UINT64_MAX;
  }
  void take(const Row& row) {
    std::vector<Record> records;
    before = row.first;
    if (!decode_redated(*row.columns, row.zstd, times, records).ok()) return;
    for (std::size_t i = records.size(); i-- > 0;) take(row.first + i, records[i]);
  }
  void take(Sequence number, const Record& record) {
    if (number <= wish.after || !wish.devices.contains(record.device)) return;
    if (number > found.number) found.number = number, found.lane = here();
    Metrics& metrics = found.devices[record.device];
    std::string key = record.metric;
    for (const auto& [name, value] : record.tags) {  // devices of one name, at two places
      add_key_part(key, name);
      add_key_part(key, value);
    }
    const auto known = metrics.find(key);
    if (known != metrics.end() ? known->second.first > number : metrics.size() == wish.metrics_max) return;
    metrics[key] = {number, record_as_json(number, here(), record)};
  }
};

void LatestValues::look(Log& log, Wish wish, Done done) {
  next(std::make_shared<Work>(Work{log, std::move(wish), std::move(done), boot_times_of(log), {}}));
}

void LatestValues::next(const std::shared_ptr<Work>& work) {
  while (work->lane < work->wish.lanes.size() && work->lane_done()) work->next_lane();
  if (work->lane == work->wish.lanes.size() || work->enough()) return work->done(std::move(work->found));
  ++work->pages;
  work->log.read(work->here(), {work->wish.after + 1, work->before - 1}, Log::Direction::down,
                 work->wish.page_bytes, [work](const Result<std::vector<Row>>& rows) {
                   if (!rows.ok()) return work->done(rows.status());
                   std::uint64_t taken = 0;
                   for (const Row& row : rows.value()) {
                     work->take(row);
                     if ((taken += row.count) >= readings_at_once) break;  // the next page begins there
                   }
                   if (rows.value().empty()) work->next_lane();
                   next(work);
                 });
}

}  // namespace millrace
