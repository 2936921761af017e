// The drain block: in which order, how fast and how old what waits is sent.
#include <doctest/doctest.h>

#include <cmath>

#include "base/text.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace drain_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

World::Options newest() {
  World::Options options;
  options.drain.newest_first = true;
  return options;
}

void send_for(World& world, std::uint64_t& n, Duration duration, Duration every = 100ms) {
  for (Duration passed{0}; passed < duration; passed += every) {
    ++n;
    CHECK(world.send("a", n, world.rng().unit()));
    world.loop().run_for(every);
  }
}

// Ten seconds on a slow link, and then an outage.
void send_through_an_outage(World& world, std::uint64_t& n, Duration outage) {
  world.far_side().limits_ = {1, 2 << 10};
  world.far_side().round_trip = 2s;
  send_for(world, n, 10s);
  world.far_side().set_up(false);
  send_for(world, n, outage);
}

void check_all_once_at_least(const World& world, std::uint64_t n) {
  const auto arrivals = world.arrivals("a");
  CHECK(arrivals.size() == n);
  CHECK(world.clashes() == 0);
}

}  // namespace

TEST_CASE(
    "drain: newest first sends what comes after the reconnect before the backlog, and all of it in the end") {
  World world{seed(), newest()};
  std::uint64_t n = 0;
  send_through_an_outage(world, n, 10min);
  const std::uint64_t backlog_end = n;
  world.far_side().set_up(true);
  const std::size_t before = world.received.size();
  send_for(world, n, 10s);
  // Live readings are through while the backlog still waits.
  std::size_t live = 0;
  for (std::size_t i = before; i < world.received.size(); ++i) {
    if (world.received[i].kind == Kind::reading &&
        (world.received[i].time.us / 1000 - World::first_ms) / 1000 > static_cast<std::int64_t>(backlog_end))
      ++live;
  }
  CHECK(live > 50);
  CHECK(world.shipper().backlog() > 1000);
  CHECK(world.drain());
  check_all_once_at_least(world, n);
  const auto arrivals = world.arrivals("a");
  for (const auto& [number, times] : arrivals) CHECK(times == 1);
}

TEST_CASE("drain: what newest first has sent is not sent again by oldest first, and is counted once") {
  World world{seed(), newest()};
  std::uint64_t n = 0;
  send_through_an_outage(world, n, 5min);
  world.far_side().set_up(true);
  send_for(world, n, 10s);
  world.far_side().set_up(false);
  world.loop().run_for(1min);
  CHECK(world.log().settled("far", Lane::raw).ranges().size() == 1);
  CHECK(world.stop());
  world.configure({});
  world.start();
  CHECK(world.drain());
  CHECK(world.arrivals("a").size() == n);
  for (const auto& [number, times] : world.arrivals("a")) CHECK(times == 1);
  const LaneLedger ledger = world.log().ledger("far", Lane::raw);
  CHECK(ledger.admitted == n);
  CHECK(ledger.settled[static_cast<std::size_t>(How::delivered)] == n);
}

TEST_CASE("drain: twenty outages with newest first never make more than eight ranges, and nothing is lost") {
  for (const bool kills : {false, true}) {
    World world{seed(), newest()};
    std::uint64_t n = 0;
    std::size_t most = 0;
    Rng rng(seed());
    for (int outage = 0; outage < 20; ++outage) {
      world.far_side().limits_ = {1, 512};
      world.far_side().round_trip = 700ms;  // too slow to get anywhere with the backlog
      send_for(world, n, 20s, 50ms);
      world.far_side().set_up(false);
      send_for(world, n, 40s, 50ms);
      if (kills && rng.chance(0.3)) {
        world.kill();
        world.start();
        world.far_side().set_up(false);
      }
      most = std::max(most, world.log().unsettled("far", Lane::raw).size());
      world.far_side().set_up(true);
      send_for(world, n, 5s, 50ms);
      most = std::max(most, world.log().unsettled("far", Lane::raw).size());
    }
    CHECK(most > 2);
    CHECK(most <= SettledSet::ranges_max + 1);
    world.far_side().limits_ = {4, 64 << 10};
    world.far_side().round_trip = 20ms;
    CHECK(world.drain());
    check_all_once_at_least(world, n);
    CHECK(world.log().ledger("far", Lane::raw).unsettled() == 0);
  }
}

TEST_CASE("drain: poison under newest first is isolated as under oldest first") {
  World world{seed(), newest()};
  world.far_side().set_up(false);
  std::uint64_t n = 0;
  for (int i = 0; i < 600; ++i) {
    ++n;
    CHECK(world.send("a", n, n == 300 ? 666.0 : 1.0));
    world.loop().run_for(20ms);
  }
  const auto poison = [](const Record& record) {
    const auto* value = std::get_if<double>(&record.value);
    return value && *value == 666;
  };
  world.far_side().poison = poison;
  world.far_side().set_up(true);
  CHECK(world.drain());
  CHECK(world.arrivals("a").size() == 599);
  const LaneLedger ledger = world.log().ledger("far", Lane::raw);
  CHECK(ledger.settled[static_cast<std::size_t>(How::dead)] == 1);
  CHECK(ledger.unsettled() == 0);
  std::uint64_t refused = 0;
  for (const Record& record : world.received) {
    if (record.kind != Kind::loss) continue;
    const auto& loss = std::get<LossDetail>(record.detail->body);
    CHECK(loss.reason == "refused");
    CHECK(loss.devices.at("a") == 1);
    refused += loss.count;
  }
  CHECK(refused == 1);
  // Once the far side has been mended the letter is sent again, to it alone and under its old number.
  std::vector<Row> dead;
  world.log().read(Lane::dead, {1, UINT64_MAX}, Log::Direction::up, 1 << 20,
                   [&](Result<std::vector<Row>> rows) { dead = rows.value(); });
  world.loop().run_for(1s);
  REQUIRE(dead.size() == 1);
  std::vector<Record> letters;
  REQUIRE(decode_batch(*dead[0].columns, dead[0].zstd, letters).ok());
  const auto& letter = std::get<DeadDetail>(letters.at(0).detail->body);
  const Record record = decode_record(letter.payload).value();
  BatchBuilder builder;
  builder.add(record);
  EncodedBatch batch = builder.encode(0, 0);
  Row row{Lane::raw, letter.number, 1, batch.zstd, std::make_shared<const Bytes>(batch.bytes)};
  std::optional<Outcome> outcome;
  world.shipper().send_again(row, [&](const Outcome& got) { outcome = got; });
  world.loop().run_for(5s);
  REQUIRE(outcome);
  CHECK(outcome->verdict == Verdict::refused);
  world.far_side().poison = {};
  world.shipper().send_again(row, [&](const Outcome& got) { outcome = got; });
  world.loop().run_for(5s);
  CHECK(outcome->verdict == Verdict::acknowledged);
  CHECK(world.received.back().detail->sequence == letter.number);
  CHECK(world.arrivals("a").size() == 600);
}

TEST_CASE("drain: a rate holds the backlog back, not what is live, and a lane never falls behind for it") {
  for (const bool newest_first : {false, true}) {
    World::Options options;
    options.drain.newest_first = newest_first;
    options.drain.rate_records = 50;
    World world{seed(), options};
    std::uint64_t n = 0;
    world.far_side().set_up(false);
    send_for(world, n, 5min);  // 3,000 readings
    world.far_side().set_up(true);
    const std::uint64_t before = world.shipper().backlog();
    send_for(world, n, 20s);
    const double drained = static_cast<double>(before) - static_cast<double>(world.shipper().backlog());
    INFO("newest first ", newest_first, ", drained ", drained, " of ", before, " in 20 s");
    // 50 records a second of backlog, and one batch may be ahead.
    CHECK(drained > 20 * 50 * 0.7);
    CHECK(drained < 20 * 50 * 1.6);
    const double eta = world.shipper().eta_seconds();
    CHECK(eta > 20);
    CHECK(eta < 90);
    world.loop().run_for(10s);
    CHECK(world.drain());
    CHECK(world.shipper().eta_seconds() == 0);
    check_all_once_at_least(world, n);
  }
}

TEST_CASE(
    "drain: what is older than max_age is not sent but reported, and not by a clock that was just stepped") {
  World::Options options;
  options.drain.max_age = 10min;
  options.clock = ClockHistory::Kind::steady;
  World world{seed(), options};
  const auto send = [&](int count) {
    for (int i = 0; i < count; ++i) {
      CHECK(world.send_raw("dev/a", text("{\"ts\":", world.loop().wall().us / 1000, ",\"value\":1}")));
      world.loop().run_for(1s);
    }
  };
  world.far_side().set_up(false);
  send(100);
  world.loop().run_for(1h);
  send(50);
  world.far_side().set_up(true);
  CHECK(world.drain());
  LaneLedger ledger = world.log().ledger("far", Lane::raw);
  CHECK(ledger.settled[static_cast<std::size_t>(How::expired)] == 100);
  CHECK(ledger.settled[static_cast<std::size_t>(How::delivered)] == 50);
  std::uint64_t reported = 0;
  for (const Record& record : world.received) {
    if (record.kind == Kind::loss) reported += std::get<LossDetail>(record.detail->body).devices.at("a");
  }
  CHECK(reported == 100);
  // A step of the wall clock by a day makes nothing old.
  world.far_side().set_up(false);
  send(20);
  world.loop().step_wall_clock(24h);
  world.far_side().set_up(true);
  CHECK(world.drain());
  ledger = world.log().ledger("far", Lane::raw);
  CHECK(ledger.settled[static_cast<std::size_t>(How::expired)] == 100);
  CHECK(ledger.settled[static_cast<std::size_t>(How::delivered)] == 70);
}

TEST_CASE("drain: after a reconnect batches begin small and one at a time") {
  World world{seed()};
  std::uint64_t n = 0;
  world.far_side().set_up(false);
  Rng rng(seed());
  for (int i = 0; i < 60'000; ++i) {
    if (world.send("a", n + 1, rng.unit())) ++n;
    if (i % 200 == 0) world.loop().run_for(50ms);
  }
  world.loop().run_for(2s);
  const std::uint64_t batches = world.far_side().batches;
  world.far_side().round_trip = 100ms;
  world.far_side().set_up(true);
  world.loop().run_for(90ms);
  CHECK(world.far_side().batches <= batches + 1);
  world.loop().run_for(100ms);
  CHECK(world.far_side().batches <= batches + 2);
  CHECK(world.drain());
  check_all_once_at_least(world, n);
}

}  // namespace drain_test
