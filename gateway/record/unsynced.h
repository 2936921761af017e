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

}  // namespace millrace
