#include "ingest/clock_watch.h"

#include <algorithm>
#include <cstdlib>

#include "record/varint.h"

namespace millrace {

std::int64_t ClockWatch::look(Instant now, WallTime wall, bool trusted) {
  const std::int64_t offset = wall.us - now.ns / 1000;
  const std::int64_t moved = offset - offset_us_.value_or(offset);
  const bool stepped = std::abs(moved) >= step_us_min;
  offset_us_ = offset;
  if (stepped) {
    ++steps_;
    stepped_at_ = now;
  }
  if (trusted && !trusted_) trusted_since_ = now;
  trusted_ = trusted;
  if (trusted) lowest_offset_us_ = std::min(lowest_offset_us_.value_or(offset), offset);
  return stepped ? moved : 0;
}

bool ClockWatch::settled(Instant now) const {
  return trusted_ && now - *trusted_since_ >= settles_after &&
         (!stepped_at_ || now - *stepped_at_ >= settles_after);
}

std::optional<WallTime> ClockWatch::for_ages(Instant now) const {
  if (!trusted_ || (stepped_at_ && now - *stepped_at_ < settles_after)) return std::nullopt;
  return WallTime{now.ns / 1000 + *lowest_offset_us_};
}

std::optional<Bytes> ClockWatch::take_news(std::uint64_t boot_id) {
  if (boot_id == 0 || !lowest_offset_us_ ||
      (saved_offset_us_ && *saved_offset_us_ - *lowest_offset_us_ < step_us_min))
    return std::nullopt;
  saved_offset_us_ = lowest_offset_us_;
  Bytes bytes;
  wire::Writer writer(bytes);
  writer.put_fixed64(boot_id);
  writer.put_varint(wire::zigzag(*lowest_offset_us_));
  return bytes;
}

void ClockWatch::restore(const std::optional<Bytes>& saved, std::uint64_t boot_id) {
  if (!saved || boot_id == 0) return;
  wire::Reader reader(*saved);
  if (reader.get_fixed64() != boot_id) return;  // its monotonic clock was another
  const std::int64_t offset = reader.get_sint();
  if (!reader.ok()) return;
  lowest_offset_us_ = std::min(lowest_offset_us_.value_or(offset), offset);
  saved_offset_us_ = offset;
}

}  // namespace millrace
