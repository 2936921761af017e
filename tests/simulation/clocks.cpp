// Clocks that jump, at any moment, between outages, kills and power cuts: time that jumped is not time that
// passed.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "base/text.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace clocks_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

WindowConfig ten_seconds() {
  WindowConfig window;
  window.name = "10s";
  window.size = 10s;
  window.allowed_lateness = 0s;
  return window;
}

std::string payload(World& world, double value) {
  return text("{\"ts\":", world.right().us / 1000, ",\"value\":", value, "}");
}

const WindowDetail& detail(const Record& record) { return std::get<WindowDetail>(record.detail->body); }

// No window twice under one revision; the same record may come again.
std::size_t doubled(const World& world) {
  std::map<std::tuple<std::string, std::int64_t, std::uint32_t>, Sequence> seen;
  std::size_t twice = 0;
  for (const Record& record : world.received) {
    if (record.kind != Kind::window) continue;
    const auto [at, fresh] =
        seen.try_emplace({record.device, record.time.us, detail(record).revision}, record.detail->sequence);
    twice += !fresh && at->second != record.detail->sequence;
  }
  return twice;
}

// A site that has an uplink which leaves the configuration at the next start.
void leave(World& world, const char* uplink) {
  const auto id = world.log().subscribe({uplink, {Lane::raw, Lane::alarm}, Subscription::Start::now});
  world.loop().run_for(2s);
  world.log().unsubscribe(id);
}

std::uint64_t expired(World& world) {
  return world.log().ledger("far", Lane::raw).settled[static_cast<std::size_t>(How::expired)];
}

}  // namespace

TEST_CASE(
    "clocks: whatever they do, nothing young expires or is forgotten, and devices with times of their own have their windows once and whole") {
  Rng rng(seed() + 40);
  std::size_t windows_seen = 0;
  for (int round = 0; round < effort(); ++round) {
    World::Options options;
    options.windows = {ten_seconds()};
    options.drain.max_age = 3h;
    options.forget_after = 4h;
    options.longest_sleep = 10min;  // longer ones: below
    World world{rng.next(), options};
    leave(world, "old");
    const WallTime left = world.right();
    std::map<std::int64_t, std::uint64_t> sent;  // by window
    std::uint64_t readings = 0;
    const std::int64_t end = world.right().us + 6ll * 3600 * 1'000'000;
    std::int64_t down_until = 0;
    while (world.right().us < end) {
      for (int i = 0; i < 600; ++i) {
        CHECK(world.send_raw("dev/a", payload(world, 1)));
        CHECK(world.send_raw("arrival/b", "{\"value\":2}"));
        ++readings;
        ++sent[world.right().us / 10'000'000 * 10'000'000];
        world.loop().run_for(Duration{1'500'000'000 + static_cast<std::int64_t>(rng.below(1'500'000'000))});
      }
      if (rng.chance(0.3)) {
        world.kill();
        world.start();
      } else if (down_until == 0 && rng.chance(0.5)) {
        world.far_side().set_up(false);
        down_until = world.right().us + static_cast<std::int64_t>(rng.below(2ull * 3600)) * 1'000'000;
      }
      if (down_until != 0 && world.right().us > down_until) {
        world.far_side().set_up(true);
        down_until = 0;
      }
      if (!world.forgotten.contains("old")) continue;
      CHECK(world.forgotten["old"].us - left.us >= 4ll * 3600 * 1'000'000);
    }
    world.far_side().set_up(true);
    CHECK(world.drain());
    CHECK(expired(world) == 0);
    std::map<std::int64_t, std::uint64_t> got;
    std::uint64_t arrived = 0, revised = 0;
    for (const Record& record : world.received) {
      arrived += record.kind == Kind::reading && record.device == "a";
      if (record.kind != Kind::window || record.device != "a") continue;
      got[record.time.us] = detail(record).count;
      revised += detail(record).revision > 0;
      ++windows_seen;
    }
    CHECK(arrived >= readings);
    CHECK(revised == 0);
    std::size_t wrong = 0;
    for (const auto& [start, count] : sent) wrong += start < end - 60'000'000 && got[start] != count;
    CHECK(wrong == 0);
    CHECK(doubled(world) == 0);
    CHECK(world.clashes() == 0);
  }
  CHECK(windows_seen > 900u * static_cast<unsigned>(effort()));
}

TEST_CASE(
    "clocks: a machine that sleeps, for seconds or for a week, has aged by that and nothing else has changed") {
  constexpr Duration max_age = 48h, forget_after = 24h * 10;
  Rng rng(seed() + 41);
  Duration slept{0};
  std::size_t expired_seen = 0;
  for (int round = 0; round < 2 * effort(); ++round) {
    World::Options options;
    options.windows = {ten_seconds()};
    options.drain.max_age = max_age;
    options.forget_after = forget_after;
    World world{rng.next(), options};
    leave(world, "old");
    const Duration left{world.right().us * 1000};
    std::map<std::int64_t, Duration> sent;  // by milliseconds: how long it had slept before
    for (int hour = 0; hour < 24; ++hour) {
      world.far_side().set_up(rng.chance(0.6));
      for (int i = 0; i < 60; ++i) {
        CHECK(world.send_raw("dev/a", payload(world, 1)));
        CHECK(world.send_raw("arrival/b", "{\"value\":2}"));
        sent[world.right().us / 1000] = world.slept;
        world.loop().run_for(1min);
      }
      const Duration old{world.right().us * 1000 - left.count()};
      if (old > forget_after + 1min) CHECK(world.forgotten.contains("old"));
      if (old < forget_after) CHECK(world.forgotten.empty());
    }
    world.far_side().set_up(true);
    CHECK(world.drain());
    slept += world.slept;
    // What is missing has slept for so long, or nearly: it was awake for a day.
    std::size_t wrong = 0, revised = 0;
    for (const Record& record : world.received) {
      if (record.kind == Kind::reading && record.device == "a") sent.erase(record.time.us / 1000);
      revised += record.kind == Kind::window && record.device == "a" && detail(record).revision > 0;
    }
    for (const auto& [time, slept_before] : sent) wrong += world.slept - slept_before < max_age - 24h;
    CHECK(wrong == 0);
    CHECK(revised == 0);
    if (!sent.empty()) CHECK(expired(world) > 0);
    expired_seen += sent.size();
    CHECK(doubled(world) == 0);
    CHECK(world.clashes() == 0);
  }
  CHECK(slept > 24h);
  MESSAGE("slept for ", static_cast<int>(to_seconds(slept) / 3600), " h, ", expired_seen,
          " readings expired");
}

TEST_CASE(
    "clocks: an uplink that left is forgotten by time that passed: not by a boot in 1970 that is set right, nor by years ahead") {
  World::Options options;
  options.clock = ClockHistory::Kind::steady;
  options.forget_after = 24h * 7;
  World world{seed(), options};
  leave(world, "old");
  for (int i = 0; i < 501; ++i) CHECK(world.send("a", static_cast<std::uint64_t>(i) + 1, 1));
  world.loop().run_for(30min);
  // Over a power cut the clock begins in 1970; NTP sets it after twenty seconds.
  world.cut_power();
  world.start();
  const std::int64_t right = world.right().us;
  world.loop().step_wall_clock(-std::chrono::microseconds(right));
  world.loop().run_for(20s);
  world.loop().step_wall_clock(std::chrono::microseconds(right));
  world.loop().run_for(10min);
  CHECK(world.forgotten.empty());
  world.loop().step_wall_clock(24h * 365 * 50);
  world.loop().run_for(2h);
  world.loop().step_wall_clock(-24h * 365 * 50);
  world.loop().run_for(24h * 6);
  CHECK(world.forgotten.empty());
  // A kill takes nothing of what has passed, suspension counts as time: it is one.
  world.kill();
  world.start();
  world.loop().suspend(24h);
  world.loop().run_for(1min);
  CHECK(world.forgotten.size() == 1);
}

TEST_CASE(
    "clocks: what a box stamps in 1970 is sent after it was set, however old it looks, and keeps its own boot's time") {
  World::Options options;
  options.clock = ClockHistory::Kind::random;
  options.drain.max_age = 1h;
  World world{seed(), options};
  world.loop().run_for(1s);
  // A power cut: the clock wakes in 1970 in most lives; what it stamps then, and what it says of the cut,
  // must not look 50 years old.
  std::uint64_t sent = 0, in_1970 = 0;
  for (int life = 0; life < 8; ++life) {
    CHECK(world.drain());
    world.cut_power();
    world.start();
    for (int i = 0; i < 20; ++i) {
      CHECK(world.send_raw("arrival/b", "{\"value\":2}"));
      ++sent;
      in_1970 += world.loop().wall().us < 1'000'000'000'000'000;
      world.loop().run_for(100ms);
    }
    world.far_side().set_up(false);
    world.clock().set_right();
    world.set_clock();
    world.loop().run_for(30min);
    world.far_side().set_up(true);
  }
  CHECK(world.drain());
  world.loop().run_for(5min);
  CHECK(expired(world) == 0);
  CHECK(world.log().ledger("far", Lane::alarm).settled[static_cast<std::size_t>(How::expired)] == 0);
  CHECK(in_1970 > 0);
  std::uint64_t arrived = 0, cuts = 0;
  for (const Record& record : world.received) {
    arrived += record.kind == Kind::reading;
    cuts += record.kind == Kind::event && record.metric == "power_cut";
    if (record.time.us < 1'000'000'000'000'000 && record.kind != Kind::window)
      CHECK(record.trust == TimeTrust::unsynced);
  }
  CHECK(arrived >= sent);
  CHECK(cuts >= 7);  // before anything was committed there is nothing to tell
}

}  // namespace clocks_test
