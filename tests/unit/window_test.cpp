#include <doctest/doctest.h>

#include "base/rng.h"
#include "pipeline/window_engine.h"
#include "tests/support/seed.h"

using namespace millrace;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t minute = 60'000'000, t0 = 1'700'000'040'000'000;  // a whole minute

WindowConfig one_minute() {
  WindowConfig window;
  window.name = "1min";
  window.size = 1min;
  window.allowed_lateness = 1min;
  window.idle_close = 10s;
  return window;
}

Record reading(std::int64_t time, double value, const char* device = "d") {
  Record record;
  record.device = device;
  record.metric = "m";
  record.time = {time};
  record.value = value;
  return record;
}

const WindowDetail& detail(const Record& record) { return std::get<WindowDetail>(record.detail->body); }

}  // namespace

TEST_CASE("windows: count, mean, min and max of a minute, when the next one begins") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  for (const auto& [at, value] : {std::pair{0, 3.0}, {10, 1.0}, {59, 5.0}}) engine.feed(reading(t0 + at * 1'000'000, value), out);
  CHECK(out.empty());
  engine.feed(reading(t0 + minute, 100), out);
  REQUIRE(out.size() == 1);
  CHECK(out[0].kind == Kind::window);
  CHECK(out[0].time.us == t0);
  CHECK(detail(out[0]).count == 3);
  CHECK(detail(out[0]).mean == 3.0);
  CHECK(detail(out[0]).min == 1.0);
  CHECK(detail(out[0]).max == 5.0);
  CHECK(detail(out[0]).end_us == t0 + minute);
  CHECK(detail(out[0]).revision == 0);
  CHECK(detail(out[0]).ordinal == 1);
}

TEST_CASE("windows: a late reading revises its window; one later than allowed is counted") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(reading(t0, 1), out);
  engine.feed(reading(t0 + minute, 1), out);
  engine.feed(reading(t0 + 30'000'000, 3), out);
  REQUIRE(out.size() == 1);
  engine.feed(WindowEngine::tick({t0 + minute + 1'000'000}), out);
  REQUIRE(out.size() == 2);
  CHECK(detail(out[1]).revision == 1);
  CHECK(detail(out[1]).count == 2);
  CHECK(out[1].time.us == t0);
  engine.feed(reading(t0 + 3 * minute, 1), out);
  engine.feed(reading(t0 + 1, 1), out);
  CHECK(engine.too_late() == 1);
}

TEST_CASE("windows: an idle device's window is closed by a tick") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(reading(t0, 1), out);
  engine.feed(WindowEngine::tick({t0 + minute}), out);
  CHECK(out.empty());
  engine.feed(WindowEngine::tick({t0 + minute + 10'000'000}), out);
  CHECK(out.size() == 1);
  CHECK_FALSE(engine.has_open());
}

TEST_CASE("windows: one reading from the future closes nobody's windows") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(WindowEngine::tick({t0}), out);
  engine.feed(reading(t0, 1), out);
  engine.feed(reading(t0 + 365ll * 24 * 60 * minute, 1), out);
  CHECK(out.empty());
  engine.feed(reading(t0 + 1'000'000, 2), out);
  engine.feed(reading(t0 + minute, 2), out);
  REQUIRE(out.size() == 1);
  CHECK(detail(out[0]).count == 2);
  CHECK(engine.too_late() == 0);
}

TEST_CASE("windows: devices do not close each other's windows") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(reading(t0, 1, "a"), out);
  engine.feed(reading(t0 + 2 * minute, 1, "b"), out);
  CHECK(out.empty());
}

TEST_CASE("windows: a snapshot gives the same future as the engine it was taken of") {
  Rng rng(seed());
  WindowEngine whole({one_minute()});
  std::vector<Record> expected;
  auto split = std::make_unique<WindowEngine>(std::vector<WindowConfig>{one_minute()});
  std::vector<Record> got;
  std::int64_t now = t0;
  for (int i = 0; i < 5000; ++i) {
    now += static_cast<std::int64_t>(rng.below(2'000'000));
    const Record entry = rng.chance(0.02) ? WindowEngine::tick({now})
                                          : reading(now - static_cast<std::int64_t>(rng.below(90'000'000)), rng.unit(), rng.chance(0.5) ? "a" : "b");
    whole.feed(entry, expected);
    split->feed(entry, got);
    if (i % 500 == 250) {
      const Bytes snapshot = split->snapshot();
      split = std::make_unique<WindowEngine>(std::vector<WindowConfig>{one_minute()});
      REQUIRE(split->restore(snapshot).ok());
    }
  }
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    CHECK(got[i].time == expected[i].time);
    CHECK(detail(got[i]).ordinal == detail(expected[i]).ordinal);
    CHECK(detail(got[i]).mean == detail(expected[i]).mean);
    CHECK(detail(got[i]).revision == detail(expected[i]).revision);
  }
  CHECK(got.size() > 50);
}

TEST_CASE("windows: a changed definition starts anew, damage is noticed") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(reading(t0, 1), out);
  Bytes snapshot = engine.snapshot();
  WindowConfig other = one_minute();
  other.size = 2min;
  WindowEngine changed({other});
  CHECK(changed.restore(snapshot).ok());
  CHECK(changed.keys() == 0);
  snapshot.resize(snapshot.size() - 3);
  CHECK_FALSE(engine.restore(snapshot).ok());
}
