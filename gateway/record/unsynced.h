// A record of ours, stamped while nobody vouched for the clock: it says so, and keeps the monotonic time of
// its boot, by which its stamp can be corrected once the clock was set.
#pragma once

#include <memory>

#include "record/record.h"

namespace millrace {

inline void stamp_unsynced(Record& record, std::uint64_t boot_id, Instant now) {
  auto detail = record.detail ? std::make_shared<Detail>(*record.detail) : std::make_shared<Detail>();
  detail->boot_id = boot_id;
  detail->monotonic_us = now.ns / 1000;
  record.detail = std::move(detail);
  record.trust = TimeTrust::unsynced;
}

// A stamp by the monotonic clock, where `offset_us` is wall minus monotonic. Bytes of others may say
// anything: what has no meaning wraps around.
inline std::int64_t monotonic_of(std::int64_t wall_us, std::int64_t offset_us) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(wall_us) -
                                   static_cast<std::uint64_t>(offset_us));
}

// The same of one whose time is its stamp, by how that clock stood to the monotonic one.
inline void keep_boot_time(Record& record, std::uint64_t boot_id, std::int64_t offset_us) {
  auto detail = std::make_shared<Detail>();
  detail->boot_id = boot_id;
  detail->monotonic_us = monotonic_of(record.time.us, offset_us);
  record.detail = std::move(detail);
}

}  // namespace millrace
