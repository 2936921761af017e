#include <doctest/doctest.h>

#include "pipeline/stamp_order.h"

namespace stamp_order_test {
using namespace millrace;

namespace {
constexpr std::int64_t t0 = 1'700'000'000'000'000;
Instant at_us(std::int64_t us) { return {us * 1000}; }
}  // namespace

TEST_CASE("stamps: what comes in one read gets rising times, each input by itself") {
  StampOrder one, other;
  std::int64_t last = 0;
  for (int i = 0; i < 1000; ++i) {
    const WallTime stamp = one.next({t0}, at_us(5));
    CHECK(stamp.us == t0 + i);
    CHECK(stamp.us > last);
    last = stamp.us;
  }
  CHECK(other.next({t0}, at_us(5)).us == t0);
  // The clock has overtaken the burst: the stamp is the clock's again.
  CHECK(one.next({t0 + 5000}, at_us(5005)).us == t0 + 5000);
}

TEST_CASE(
    "stamps: a clock that is slewed, set back a little or given a leap second does not turn the order round") {
  StampOrder stamps;
  std::int64_t last = 0;
  for (int i = 0; i < 100; ++i) {
    const std::int64_t back = i < 50 ? 0 : StampOrder::set_back_us - 1;  // one step of nearly two seconds
    const WallTime stamp = stamps.next({t0 + i * 1000 - back}, at_us(i * 1000));
    CHECK(stamp.us > last);
    last = stamp.us;
  }
}

TEST_CASE("stamps: a clock that is set back takes them along, from a future one too") {
  StampOrder stamps;
  const std::int64_t hour = 3'600'000'000;
  CHECK(stamps.next({t0 + hour}, at_us(0)).us == t0 + hour);
  CHECK(stamps.next({t0 + 10}, at_us(10)).us == t0 + 10);
  CHECK(stamps.next({t0 + 10}, at_us(10)).us == t0 + 11);
  CHECK(stamps.next({t0 + hour}, at_us(20)).us == t0 + hour);  // forward: as it is
}

TEST_CASE("stamps: a flood never carries them more than two seconds ahead of the clock") {
  StampOrder stamps;
  WallTime stamp;
  for (int i = 0; i < 2'200'000; ++i) stamp = stamps.next({t0}, at_us(0));
  CHECK(stamp.us == t0 + StampOrder::lead_us_max);
}

}  // namespace stamp_order_test
