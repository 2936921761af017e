#include "sim/world/clock_history.h"

namespace millrace::sim {
namespace {

using namespace std::chrono_literals;
constexpr std::int64_t second = 1'000'000, minute = 60 * second, hour = 60 * minute, year = 365 * 24 * hour;

}  // namespace

Duration ClockHistory::some(Duration least, Duration most) {
  return least + Duration{static_cast<std::int64_t>(
                     rng_.below(static_cast<std::uint64_t>((most - least).count()) + 1))};
}

void ClockHistory::set_right() {
  error_us_ = 0;
  trusted_ = true;
}

void ClockHistory::wake_in_1970(WallTime right) {
  error_us_ = -right.us + 3 * second;
  trusted_ = false;
}

void ClockHistory::boot(WallTime right) {
  if (kind_ == Kind::random && rng_.chance(0.7)) wake_in_1970(right);
}

Duration ClockHistory::sleep() {
  if (longest_sleep_ < 2s || !rng_.chance(0.1)) return 0s;
  // As many short ones as long ones. A battery clock kept the time meanwhile, to a second or so, and nobody
  // vouches for it yet.
  const Duration most = rng_.chance(0.5) ? std::min<Duration>(longest_sleep_, 10min) : longest_sleep_;
  trusted_ = false;
  error_us_ += to_us(some(0s, 2s)) - second;
  return some(2s, most);
}

Duration ClockHistory::next(WallTime right) {
  if (kind_ == Kind::steady) return 24h;
  if (error_us_ != 0 || !trusted_) {
    set_right();
    return some(30s, 20min);
  }
  switch (rng_.below(7)) {
    case 0: error_us_ = hour; return 20s;
    case 1: wake_in_1970(right); return some(5s, 10min);
    case 2: error_us_ = -55 * minute; return some(1min, 90min);
    case 3: error_us_ = 50 * year; return some(1min, 90min);
    case 4: error_us_ = -second; return some(1s, 1min);
    case 5: trusted_ = false; return some(10s, 10min);
    default: error_us_ = 2 * hour; return some(10s, 10min);
  }
}

}  // namespace millrace::sim
