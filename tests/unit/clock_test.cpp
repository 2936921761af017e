// Whether the wall clock is believed: by the kernel, by a battery, or by the configuration's word.
#include <doctest/doctest.h>

#include <cerrno>

#include "ingest/clock_trust.h"

namespace clock_test {
using namespace millrace;

namespace {

constexpr std::int64_t second = 1'000'000;
constexpr WallTime in_1970{3 * second}, built{1'700'000'000 * second}, today{1'764'000'000 * second};
constexpr KernelClock synchronised{KernelClock::State::synchronised, 0},
    unsynchronised{KernelClock::State::unsynchronised, 0};
constexpr KernelClock denied{KernelClock::State::unknown, EPERM};

}  // namespace

TEST_CASE("clock: the kernel's word counts wherever it can be had") {
  for (const ClockSource source : {ClockSource::kernel, ClockSource::rtc, ClockSource::trust}) {
    CHECK(judge_clock(source, synchronised, today, built).trusted);
  }
  CHECK_FALSE(judge_clock(ClockSource::kernel, unsynchronised, today, built).trusted);
}

TEST_CASE("clock: that the kernel may not be asked is not the same as not synchronised, and is said") {
  const ClockVerdict verdict = judge_clock(ClockSource::kernel, denied, today, built);
  CHECK_FALSE(verdict.trusted);
  CHECK(verdict.why.find("cannot be told") != std::string::npos);
  CHECK(verdict.why.find("Operation not permitted") != std::string::npos);
  CHECK(judge_clock(ClockSource::kernel, unsynchronised, today, built).why.find("cannot be told") ==
        std::string::npos);
}

TEST_CASE("clock: a battery clock is believed from the latest time on that is known to have passed") {
  for (const KernelClock& kernel : {unsynchronised, denied}) {
    CHECK(judge_clock(ClockSource::rtc, kernel, today, built).trusted);
    CHECK_FALSE(judge_clock(ClockSource::rtc, kernel, built, built).trusted);
    const ClockVerdict dead_battery = judge_clock(ClockSource::rtc, kernel, in_1970, built);
    CHECK_FALSE(dead_battery.trusted);
    CHECK(dead_battery.why.find("1970-01-01T00:00:03") != std::string::npos);
  }
}

TEST_CASE("clock: where the configuration vouches for it nobody else is asked") {
  CHECK(judge_clock(ClockSource::trust, denied, in_1970, built).trusted);
  CHECK(judge_clock(ClockSource::trust, unsynchronised, today, built).trusted);
}

}  // namespace clock_test
