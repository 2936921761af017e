// Stamps of arrivals that rise: what arrives later through an input never has an earlier or an equal stamp,
// though many payloads come in one read and the clock has microseconds. Sorted by time, the readings of a
// device that sends no times of its own lie as it sent them. Two ends of it: when somebody sets the clock
// back by two seconds or more, stamps go back with it (time is what the clock says; only numbers tell the
// order over such a step; a leap second is none), and stamps never lie more than two seconds ahead of the
// clock: above a million payloads a second for that long they are shared.
#pragma once

#include <cstdint>
#include <limits>

#include "base/time.h"

namespace millrace {

class StampOrder {
 public:
  static constexpr std::int64_t set_back_us = 2'000'000, lead_us_max = 2'000'000;

  // The stamp for what arrived at `wall`, when the monotonic clock said `monotonic`.
  WallTime next(WallTime wall, Instant monotonic) {
    // Only a clock that was set moves against the monotonic one; a burst does not.
    const std::int64_t offset = wall.us - monotonic.ns / 1000;
    const bool set_back = last_ != none && offset <= offset_ - set_back_us;
    offset_ = offset;
    if (set_back || wall.us > last_) last_ = wall.us;
    else if (last_ - wall.us < lead_us_max) ++last_;
    return {last_};
  }

 private:
  static constexpr std::int64_t none = std::numeric_limits<std::int64_t>::min();
  std::int64_t last_ = none, offset_ = 0;
};

}  // namespace millrace
