// A far side that keeps the cursor with the data, in virtual time: nothing comes twice, whatever dies and
// whatever is not heard.
#include <doctest/doctest.h>

#include <set>

#include "sim/world/world.h"
#include "tests/support/seed.h"
#include "uplink/marker.h"

namespace exactly_once_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

struct Found {
  std::uint64_t missing = 0, doubled = 0, out_of_order = 0;
};

Found compare(const World& world, const std::string& device, std::uint64_t last) {
  Found found;
  const auto arrivals = world.arrivals(device);
  for (std::uint64_t n = 1; n <= last; ++n) {
    const auto at = arrivals.find(n);
    if (at == arrivals.end()) ++found.missing;
    else if (at->second > 1) ++found.doubled;
  }
  std::uint64_t before = 0;
  for (const Record& record : world.received) {
    if (record.kind != Kind::reading || record.device != device) continue;
    const auto n = static_cast<std::uint64_t>((record.time.us / 1000 - World::first_ms) / 1000);
    found.out_of_order += n < before;
    before = n;
  }
  return found;
}

World::Options exactly_once() {
  World::Options options;
  options.exactly_once = true;
  return options;
}

}  // namespace

TEST_CASE("exactly once: lost answers, outages, kills and stops double nothing, in either order") {
  Rng rng(seed());
  for (int round = 0; round < 40 * effort(); ++round) {
    World::Options options = exactly_once();
    options.drain.newest_first = round % 2 == 1;
    options.when_unsent = round % 3 == 2;
    World world{rng.next(), options};
    std::uint64_t n = 0;
    for (int life = 0; life < 5; ++life) {
      world.far_side().lose_answer = 0.2;
      const std::uint64_t steps = rng.below(300);
      for (std::uint64_t i = 0; i < steps; ++i) {
        if (world.send("a", n + 1, static_cast<double>(n))) ++n;
        if (rng.chance(0.5)) world.loop().run_for(Duration{static_cast<std::int64_t>(rng.below(80'000'000))});
        if (rng.chance(0.01)) world.far_side().set_up(rng.chance(0.5));
      }
      if (rng.chance(0.3)) (void)world.stop();
      world.kill();
      world.start();
    }
    world.far_side().set_up(true);
    CHECK(world.drain());
    const Found found = compare(world, "a", n);
    INFO("round ", round);
    CHECK(found.missing == 0);
    CHECK(found.doubled == 0);
    if (!options.drain.newest_first) CHECK(found.out_of_order == 0);
    CHECK(world.clashes() == 0);
  }
}

TEST_CASE("exactly once: power cuts double nothing, and lose nothing that was committed") {
  Rng rng(seed() + 1);
  for (int round = 0; round < 40 * effort(); ++round) {
    World::Options options = exactly_once();
    options.when_unsent = round % 2 == 1;
    World world{rng.next(), options};
    std::uint64_t n = 0;
    std::set<std::uint64_t> durable;
    for (int life = 0; life < 6; ++life) {
      world.far_side().lose_answer = 0.2;
      const std::uint64_t before = n, steps = 1 + rng.below(400);
      for (std::uint64_t i = 0; i < steps; ++i) {
        if (world.send("a", n + 1, static_cast<double>(n))) ++n;
        if (rng.chance(0.3))
          world.loop().run_for(Duration{static_cast<std::int64_t>(rng.below(200'000'000))});
      }
      if (!options.when_unsent && world.inbox().fill() == 0) {
        for (std::uint64_t k = before + 1; k <= n; ++k) durable.insert(k);
      }
      world.cut_power();
      world.start();
    }
    world.far_side().lose_answer = 0;
    CHECK(world.drain());
    INFO("round ", round, " backlog ", world.shipper().backlog(), " health ", world.shipper().health());
    CHECK(world.shipper().backlog() == 0);
    const auto arrivals = world.arrivals("a");
    std::uint64_t missing = 0, doubled = 0;
    for (const std::uint64_t k : durable) missing += !arrivals.contains(k);
    for (const auto& [k, times] : arrivals) doubled += times > 1;
    CHECK(missing == 0);
    CHECK(doubled == 0);
    CHECK(world.clashes() == 0);
  }
}

TEST_CASE("exactly once: a poison record is isolated, its neighbours come once") {
  for (const bool newest : {false, true}) {
    World::Options options = exactly_once();
    options.drain.newest_first = newest;
    World world{seed(), options};
    world.far_side().set_up(false);
    for (std::uint64_t n = 1; n <= 500; ++n) {
      CHECK(world.send("a", n, static_cast<double>(n)));
      if (n % 50 == 0) world.loop().run_for(1s);
    }
    world.far_side().poison = [](const Record& record) { return record.value == Value(123.0); };
    world.far_side().lose_answer = 0.3;
    world.far_side().set_up(true);
    CHECK(world.drain());
    const Found found = compare(world, "a", 500);
    CHECK(found.missing == 1);
    CHECK(found.doubled == 0);
  }
}

TEST_CASE(
    "exactly once: a marker of another log is not believed, one that is ahead of the log moves the numbers on") {
  World world{seed(), exactly_once()};
  world.far_side().set_up(false);
  for (std::uint64_t n = 1; n <= 20; ++n) CHECK(world.send("a", n, 1.0));
  world.loop().run_for(2s);
  // Of another log: all is sent.
  world.kept_marker = encode_marker({world.log().epoch() + 2, 7, {{Lane::raw, SettledSet(1'000'000)}}});
  world.far_side().set_up(true);
  CHECK(world.drain());
  CHECK(compare(world, "a", 20).missing == 0);
  // Of this log, by an earlier process, ahead of it: what was there at the start is settled, what comes is
  // numbered behind it.
  world.kill();
  world.start();
  world.far_side().set_up(false);
  const Sequence ahead = world.log().last_committed() + 5'000'000;
  world.kept_marker = encode_marker({world.log().epoch(), 7, {{Lane::raw, SettledSet(ahead)}}});
  for (std::uint64_t n = 21; n <= 40; ++n) CHECK(world.send("a", n, 1.0));
  world.loop().run_for(2s);
  world.far_side().set_up(true);
  for (std::uint64_t n = 41; n <= 60; ++n) CHECK(world.send("a", n, 1.0));
  CHECK(world.drain());
  CHECK(compare(world, "a", 60).missing == 0);
  CHECK(compare(world, "a", 60).doubled == 0);
  CHECK(world.received.back().detail->sequence > ahead);
}

TEST_CASE("exactly once: another gateway under our name is noticed, and nothing more is sent") {
  World world{seed(), exactly_once()};
  CHECK(world.send("a", 1, 1.0));
  CHECK(world.drain());
  world.kept_marker = encode_marker({world.log().epoch(), 7, {}});
  world.far_side().set_up(false);
  world.far_side().set_up(true);
  CHECK(world.send("a", 2, 1.0));
  world.loop().run_for(1min);
  CHECK(world.received.size() == 1);
  CHECK_FALSE(world.shipper().healthy());
  CHECK(world.shipper().health().find("another gateway") != std::string::npos);
  world.far_side().set_up(false);  // and it stays so when the connection comes and goes
  world.far_side().set_up(true);
  world.loop().run_for(1min);
  CHECK(world.received.size() == 1);
}

TEST_CASE("marker: what it says comes back, and bytes that lie are refused") {
  const Marker marker{
      0x1122334455667788,
      42,
      {{Lane::alarm, SettledSet(7)}, {Lane::raw, SettledSet::restore(100, {{105, 110}, {200, 200}})}}};
  const Bytes bytes = encode_marker(marker);
  const auto back = decode_marker(bytes);
  REQUIRE(back.ok());
  CHECK(back.value().epoch == marker.epoch);
  CHECK(back.value().instance == 42);
  CHECK(back.value().lanes.at(Lane::raw).ranges() == marker.lanes.at(Lane::raw).ranges());
  CHECK(encode_marker(back.value()) == bytes);
  Bytes longer = bytes;
  longer.push_back(std::byte{0});
  CHECK_FALSE(decode_marker(longer).ok());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    CHECK_FALSE(decode_marker(BytesView(bytes).first(size)).ok());
  CHECK_FALSE(decode_marker(encode_marker({1, 1, {{Lane::raw, SettledSet::restore(100, {{50, 60}})}}})).ok());
  CHECK_FALSE(
      decode_marker(encode_marker({1, 1, {{Lane::raw, SettledSet::restore(100, {{105, 110}, {111, 120}})}}}))
          .ok());
  // behind them numbers would wrap
  for (const Sequence far : {UINT64_MAX, UINT64_MAX - 1, Sequence{1} << 63}) {
    CHECK_FALSE(decode_marker(encode_marker({1, 1, {{Lane::raw, SettledSet(far)}}})).ok());
    CHECK_FALSE(
        decode_marker(encode_marker({1, 1, {{Lane::raw, SettledSet::restore(100, {{105, far}})}}})).ok());
  }
}

}  // namespace exactly_once_test
