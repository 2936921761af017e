// Others fill the disk at random moments, and take what is freed: nothing of ours is evicted for it, and
// everything that was acknowledged arrives in the end.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace full_disks_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t log_max = 4 << 20;

// One life of a site whose disk is shared with somebody who fills it, frees some of it, and fills it again.
struct Neighbours {
  World world;
  Rng rng;
  std::uint64_t sent = 0, evicted = 0, fills = 0, trouble_seen = 0;

  Neighbours(std::uint64_t seed, const World::Options& options) : world(seed, options), rng(seed + 1) {}

  void others() {
    SimDisk& disk = world.disk();
    if (rng.chance(0.5)) {
      ++fills;
      disk.full_error = rng.chance(0.2) ? EDQUOT : ENOSPC;
      disk.bytes_max = disk.used() + (rng.chance(0.5) ? 0 : rng.below(200'000));
      disk.others_take_all = rng.chance(0.5);
    } else {
      free_all();
    }
  }
  void free_all() {
    world.disk().bytes_max = UINT64_MAX;
    world.disk().others_take_all = false;
  }
  // A device sends for a while; it stops while it is told to.
  void live(std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps; ++i) {
      for (int k = 0; k < 20 && !world.paused; ++k) {
        if (world.send("a", sent + 1, rng.unit())) ++sent;
      }
      world.loop().run_for(Duration{static_cast<std::int64_t>(rng.below(400'000'000))});
      look();
    }
  }
  void look() {
    const LogStats stats = world.log().stats();
    trouble_seen += !stats.trouble.empty();
    if (stats.evicted_records == evicted) return;
    // For its own bound alone: what a roll-over may need, the open group and state are kept free below it.
    CHECK(stats.bytes_used > log_max / 2);
    evicted = stats.evicted_records;
  }
  void restart() {
    world.kill();
    const bool was_full = world.disk().bytes_max != UINT64_MAX;
    if (was_full) {  // a start wants room for an empty file; without it it ends, and is tried again
      SimDisk& disk = world.disk();
      disk.others_take_all = false;
      disk.bytes_max = std::max<std::uint64_t>(disk.bytes_max, disk.used() + SimDisk::sector);
    }
    world.start();
    evicted = 0;
  }
};

}  // namespace

TEST_CASE("full disks: below the log's own bound nothing is evicted, and everything acknowledged arrives") {
  Rng rng(seed() + 42);
  std::uint64_t fills = 0, readings = 0, trouble = 0, lives = 0;
  for (int round = 0; round < 3 * effort(); ++round) {
    const std::uint64_t round_seed = rng.next();
    INFO("round ", round, " seed ", round_seed);
    World::Options options;
    options.log.bytes_max = 64 << 20;  // never reached
    options.log.segment_bytes = 64 << 10;
    options.log.when_full = rng.chance(0.5) ? WhenFull::evict : WhenFull::block;
    options.when_unsent = rng.chance(0.2);
    options.inbox_bytes = 64 << 10;
    if (rng.chance(0.3)) {
      WindowConfig window;
      window.name = "10s";
      window.size = 10s;
      options.windows = {window};
    }
    Neighbours site(round_seed, options);
    for (int life = 0; life < 5; ++life, ++lives) {
      for (int turn = 0; turn < 6; ++turn) {
        site.others();
        if (site.rng.chance(0.4)) site.world.far_side().set_up(site.rng.chance(0.5));
        site.live(5 + site.rng.below(40));
      }
      CHECK(site.world.log().stats().evicted_records == 0);
      site.restart();
    }
    site.free_all();
    site.world.far_side().set_up(true);
    CHECK(site.world.drain());
    const LogStats stats = site.world.log().stats();
    CHECK(stats.trouble.empty());
    CHECK(stats.evicted_records == 0);
    CHECK(stats.lost_records == 0);
    CHECK(stats.vanished_records == 0);
    std::uint64_t missing = 0;
    const auto arrivals = site.world.arrivals("a");
    for (std::uint64_t n = 1; n <= site.sent; ++n) missing += !arrivals.contains(n);
    CHECK(missing == 0);
    CHECK(site.world.clashes() == 0);
    fills += site.fills;
    readings += site.sent;
    trouble += site.trouble_seen;
  }
  MESSAGE(lives, " lives, ", fills, " times filled, ", readings, " readings, in trouble at ", trouble,
          " looks");
}

TEST_CASE("full disks: a log at its own bound evicts for that alone, whatever others do") {
  Rng rng(seed() + 43);
  std::uint64_t evicted = 0;
  for (int round = 0; round < 2 * effort(); ++round) {
    const std::uint64_t round_seed = rng.next();
    INFO("round ", round, " seed ", round_seed);
    World::Options options;
    options.log.bytes_max = log_max;
    options.uplink_up = false;
    Neighbours site(round_seed, options);
    for (int turn = 0; turn < 30; ++turn) {
      if (round > 0) site.others();  // the first one has the disk for itself: it surely comes to its bound
      for (int i = 0; i < 60; ++i) {
        for (int k = 0; k < 300 && !site.world.paused; ++k) {
          if (site.world.send("a", site.sent + 1, site.rng.unit())) ++site.sent;
        }
        site.world.loop().run_for(200ms);
        site.look();
      }
      CHECK(site.world.log().stats().bytes_used <= log_max);
    }
    site.free_all();
    site.world.far_side().set_up(true);
    CHECK(site.world.drain());
    const LaneLedger ledger = site.world.log().ledger("far", Lane::raw);
    CHECK(ledger.settled[static_cast<std::size_t>(How::evicted)] + site.world.arrivals("a").size() ==
          site.sent);
    evicted += site.evicted;
  }
  CHECK(evicted > 0);
}

TEST_CASE("full disks: exactly once stays so while nothing can be committed, and over a kill") {
  World::Options options;
  options.log.segment_bytes = 64 << 10;
  options.exactly_once = true;
  options.uplink_up = false;
  options.inbox_bytes = 64 << 10;
  Neighbours site(seed() + 44, options);
  site.live(200);
  site.world.disk().bytes_max = site.world.disk().used();
  site.world.disk().others_take_all = true;
  site.live(100);
  CHECK_FALSE(site.world.log().stats().trouble.empty());
  site.world.far_side().set_up(true);
  site.world.loop().run_for(1s);  // in the middle of it
  site.restart();
  site.world.far_side().set_up(true);
  site.world.loop().run_for(5min);
  site.free_all();
  CHECK(site.world.drain());
  const auto arrivals = site.world.arrivals("a");
  CHECK(arrivals.size() == site.sent);
  for (const auto& [n, times] : arrivals) CHECK(times == 1);
}

}  // namespace full_disks_test
