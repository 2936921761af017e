// Windows in a bad neighbourhood: devices from the future, floods of names, clocks that jump, kills and power
// cuts.
#include <doctest/doctest.h>

#include <map>

#include "base/text.h"
#include "record/batch.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace windows_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

std::vector<Record> rows_of(World& world, Lane lane, std::vector<Sequence>& numbers) {
  std::vector<Record> records;
  for (Sequence from = 1;;) {
    std::vector<Row> rows;
    bool done = false;
    world.log().read(lane, {from, UINT64_MAX}, Log::Direction::up, 1 << 20,
                     [&](Result<std::vector<Row>> read) {
                       done = true;
                       if (read.ok()) rows = read.value();
                     });
    if (!world.loop().run_until([&] { return done; }, 10s) || rows.empty()) return records;
    for (const Row& row : rows) {
      if (row.first < from) continue;
      REQUIRE(decode_batch(*row.columns, row.zstd, records).ok());
      for (std::size_t r = 0; r < row.count; ++r) numbers.push_back(row.first + r);
    }
    from = rows.back().last() + 1;
  }
}

std::string said(const Record& record) {
  const auto& w = std::get<WindowDetail>(record.detail->body);
  return text(w.ordinal, " ", w.name, " ", record.device, " ", record.metric, " ", record.time.us, " r",
              w.revision, " ", w.count, " ", w.mean, " ", w.min, " ", w.max);
}

std::vector<WindowConfig> tight_windows() {
  WindowConfig ten, few, small;
  ten.name = "10s";
  ten.size = 10s;
  ten.allowed_lateness = 10s;
  few.name = "1s";
  few.size = 1s;
  few.allowed_lateness = 1min;
  few.keys_max = 12;
  small.name = "1min";
  small.allowed_lateness = 1h;
  small.future_max = 0s;
  small.state_max = 6000;
  return {ten, few, small};
}

std::string payload(std::int64_t ms, double value) { return text("{\"ts\":", ms, ",\"value\":", value, "}"); }

}  // namespace

TEST_CASE(
    "windows: what the log holds of them is what one engine makes of the log's readings and ticks, whatever happened meanwhile") {
  Rng rng(seed() + 20);
  std::uint64_t windows_seen = 0, future = 0, refused = 0;
  for (int round = 0; round < 2 * effort(); ++round) {
    World::Options options;
    options.windows = tight_windows();
    options.uplink_up = false;  // every row stays in the log
    World world{rng.next(), options};
    for (int life = 0; life < 6; ++life) {
      const std::uint64_t steps = 50 + rng.below(400);
      for (std::uint64_t i = 0; i < steps; ++i) {
        const std::int64_t now = world.loop().wall().us / 1000;
        (void)world.send_raw("dev/a", payload(now, rng.unit()));
        (void)world.send_raw("dev/b",
                             payload(now - static_cast<std::int64_t>(rng.below(20'000)), rng.unit()));
        if (rng.chance(0.1))
          (void)world.send_raw(
              "dev/2099", payload(4'070'908'800'000 + static_cast<std::int64_t>(rng.below(100)) * 1000, 1));
        if (rng.chance(0.1))
          (void)world.send_raw("dev/ahead",
                               payload(now + static_cast<std::int64_t>(rng.below(3'600'000)), 1));
        if (rng.chance(0.2)) (void)world.send_raw(text("dev/flood-", rng.below(1000)), payload(now, 1));
        if (rng.chance(0.05)) {
          for (int k = 0; k < 60; ++k) (void)world.send_raw("dev/backwards", payload(now - k * 1000, 1));
        }
        world.loop().run_for(Duration{static_cast<std::int64_t>(rng.below(2'500'000'000))});
        if (rng.chance(0.005))
          world.loop().step_wall_clock(Duration{std::chrono::seconds(rng.below(7200))} - 1h);
        if (rng.chance(0.01)) world.loop().run_for(Duration{std::chrono::seconds(rng.below(1200))});
      }
      if (rng.chance(0.2)) (void)world.stop();
      else if (rng.chance(0.5)) world.cut_power();
      else world.kill();
      world.start();
    }
    world.loop().run_for(10min);
    std::map<Sequence, Record> entries;
    for (const Lane lane : {Lane::raw, Lane::held}) {
      std::vector<Sequence> numbers;
      std::vector<Record> records = rows_of(world, lane, numbers);
      for (std::size_t i = 0; i < records.size(); ++i) entries[numbers[i]] = std::move(records[i]);
    }
    std::vector<Sequence> numbers;
    std::map<std::uint64_t, std::string> logged;
    for (const Record& window : rows_of(world, Lane::window, numbers)) {
      CHECK(logged.emplace(std::get<WindowDetail>(window.detail->body).ordinal, said(window)).second);
    }
    WindowEngine engine(tight_windows());
    std::vector<Record> made;
    for (const auto& [number, entry] : entries) engine.feed(entry, made);
    REQUIRE(made.size() == logged.size());
    std::size_t different = 0;
    for (const Record& window : made)
      different += logged[std::get<WindowDetail>(window.detail->body).ordinal] != said(window);
    CHECK(different == 0);
    windows_seen += made.size();
    future += engine.stats(0).future;
    for (std::size_t w = 0; w < 3; ++w) {
      CHECK(engine.bytes(w) <= engine.window(w).state_max);
      CHECK(engine.keys(w) <= engine.window(w).keys_max);
      for (const std::uint64_t readings : engine.stats(w).refused) refused += readings;
    }
  }
  CHECK(windows_seen > 1000);
  CHECK(future > 0);
  CHECK(refused > 0);
}

TEST_CASE("windows: a device whose first reading ever lies in the far future has its windows all the same") {
  World::Options options;
  options.windows = {tight_windows().front()};
  options.clock = ClockHistory::Kind::steady;
  World world{seed(), options};
  CHECK(world.send_raw("dev/a", payload(4'070'908'800'000, 1)));
  CHECK(world.send_raw("dev/a", payload(world.loop().wall().us / 1000 + 400'000, 1)));
  for (int i = 0; i < 120; ++i) {
    CHECK(world.send_raw("dev/a", payload(world.loop().wall().us / 1000, i)));
    world.loop().run_for(1s);
    if (i == 60) {
      world.kill();
      world.start();
    }
  }
  CHECK(world.drain());
  const auto windows = std::count_if(world.received.begin(), world.received.end(),
                                     [](const Record& r) { return r.kind == Kind::window; });
  CHECK(windows >= 11);
  for (const Record& record : world.received) {
    if (record.kind == Kind::window) CHECK(record.time.us < 4'000'000'000'000'000);
  }
}

TEST_CASE(
    "windows: after an hour in which nothing came the first reading is not taken for one from the future") {
  World::Options options;
  options.windows = {tight_windows().front()};
  options.clock = ClockHistory::Kind::steady;
  World world{seed(), options};
  const auto minute = [&] {
    for (int i = 0; i < 60; ++i) {
      CHECK(world.send_raw("dev/a", payload(world.loop().wall().us / 1000, i)));
      world.loop().run_for(1s);
    }
  };
  minute();
  world.loop().run_for(1h);
  const std::uint64_t commits = world.log().stats().commits;
  world.loop().run_for(1h);
  CHECK(world.log().stats().commits == commits);  // idle: nothing is written
  minute();
  CHECK(world.drain());
  std::uint64_t readings = 0;
  for (const Record& record : world.received) {
    if (record.kind == Kind::window) readings += std::get<WindowDetail>(record.detail->body).count;
  }
  CHECK(readings >= 110);
}

}  // namespace windows_test
