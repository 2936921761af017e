#include "log/open_lane.h"

#include <cstdlib>

#include "record/record_proto.h"

namespace millrace {
namespace {

constexpr std::int64_t clock_step_us = 100'000;

}  // namespace

std::size_t bytes_beside_columns(const Record& record) { return encode_record(record).size() + 16; }

void OpenLane::make_room(std::size_t bytes, std::size_t row_max,
                         std::optional<std::int64_t> clock_offset_us) {
  const std::optional<std::int64_t>& offset = clock_offsets_us_.back();
  const bool clock_set = clock_offset_us && offset && std::abs(*clock_offset_us - *offset) >= clock_step_us;
  if (last_row_count_ > 0 &&
      (clock_set || last_row_at_most_ + bytes > row_max || last_row_count_ >= row_records_max)) {
    bytes_before_ += rows_.back().bytes_waiting();
    rows_.emplace_back();
    clock_offsets_us_.emplace_back();
    last_row_at_most_ = last_row_count_ = 0;
  }
  if (clock_offset_us && !clock_offsets_us_.back()) clock_offsets_us_.back() = clock_offset_us;
}

void OpenLane::clear() {
  rows_.resize(1);  // its buffers are used again
  rows_.front().clear();
  clock_offsets_us_.assign(1, std::nullopt);
  last_row_at_most_ = last_row_count_ = bytes_before_ = beside_columns_ = 0;
}

}  // namespace millrace
