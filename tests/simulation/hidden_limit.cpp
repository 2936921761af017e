// A far side with a size limit that it does not announce, on links that are merely bad at the same time.
#include <doctest/doctest.h>

#include <set>

#include "base/text.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace hidden_limit_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t limit = 8 << 10;

// Words that do not compress much.
std::string noise(Rng& rng, std::size_t size) {
  std::string words(size, 'x');
  for (char& c : words) c = static_cast<char>('!' + 2 + rng.below(56));
  return words;
}

struct Site {
  explicit Site(std::uint64_t seed, World::Options options = {}) : world(seed, options), rng(seed + 1) {
    world.far_side().hang_up_above = limit;
  }
  void say(std::size_t size) {
    ++n;
    std::string value = noise(rng, size);
    for (char& c : value) {
      if (c == '\\' || c == '"') c = 'q';
    }
    REQUIRE(world.send_raw("dev/a", text("{\"ts\":", static_cast<std::int64_t>(n) * 1000 + World::first_ms,
                                         ",\"value\":\"", value, "\"}")));
    if (size > 2 * limit) large.insert(n);
  }
  std::uint64_t dead() {
    return world.log().ledger("far", Lane::raw).settled[static_cast<std::size_t>(How::dead)];
  }
  // Everything below the limit arrives, in order; above it everything is dead-lettered, and nothing else ever
  // is.
  void check(bool ordered = true) {
    const auto arrivals = world.arrivals("a");
    std::uint64_t missing = 0, out_of_order = 0, before = 0;
    for (std::uint64_t i = 1; i <= n; ++i) {
      if (!large.contains(i) && !arrivals.contains(i)) ++missing;
      if (large.contains(i)) CHECK_FALSE(arrivals.contains(i));
    }
    std::set<std::uint64_t> seen;
    for (const Record& record : world.received) {
      if (record.kind != Kind::reading) continue;
      const auto number = static_cast<std::uint64_t>((record.time.us / 1000 - World::first_ms) / 1000);
      if (!seen.insert(number).second) continue;
      if (number < before) ++out_of_order;
      before = number;
    }
    CHECK(missing == 0);
    if (ordered) CHECK(out_of_order == 0);
    CHECK(dead() == large.size());
    CHECK(world.clashes() == 0);
  }

  World world;
  Rng rng;
  std::uint64_t n = 0;
  std::set<std::uint64_t> large;
};

}  // namespace

TEST_CASE(
    "hidden limit: the one record above it goes to the dead lane, everything before and after it arrives") {
  Site site(seed());
  for (int i = 0; i < 300; ++i) {
    site.say(i == 150 ? 3 * limit : 100);
    site.world.loop().run_for(20ms);
  }
  site.world.loop().run_for(60s);
  CHECK(site.dead() == 1);
  CHECK(site.world.drain());
  site.check();
  CHECK(site.world.shipper().size_limit().find("is suspected") != std::string::npos);
}

TEST_CASE(
    "hidden limit: at the head of the lane, before anything ever passed, it waits for something smaller") {
  Site site(seed());
  site.say(3 * limit);
  site.world.loop().run_for(10min);
  CHECK(site.dead() == 0);  // nothing says that anything passes here
  CHECK_FALSE(site.world.shipper().healthy());
  site.say(100);
  CHECK(site.world.drain());
  site.check();
}

TEST_CASE(
    "hidden limit: a far side that takes nothing gets no record given up, and is served when it is mended") {
  Site site(seed());
  site.world.far_side().hang_up_above = 10;
  for (int i = 0; i < 50; ++i) {
    site.say(100);
    site.world.loop().run_for(1s);
  }
  site.world.loop().run_for(1h);
  CHECK(site.dead() == 0);
  CHECK(site.world.shipper().health().starts_with("blocked"));
  site.world.far_side().hang_up_above = limit;
  CHECK(site.world.drain());
  site.check(false);  // the one that shows that something passes may be a neighbour, ahead of the suspect
}

TEST_CASE(
    "hidden limit: many large ones in a row, of one size or nearly, do not hide the small ones behind them") {
  Site site(seed());
  site.world.far_side().set_up(false);
  for (int i = 0; i < 60; ++i) {
    site.say(i < 40 ? 3 * limit + static_cast<std::size_t>(i % 3) : 100);
    site.world.loop().run_for(500ms);
  }
  site.world.far_side().set_up(true);
  CHECK(site.world.drain());
  site.check();
}

TEST_CASE(
    "hidden limit: what is learnt spares the next large ones the trial, and is forgotten when the far side is mended") {
  Site site(seed());
  const auto some = [&](std::size_t size) {
    site.say(size);
    for (int i = 0; i < 10; ++i) site.say(100);
    site.world.loop().run_for(60s);
  };
  some(3 * limit);
  CHECK(site.dead() == 1);
  const std::uint64_t batches = site.world.far_side().batches;
  some(4 * limit);
  CHECK(site.dead() == 2);
  CHECK(site.world.far_side().batches < batches + 10);  // not one of them lost
  site.world.far_side().hang_up_above = SIZE_MAX;
  site.world.loop().run_for(11min);
  CHECK(site.world.drain());
  site.check();
  some(4 * limit);
  CHECK(site.dead() == 2);
  CHECK(site.world.arrivals("a").contains(site.n - 10));
  CHECK(site.world.shipper().size_limit().empty());
}

TEST_CASE(
    "hidden limit: with connections that die at random, nothing below it is ever given up, nothing above it stays") {
  Rng rng(seed());
  for (int round = 0; round < 12 * effort(); ++round) {
    World::Options options;
    options.drain.newest_first = rng.chance(0.5);
    Site site(rng.next(), options);
    CAPTURE(round);
    site.world.far_side().limits_ = {1 + rng.below(4), 64 << 10};
    site.world.far_side().round_trip = std::chrono::milliseconds(10 + rng.below(300));
    site.world.far_side().mean_life = std::chrono::seconds(3 + rng.below(60));
    const std::uint64_t steps = 100 + rng.below(300);
    for (std::uint64_t i = 0; i < steps; ++i) {
      site.say(rng.chance(0.02) ? 3 * limit + rng.below(2 * limit) : 20 + rng.below(limit / 4));
      site.world.loop().run_for(Duration{static_cast<std::int64_t>(rng.below(2'000'000'000))});
    }
    // Who speaks, goes on speaking: where nothing smaller ever comes, a suspect would wait.
    for (int i = 0; i < 240; ++i) {
      site.say(50);
      site.world.loop().run_for(30s);
    }
    CHECK(site.world.drain(6h));
    site.check(!options.drain.newest_first);
  }
}

TEST_CASE(
    "hidden limit: what is above it is never answered, on links that die at random too: it is found, and nothing else") {
  Rng rng(seed() + 2);
  for (int round = 0; round < 8 * effort(); ++round) {
    World::Options options;
    options.drain.newest_first = rng.chance(0.5);
    Site site(rng.next(), options);
    CAPTURE(round);
    site.world.far_side().swallow_above = std::exchange(site.world.far_side().hang_up_above, SIZE_MAX);
    site.world.far_side().limits_ = {1 + rng.below(4), 64 << 10};
    if (rng.chance(0.5)) site.world.far_side().mean_life = std::chrono::minutes(2 + rng.below(20));
    for (int i = 0; i < 200; ++i) {
      site.say(rng.chance(0.02) ? 3 * limit + rng.below(2 * limit) : 20 + rng.below(limit / 4));
      site.world.loop().run_for(Duration{static_cast<std::int64_t>(rng.below(2'000'000'000))});
    }
    for (int i = 0; i < 480; ++i) {
      site.say(50);
      site.world.loop().run_for(30s);
    }
    CHECK(site.world.drain(12h));
    site.check(false);
  }
}

TEST_CASE("hidden limit: a far side that forgets to answer now and then is no reason to give a record up") {
  Rng rng(seed() + 3);
  for (int round = 0; round < 6 * effort(); ++round) {
    Site site(rng.next());
    CAPTURE(round);
    site.world.far_side().hang_up_above = SIZE_MAX;
    site.world.far_side().swallow = 0.1 + 0.1 * static_cast<double>(rng.below(8));
    for (int i = 0; i < 60; ++i) {
      site.say(i % 10 == 5 ? 3 * limit : 50);
      site.world.loop().run_for(10s);
    }
    site.world.loop().run_for(4h);
    CHECK(site.dead() == 0);
    site.large.clear();
    site.world.far_side().swallow = 0;
    CHECK(site.world.drain(6h));
    site.check(false);
  }
}

TEST_CASE("hidden limit: a link that dies at random, however often, is never a reason to give a record up") {
  Rng rng(seed() + 1);
  for (int round = 0; round < 12 * effort(); ++round) {
    Site site(rng.next());
    CAPTURE(round);
    site.world.far_side().hang_up_above = SIZE_MAX;
    site.world.far_side().round_trip = std::chrono::milliseconds(50 + rng.below(1500));
    // About as long as a round trip: most batches die, large and small alike.
    site.world.far_side().mean_life =
        site.world.far_side().round_trip * static_cast<int>(1 + rng.below(8)) / 2;
    for (int i = 0; i < 60; ++i) {
      site.say(i % 10 == 5 ? 3 * limit : 50);
      site.world.loop().run_for(1s);
    }
    site.world.loop().run_for(2h);
    CHECK(site.dead() == 0);
    site.large.clear();
    site.world.far_side().mean_life = Duration{0};
    CHECK(site.world.drain(6h));
    site.check();
  }
}

}  // namespace hidden_limit_test
