#include "windows/undated_readings.h"

#include <utility>

namespace millrace {
namespace {

std::size_t memory_of(const Record& reading) {
  std::size_t bytes = sizeof reading + reading.device.size() + reading.metric.size() + reading.unit.size();
  if (const auto* text = std::get_if<std::string>(&reading.value)) bytes += text->size();
  if (const auto* blob = std::get_if<Bytes>(&reading.value)) bytes += blob->size();
  for (const auto& [name, value] : reading.tags) bytes += name.size() + value.size() + 2 * sizeof name;
  return bytes;
}

}  // namespace

Record UndatedReadings::at(Record reading, std::int64_t time_us) {
  reading.time = {time_us};
  reading.trust = TimeTrust::gateway;
  reading.detail.reset();
  return reading;
}

std::optional<Record> UndatedReadings::take(const Record& reading) {
  const Detail* detail = reading.detail.get();
  const std::size_t bytes = memory_of(reading);
  if (detail && detail->boot_id != 0 && detail->boot_id == told_boot_ &&
      detail->monotonic_us <= told_through_us_)
    return at(reading, detail->monotonic_us + told_offset_us_);
  if (!detail || detail->boot_id == 0 || detail->monotonic_us >= until_us_ || bytes_ + bytes > bytes_max) {
    ++given_up_;
    return {};
  }
  bytes_ += bytes;
  Kept& kept = kept_.emplace_back(Kept{reading, detail->boot_id, detail->monotonic_us});
  kept.reading.detail.reset();
  return {};
}

std::vector<Record> UndatedReadings::dated(std::uint64_t boot_id, std::int64_t offset_us,
                                           std::int64_t monotonic_us) {
  told_boot_ = boot_id;
  told_offset_us_ = offset_us;
  told_through_us_ = monotonic_us;
  std::vector<Record> told;
  for (Kept& kept : kept_) {
    if (kept.boot_id == boot_id) told.push_back(at(std::move(kept.reading), kept.monotonic_us + offset_us));
    else ++given_up_;
  }
  kept_ = {};
  bytes_ = 0;
  return told;
}

void UndatedReadings::give_up() {
  given_up_ += kept_.size();
  kept_ = {};
  bytes_ = 0;
}

}  // namespace millrace
