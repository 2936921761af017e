#include "ingest/passed_time.h"

#include <algorithm>

#include "record/varint.h"

namespace millrace {

// Varints: passed, boot id, monotonic time, wall time (0: not settled), in microseconds.
PassedTime::PassedTime(const std::optional<Bytes>& saved, std::uint64_t boot_id, Instant now)
    : boot_id_(boot_id), started_(now) {
  if (!saved) return;
  wire::Reader reader(*saved);
  const auto passed = static_cast<std::int64_t>(reader.get_varint());
  const std::uint64_t boot = reader.get_varint();
  const auto monotonic_us = static_cast<std::int64_t>(reader.get_varint());
  const WallTime wall{static_cast<std::int64_t>(reader.get_varint())};
  if (!reader.ok() || passed < 0) return;
  base_us_ = passed;
  const std::int64_t since = now.ns / 1000 - monotonic_us;
  if (boot != 0 && boot == boot_id && since >= 0) base_us_ += since;
  else if (wall.us != 0) away_since_ = wall;
}

void PassedTime::settled(WallTime wall, Instant now) {
  if (!away_since_) return;
  base_us_ += std::max<std::int64_t>(0, wall.us - (now - started_).count() / 1000 - away_since_->us);
  away_since_.reset();
}

Bytes PassedTime::save(WallTime wall, bool settled, Instant now) const {
  Bytes bytes;
  wire::Writer writer(bytes);
  writer.put_varint(static_cast<std::uint64_t>(us(now)));
  writer.put_varint(boot_id_);
  writer.put_varint(static_cast<std::uint64_t>(now.ns / 1000));
  writer.put_varint(settled && wall.us > 0 ? static_cast<std::uint64_t>(wall.us) : 0);
  return bytes;
}

}  // namespace millrace
