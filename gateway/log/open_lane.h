// What waits in one lane of the open group, split into rows at a bound: whatever the log writes, its reader
// can read. Knows nothing of numbers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "log/segment.h"
#include "record/batch.h"

namespace millrace {

std::size_t bytes_beside_columns(const Record& record);

// What a record may take in a row, at most: names are counted as if each record brought them along. In place:
// for every reading.
[[gnu::always_inline]] inline std::size_t stored_bytes_max(const Record& record) {
  constexpr std::size_t columns_bytes_max = 64;  // time, value, type, attributes, device and metric
  std::size_t bytes = columns_bytes_max + record.device.size() + record.metric.size() + record.unit.size();
  if (!record.tags.empty()) {
    for (const auto& [key, value] : record.tags) bytes += key.size() + value.size() + 16;
  }
  if (const auto* string = std::get_if<std::string>(&record.value)) bytes += string->size();
  else if (const auto* blob = std::get_if<Bytes>(&record.value)) bytes += blob->size();
  return in_columns(record) ? bytes : std::max(bytes, bytes_beside_columns(record));
}

class OpenLane {
 public:
  // `bytes` is what stored_bytes_max() says of it; a row takes `row_max` of that, or one record.
  // `clock_offset_us` (wall minus monotonic) where its time is not trusted: a row has one, so that a clock
  // that is set begins another row.
  void add(const Record& record, std::size_t bytes, std::size_t row_max,
           std::optional<std::int64_t> clock_offset_us) {
    if (clock_offset_us || last_row_at_most_ + bytes > row_max || last_row_count_ >= row_records_max)
      make_room(bytes, row_max, clock_offset_us);
    last_row_at_most_ += bytes;
    ++last_row_count_;
    if (!rows_.back().add(record)) beside_columns_ += bytes;
  }
  bool empty() const { return rows_.front().empty(); }
  // About what is waiting, in bytes before compression; what does not lie in columns counts as it will be
  // stored.
  std::size_t bytes_waiting() const { return bytes_before_ + rows_.back().bytes_waiting() + beside_columns_; }
  // Each becomes a row, in this order. At least one, which may be empty.
  std::vector<BatchBuilder>& rows() { return rows_; }
  std::optional<std::int64_t> clock_offset_us(std::size_t row) const { return clock_offsets_us_[row]; }
  void clear();

 private:
  void make_room(std::size_t bytes, std::size_t row_max, std::optional<std::int64_t> clock_offset_us);

  std::vector<BatchBuilder> rows_ = std::vector<BatchBuilder>(1);
  // of the rows
  std::vector<std::optional<std::int64_t>> clock_offsets_us_ = std::vector<std::optional<std::int64_t>>(1);
  std::size_t last_row_at_most_ = 0, last_row_count_ = 0;
  std::size_t bytes_before_ = 0, beside_columns_ = 0;
};

}  // namespace millrace
