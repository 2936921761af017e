#include "log/row_cache.h"

#include <algorithm>

namespace millrace {

void RowCache::add(const Row& row) {
  if (row.first < from_ || (!rows_.empty() && row.first <= rows_.back().first)) return;
  rows_.push_back(row);
  bytes_ += row.columns->size();
  while (bytes_ > bytes_max_ && !rows_.empty()) {
    bytes_ -= rows_.front().columns->size();
    from_ = std::max(from_, rows_.front().last() + 1);
    rows_.pop_front();
  }
}

void RowCache::begin_after(Sequence committed) {
  rows_.clear();
  bytes_ = 0;
  from_ = committed + 1;
}

std::vector<Row> RowCache::read(Lane lane, Range range, std::size_t bytes_max) const {
  std::vector<Row> rows;
  std::size_t bytes = 0;
  for (const Row& row : rows_) {
    if (row.lane != lane || row.last() < range.first || row.first > range.last) continue;
    if (!rows.empty() && bytes + row.columns->size() > bytes_max) break;
    bytes += row.columns->size();
    rows.push_back(row);
  }
  return rows;
}

}  // namespace millrace
