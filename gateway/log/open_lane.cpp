#include "log/open_lane.h"

#include <cstdlib>

#include "log/segment.h"
#include "record/record_proto.h"

namespace millrace {
namespace {

constexpr std::int64_t clock_step_us = 100'000;
constexpr std::size_t reading_bytes_max = 64;  // of columns: time, value, type, attributes, device and metric

// As BatchBuilder::add() decides it; what is wrong here only makes the bound wider.
bool in_columns(const Record& record) {
  return record.kind == Kind::reading && !record.detail && !std::holds_alternative<std::monostate>(record.value);
}

}  // namespace

std::size_t stored_bytes_max(const Record& record) {
  std::size_t bytes = reading_bytes_max + record.device.size() + record.metric.size() + record.unit.size();
  for (const auto& [key, value] : record.tags) bytes += key.size() + value.size() + 16;
  if (const auto* string = std::get_if<std::string>(&record.value)) bytes += string->size();
  if (const auto* blob = std::get_if<Bytes>(&record.value)) bytes += blob->size();
  return in_columns(record) ? bytes : std::max(bytes, encode_record(record).size() + 16);
}

void OpenLane::add(const Record& record, std::size_t bytes, std::size_t row_max, std::optional<std::int64_t> clock_offset_us) {
  std::optional<std::int64_t>& offset = clock_offsets_us_.back();
  const bool clock_set = clock_offset_us && offset && std::abs(*clock_offset_us - *offset) >= clock_step_us;
  if (!rows_.back().empty() && (clock_set || last_row_at_most_ + bytes > row_max || rows_.back().count() >= row_records_max)) {
    bytes_before_ += rows_.back().bytes_waiting();
    rows_.emplace_back();
    clock_offsets_us_.emplace_back();
    last_row_at_most_ = 0;
  }
  if (clock_offset_us && !clock_offsets_us_.back()) clock_offsets_us_.back() = clock_offset_us;
  last_row_at_most_ += bytes;
  if (!in_columns(record)) beside_columns_ += bytes;
  rows_.back().add(record);
}

void OpenLane::clear() {
  rows_.resize(1);  // its buffers are used again
  rows_.front().clear();
  clock_offsets_us_.assign(1, std::nullopt);
  last_row_at_most_ = bytes_before_ = beside_columns_ = 0;
}

}  // namespace millrace
