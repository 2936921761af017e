// A far side to which each batch goes a way of its own (HTTPS by several connections): batches overtake each
// other, and one is lost without the others.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace apart_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t limit = 8 << 10;

// What starts anew has a far side of its own.
void make_apart(World& world, std::size_t bytes_max) {
  world.far_side().limits_ = {4, bytes_max, 30s, true};
  world.far_side().round_trip = 200ms;
}

Record alarm(std::uint64_t n) {
  Record record;
  record.kind = Kind::event;
  record.device = "a";
  record.metric = "door";
  record.value = static_cast<double>(n);
  return record;
}

// The numbers of alarms in the order in which they came for the first time.
std::vector<double> alarms_of(const World& world) {
  std::vector<double> numbers;
  std::set<Sequence> seen;
  for (const Record& record : world.received) {
    if (record.metric == "door" && seen.insert(record.detail->sequence).second)
      numbers.push_back(std::get<double>(record.value));
  }
  return numbers;
}

}  // namespace

TEST_CASE(
    "apart: readings overtake each other on several ways, alarms never do; whatever is lost or killed, all of it arrives") {
  Rng rng(seed());
  for (int round = 0; round < 6 * effort(); ++round) {
    CAPTURE(round);
    World::Options options;
    options.uplink_up = false;
    World world(rng.next(), options);
    make_apart(world, 2 << 10);
    world.far_side().lose_answer = 0.05;
    std::uint64_t n = 0, alarms = 0;
    std::size_t most = 0;
    const auto live = [&](std::uint64_t readings) {
      for (std::uint64_t i = 0; i < readings; ++i) {
        REQUIRE(world.send("a", ++n, world.rng().unit()));
        if (n % 5 == 0) {
          WriteSet set;
          set.records.emplace_back(Lane::alarm, alarm(++alarms));
          set.urgent = true;
          world.log().commit(std::move(set), {});
        }
        world.loop().run_for(20ms);
      }
    };
    live(2000);
    world.far_side().set_up(true);
    for (int part = 0; part < 4; ++part) {
      live(200);
      most = std::max(most, world.far_side().most_at_once[Lane::raw]);
      CHECK(world.far_side().most_at_once[Lane::alarm] <= 1);
      if (part % 2 == 1) continue;
      world.kill();
      world.start();
      make_apart(world, 2 << 10);
      world.far_side().lose_answer = 0.05;
      world.far_side().set_up(true);
    }
    CHECK(world.drain());
    CHECK(most >= 3);
    const auto arrivals = world.arrivals("a");
    CHECK(arrivals.size() == n);
    CHECK(world.clashes() == 0);
    const std::vector<double> came = alarms_of(world);
    CHECK(std::is_sorted(came.begin(), came.end()));
    const LaneLedger raw = world.log().ledger("far", Lane::raw);
    CHECK(raw.settled[static_cast<std::size_t>(How::delivered)] == n);
    CHECK(raw.unsettled() == 0);
  }
}

TEST_CASE(
    "apart: records that are refused, and some that are hung up on, go to the dead lane, their neighbours arrive") {
  Rng rng(seed() + 1);
  for (int round = 0; round < 4 * effort(); ++round) {
    CAPTURE(round);
    World::Options options;
    options.uplink_up = false;
    World world(rng.next(), options);
    make_apart(world, 64 << 10);
    world.far_side().hang_up_above = limit;
    world.far_side().poison = [](const Record& record) {
      const auto* value = std::get_if<double>(&record.value);
      return record.kind == Kind::reading && value && *value == 666;
    };
    std::set<std::uint64_t> bad;
    std::uint64_t n = 0;
    for (int i = 0; i < 600; ++i) {
      ++n;
      const bool large = i % 200 == 60 || i % 200 == 61, poison = i % 150 == 20;
      if (large || poison) bad.insert(n);
      if (large) {
        std::string words(3 * limit, 'x');
        for (char& c : words) c = static_cast<char>('A' + rng.below(26));
        REQUIRE(
            world.send_raw("dev/a", text("{\"ts\":", static_cast<std::int64_t>(n) * 1000 + World::first_ms,
                                         ",\"value\":\"", words, "\"}")));
      } else {
        REQUIRE(world.send("a", n, poison ? 666.0 : 1.0));
      }
      world.loop().run_for(20ms);
    }
    world.far_side().set_up(true);
    // Who speaks, goes on speaking: where nothing smaller ever comes, a suspect would wait.
    for (int i = 0; i < 240; ++i) {
      REQUIRE(world.send("a", ++n, 1.0));
      world.loop().run_for(30s);
    }
    CHECK(world.drain(6h));
    const auto arrivals = world.arrivals("a");
    for (std::uint64_t i = 1; i <= n; ++i) CHECK(arrivals.contains(i) != bad.contains(i));
    CHECK(world.log().ledger("far", Lane::raw).settled[static_cast<std::size_t>(How::dead)] == bad.size());
    CHECK(world.clashes() == 0);
  }
}

TEST_CASE(
    "apart: several batches that meet one outage are one failure; who asks for time has it, whichever was told so") {
  World::Options options;
  options.uplink_up = false;
  options.clock = ClockHistory::Kind::steady;
  World world(seed() + 2, options);
  make_apart(world, 2 << 10);
  auto& far = world.far_side();
  const Counter& retries = world.metrics().counter("millrace_uplink_retries_total", "", {{"uplink", "far"}});
  std::uint64_t n = 0;
  // Of a backlog four are on their way at once. The longest trip takes 400 ms.
  const auto meet_an_outage = [&] {
    far.set_up(false);
    for (int i = 0; i < 2000; ++i) {
      REQUIRE(world.send("a", ++n, world.rng().unit()));
      world.loop().run_for(20ms);
    }
    far.most_at_once.clear();
    far.set_up(true);
    REQUIRE(world.loop().run_until([&] { return far.most_at_once[Lane::raw] == 4; }, 1min));
    far.busy_until = world.loop().now() + 450ms;
  };
  // Three failures would open the breaker, for ten seconds; the wait after one is 1.5 s at most.
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    meet_an_outage();
    const std::uint64_t before = retries.value();
    world.loop().run_for(450ms);
    CHECK(retries.value() == before + 4);
    const std::size_t there = world.received.size();
    world.loop().run_for(2s);
    CHECK(world.received.size() > there);
    // Waits begin anew when things went well for a while.
    for (int i = 0; i < 40; ++i) {
      REQUIRE(world.send("a", ++n, world.rng().unit()));
      world.loop().run_for(1s);
    }
  }
  // The first is told nothing, those after it to come back in a minute.
  meet_an_outage();
  const std::uint64_t before = retries.value();
  REQUIRE(world.loop().run_until([&] { return retries.value() > before; }, 450ms));
  far.retry_after = 1min;
  world.loop().run_for(450ms);
  const std::size_t there = world.received.size();
  world.loop().run_for(58s);
  CHECK(world.received.size() == there);
  world.loop().run_for(5s);
  CHECK(world.received.size() > there);
  CHECK(world.drain());
}

}  // namespace apart_test
