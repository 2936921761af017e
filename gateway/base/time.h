// Two clocks, never mixed. An Instant measures (timeouts, backoff, rates) and never goes back; a WallTime
// labels data and may jump an hour at boot. Both are 64 bits on every platform; no time_t crosses a library
// border.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>

namespace millrace {

using Duration = std::chrono::nanoseconds;

struct Instant {
  std::int64_t ns = 0;
  auto operator<=>(const Instant&) const = default;
  Instant operator+(Duration d) const { return {ns + d.count()}; }
  Duration operator-(Instant other) const { return Duration{ns - other.ns}; }
};

struct WallTime {
  std::int64_t us = 0;  // since 1970-01-01T00:00:00Z
  auto operator<=>(const WallTime&) const = default;
};

inline std::int64_t to_us(Duration d) {
  return std::chrono::duration_cast<std::chrono::microseconds>(d).count();
}
inline std::int64_t to_ms(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}
inline double to_seconds(Duration d) { return static_cast<double>(d.count()) / 1e9; }

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back. The only clock for timeouts, backoff and rates. Any thread.
  virtual Instant now() const = 0;
  // May jump either way when the time daemon corrects it. Only ever a label on data. Any thread.
  virtual WallTime wall() const = 0;
};

// The machine's clocks: CLOCK_BOOTTIME (suspend included) and CLOCK_REALTIME.
class SystemClock : public Clock {
 public:
  Instant now() const override;
  WallTime wall() const override;
};

// What the kernel says of the wall clock (adjtimex(2)). `unknown`: it may not be asked, as where a sandbox
// denies the call; `error` is its errno then.
struct KernelClock {
  enum class State { synchronised, unsynchronised, unknown } state = State::unknown;
  int error = 0;
};
KernelClock kernel_clock();

// 2026-11-20T19:25:00.000000Z (RFC 3339).
std::string format_time(WallTime time);

}  // namespace millrace
