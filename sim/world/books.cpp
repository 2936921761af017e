#include "sim/world/books.h"

#include <algorithm>

#include "base/check.h"

namespace millrace::sim {

void each_row(SimLoop& loop, Log& log, Lane lane, Range range, const std::function<void(const Row&)>& row) {
  for (bool more = true; more;) {
    std::vector<Row> rows;
    bool done = false;
    log.read(lane, range, Log::Direction::up, 1 << 20, [&](Result<std::vector<Row>> read) {
      done = true;
      if (read.ok()) rows = std::move(read).value();
    });
    MILLRACE_CHECK(loop.run_until([&] { return done; }, std::chrono::minutes(1)));  // `done` is ours
    for (const Row& one : rows) row(one);
    more = !rows.empty();
    if (more) range.first = rows.back().last() + 1;
  }
}

std::uint64_t unsettled_records(SimLoop& loop, Log& log, const std::string& consumer, Lane lane) {
  std::uint64_t sum = 0;
  for (const Range& open : log.unsettled(consumer, lane)) {
    each_row(loop, log, lane, open, [&](const Row& row) {
      sum += std::min(row.last(), open.last) - std::max(row.first, open.first) + 1;
    });
  }
  return sum;
}

}  // namespace millrace::sim
