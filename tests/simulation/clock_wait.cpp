// Two clocks: what a box stamps before its clock was set waits for that, and goes north with the time it had;
// it waits no longer than gateway.clock_wait from the boot, whatever happens in between.
#include <doctest/doctest.h>

#include <map>
#include <set>
#include <tuple>

#include "base/text.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace clock_wait {

using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

constexpr std::int64_t second = 1'000'000, hour = 3600 * second;
constexpr std::int64_t near_us = 150'000;  // a row has one clock: it is closed where that moves by 100 ms

// A site with a clock of its own story, whose readings are numbers: when each really came is known.
struct Site {
  explicit Site(World::Options options = {}) : world(seed(), steady(std::move(options))) {
    world.loop().run_for(2s);
  }
  static World::Options steady(World::Options options) {
    options.clock = ClockHistory::Kind::steady;
    return options;
  }

  // The power comes back, and the clock is wrong by so much; nobody vouches for it.
  void boot(std::int64_t error_us) {
    world.cut_power();
    world.clock().set(error_us, false);
    world.start();
  }
  void boot_in_1970() { boot(-world.right().us + 3 * second); }
  void clock(std::int64_t error_us, bool trusted) {
    world.clock().set(error_us, trusted);
    world.set_clock();
  }
  void send(int readings, Duration every = 1s) {
    for (int i = 0; i < readings; ++i) {
      came[++n] = world.right().us;
      if (!world.clock().trusted()) in_doubt.insert(n);
      CHECK(world.send_raw("arrival/b", text("{\"value\":", n, "}")));
      world.loop().run_for(every);
    }
  }
  std::size_t arrived() const {
    std::size_t readings = 0;
    for (const Record& record : world.received) readings += record.kind == Kind::reading;
    return readings;
  }
  // How far the time of each reading lies from when it came, by whose word.
  struct Told {
    std::size_t readings = 0, unsynced = 0, corrected = 0, wrong = 0, not_told = 0;
  };
  Told told(std::int64_t monotonic_to_right) const {
    Told told;
    for (const Record& record : world.received) {
      if (record.kind != Kind::reading) continue;
      ++told.readings;
      const auto* whole = std::get_if<std::int64_t>(&record.value);
      const double value = whole ? static_cast<double>(*whole) : std::get<double>(record.value);
      const std::int64_t right = came.at(static_cast<int>(value));
      told.corrected += record.trust == TimeTrust::gateway && in_doubt.contains(static_cast<int>(value));
      std::int64_t says = record.time.us;
      if (record.trust == TimeTrust::unsynced) {
        ++told.unsynced;
        told.not_told += record.detail->boot_id == 0;
        says = record.detail->monotonic_us + monotonic_to_right;  // as the centre corrects it
      }
      told.wrong += std::abs(says - right) > near_us;
    }
    return told;
  }
  // In this world the monotonic clock goes on over power cuts.
  static constexpr std::int64_t to_right = SimLoop::epoch_us;

  World world;
  int n = 0;
  std::map<int, std::int64_t> came;
  std::set<int> in_doubt;  // that came while the clock was not trusted
};

TEST_CASE("clock wait: what was stamped in 1970 waits for the clock, and has the time it had") {
  Site site;
  site.boot_in_1970();
  site.send(100);
  CHECK(site.arrived() == 0);
  CHECK(site.world.shipper().health().find("waits for the clock to be set") != std::string::npos);
  CHECK(site.world.shipper().healthy());
  site.clock(0, true);
  site.send(5);
  CHECK(site.world.drain());
  const Site::Told told = site.told(Site::to_right);
  CHECK(told.readings == 105);
  CHECK(told.unsynced == 0);
  CHECK(told.wrong == 0);
  CHECK(site.world.shipper().health() == "up");
}

TEST_CASE("clock wait: one that is never set is waited for once, from the boot, however often we restart") {
  World::Options options;
  options.clock_wait = 5min;
  Site site(options);
  site.boot_in_1970();
  site.send(120);
  site.world.kill();
  site.world.start();
  site.send(120);
  CHECK(site.arrived() == 0);
  site.world.kill();
  site.world.start();
  site.send(70);  // 310 s after the boot
  CHECK(site.arrived() > 290);
  site.send(10);
  CHECK(site.world.drain(10s));  // nothing waits any more
  const Site::Told told = site.told(Site::to_right);
  CHECK(told.readings == 320);
  CHECK(told.unsynced == 320);
  CHECK(told.not_told == 0);
  CHECK(told.wrong == 0);  // the centre can tell
}

TEST_CASE("clock wait: an alarm waits for no clock, and the centre is told when it was set") {
  Site site;
  site.send(3);
  site.boot_in_1970();  // the power cut is told
  site.send(20);
  std::size_t cuts = 0, told = 0;
  for (const Record& record : site.world.received) {
    if (record.kind != Kind::event || record.metric != "power_cut") continue;
    ++cuts;
    CHECK(record.trust == TimeTrust::unsynced);
    CHECK(record.detail->boot_id != 0);
  }
  CHECK(cuts == 1);
  site.clock(0, true);
  CHECK(site.world.drain());
  for (const Record& record : site.world.received) {
    if (record.kind != Kind::event || record.metric != "clock_set") continue;
    ++told;
    CHECK(record.time.us - record.detail->monotonic_us == Site::to_right);
  }
  CHECK(told == 1);
}

TEST_CASE("clock wait: devices with a time of their own wait for nobody's clock") {
  Site site;
  site.boot_in_1970();
  for (std::uint64_t i = 1; i <= 10; ++i) {
    CHECK(site.world.send("own", i, 1));
    site.world.loop().run_for(1s);
  }
  CHECK(site.world.drain(10s));
  CHECK(site.arrived() == 10);
}

TEST_CASE("clock wait: set twice, what still waits has the time of the clock that was right") {
  Site site;
  site.boot_in_1970();
  site.world.far_side().set_up(false);
  site.send(30);
  site.clock(hour, true);  // whoever set it was an hour off
  site.world.loop().run_for(20s);
  site.clock(0, true);
  site.world.loop().run_for(20s);
  site.world.far_side().set_up(true);
  CHECK(site.world.drain());
  CHECK(site.told(Site::to_right).wrong == 0);
  CHECK(site.told(Site::to_right).unsynced == 0);
}

TEST_CASE(
    "clock wait: set twice while it is sent, what is in memory already goes by the clock that was set last") {
  Site site;
  site.boot_in_1970();
  site.world.far_side().limits_ = {1, 200};
  site.world.far_side().round_trip = 5s;
  site.send(60);
  site.clock(hour, true);
  site.world.loop().run_for(20s);
  const std::size_t by_the_first = site.arrived();
  CHECK(by_the_first > 0);
  CHECK(by_the_first < 40);
  site.clock(0, true);
  CHECK(site.world.drain());
  CHECK(site.told(Site::to_right).readings == 60);
  CHECK(site.told(Site::to_right).unsynced == 0);
  CHECK(site.told(Site::to_right).wrong <= by_the_first + 20);  // and what was on its way
}

TEST_CASE("clock wait: what a boot could not send, a later one corrects and sends") {
  Site site;
  site.boot_in_1970();
  site.world.far_side().set_up(false);
  site.send(30);
  site.clock(0, true);
  site.send(5);
  site.world.loop().run_for(5s);
  CHECK(site.arrived() == 0);
  site.boot_in_1970();  // and again, with another monotonic clock, and a clock of its own that waits
  site.send(30);
  site.world.loop().run_for(20s);
  CHECK(site.arrived() == 35);
  site.clock(0, true);
  CHECK(site.world.drain());
  CHECK(site.told(Site::to_right).readings == 65);
  CHECK(site.told(Site::to_right).unsynced == 0);
  CHECK(site.told(Site::to_right).wrong == 0);
}

TEST_CASE("clock wait: where nothing is to wait it goes at once, and a standby waits as the first does") {
  World::Options none;
  none.clock_wait = 0s;
  Site site(none);
  site.boot_in_1970();
  site.send(5);
  CHECK(site.world.drain(10s));
  CHECK(site.told(Site::to_right).unsynced == 5);
  World::Options two;
  two.standby_after = 5s;
  Site pair(two);
  pair.boot_in_1970();
  pair.world.far_side().set_up(false);
  pair.send(60);
  CHECK(pair.arrived() == 0);
  CHECK(pair.world.standby().waits_for_clock());
  pair.clock(0, true);
  CHECK(pair.world.drain());
  CHECK(pair.told(Site::to_right).readings == 60);
  CHECK(pair.told(Site::to_right).unsynced == 0);
  CHECK(pair.told(Site::to_right).wrong == 0);
}

TEST_CASE("clock wait: newest first, exactly once and held back from flash wait and correct alike") {
  for (int kind = 0; kind < 3; ++kind) {
    World::Options options;
    options.drain.newest_first = kind == 0;
    options.exactly_once = kind == 1;
    options.when_unsent = kind == 2;
    Site site(options);
    site.boot_in_1970();
    site.send(40);
    CHECK(site.arrived() == 0);
    site.world.far_side().set_up(false);
    site.send(10);
    site.world.far_side().set_up(true);
    site.send(10);
    site.clock(0, true);
    site.send(10);
    CHECK(site.world.drain());
    CHECK(site.told(Site::to_right).readings >= 70);
    CHECK(site.told(Site::to_right).unsynced == 0);
    CHECK(site.told(Site::to_right).wrong == 0);
  }
}

TEST_CASE(
    "clock wait: whatever the clock does while nobody vouches for it, kills and outages between, each reading can "
    "be told") {
  Rng rng(seed() + 50);
  std::size_t corrected = 0, unsynced = 0;
  for (int round = 0; round < 4 * effort(); ++round) {
    World::Options options;
    options.clock_wait = std::chrono::seconds(rng.below(400));
    options.drain.newest_first = rng.chance(0.3);
    Site site(options);
    for (int act = 0; act < 60; ++act) {
      site.send(1 + static_cast<int>(rng.below(20)), std::chrono::milliseconds(50 + rng.below(2000)));
      switch (rng.below(9)) {
        case 0: site.boot_in_1970(); break;
        case 1:
          site.world.kill();
          site.world.start();
          break;
        case 2: site.clock(0, true); break;
        case 3: site.clock(-55 * 60 * second, false); break;
        case 4: site.clock(hour, false); break;
        case 5: site.clock(-site.world.right().us + 100 * second, false); break;
        case 6: site.world.far_side().set_up(rng.chance(0.5)); break;
        case 7:
          CHECK(site.world.stop());
          site.world.start();
          break;
        default: site.clock(-second / 3, false); break;
      }
    }
    site.world.far_side().set_up(true);
    if (rng.chance(0.5)) site.clock(0, true);
    CHECK(site.world.drain());
    const Site::Told told = site.told(Site::to_right);
    CHECK(told.wrong == 0);
    CHECK(told.not_told == 0);
    CHECK(site.world.clashes() == 0);
    unsynced += told.unsynced;
    corrected += told.corrected;
  }
  CHECK(corrected > 0);
  CHECK(unsynced > 0);
}

const WindowDetail& detail(const Record& record) { return std::get<WindowDetail>(record.detail->body); }

TEST_CASE("clock wait: windows of what came before the clock was set are those of the times it had, once") {
  for (const bool killed : {false, true}) {
    World::Options options;
    WindowConfig window;
    window.name = "10s";
    window.size = 10s;
    window.allowed_lateness = 0s;
    window.idle_close = 10s;
    options.windows = {window};
    Site site(options);
    site.boot_in_1970();
    site.send(60);
    if (killed) {
      site.world.kill();
      site.world.start();
      site.send(30);
      site.world.kill();
      site.world.start();
    } else {
      site.send(30);
    }
    site.clock(0, true);
    site.send(30);
    site.world.loop().run_for(2min);
    CHECK(site.world.drain());
    std::map<std::int64_t, std::uint64_t> wanted, got;
    for (const auto& [number, right] : site.came) ++wanted[right / (10 * second) * 10 * second];
    for (const Record& record : site.world.received) {
      if (record.kind != Kind::window) continue;
      CHECK(detail(record).revision == 0);
      CHECK(got.emplace(record.time.us, detail(record).count).second);
    }
    CHECK(got == wanted);
  }
}

TEST_CASE("clock wait: windows give up with the uplinks, and their state goes on") {
  World::Options options;
  WindowConfig window;
  window.name = "10s";
  window.size = 10s;
  window.allowed_lateness = 0s;
  window.idle_close = 10s;
  options.windows = {window};
  options.clock_wait = 60s;
  Site site(options);
  site.boot_in_1970();
  site.send(100);
  site.clock(0, true);  // too late for those
  site.send(60);
  site.world.loop().run_for(2min);
  CHECK(site.world.drain());
  std::uint64_t counted = 0;
  for (const Record& record : site.world.received)
    counted += record.kind == Kind::window ? detail(record).count : 0;
  CHECK(counted == 60);
}

}  // namespace clock_wait
