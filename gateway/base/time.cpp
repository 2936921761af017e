// The one file that talks to the kernel about time. On 32-bit ARM time_t has 32 bits by default, and
// _TIME_BITS=64 for the whole program would change structures of Debian's libraries (mbedtls_ssl_session): so
// it is set here alone.
#define _FILE_OFFSET_BITS 64
#define _TIME_BITS 64
#include "base/time.h"

#include <sys/timex.h>
#include <time.h>

#include <cerrno>
#include <cstdio>

namespace millrace {
namespace {

std::int64_t read_ns(clockid_t clock) {
  timespec ts{};
  clock_gettime(clock, &ts);
  return static_cast<std::int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}

}  // namespace

// CLOCK_BOOTTIME: the time that a suspended box sleeps has passed, for sessions, ages and devices as for
// everybody else.
Instant SystemClock::now() const { return {read_ns(CLOCK_BOOTTIME)}; }
WallTime SystemClock::wall() const { return {read_ns(CLOCK_REALTIME) / 1000}; }

KernelClock kernel_clock() {
  timex state{};  // modes 0: nothing is set, so no privilege is needed
  const int rc = adjtimex(&state);
  if (rc < 0) return {KernelClock::State::unknown, errno};
  const bool synchronised = rc != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
  return {synchronised ? KernelClock::State::synchronised : KernelClock::State::unsynchronised, 0};
}

std::string format_time(WallTime time) {
  std::int64_t seconds = time.us / 1'000'000;
  std::int64_t micros = time.us % 1'000'000;
  if (micros < 0) {
    micros += 1'000'000;
    --seconds;
  }
  const time_t whole = seconds;
  tm parts{};
  gmtime_r(&whole, &parts);
  char out[64];
  std::snprintf(out, sizeof out, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                static_cast<int>(micros));
  return out;
}

}  // namespace millrace
