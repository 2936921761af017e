// Where requests cost: less than a full batch waits for more, each lane for itself.
#include <doctest/doctest.h>

#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace shipper_rest_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

void commit(World& world, Lane lane, int count) {
  WriteSet set;
  for (int i = 0; i < count; ++i) {
    Record record;
    record.device = "d";
    record.metric = "m";
    record.value = world.rng().unit();
    set.records.emplace_back(lane, std::move(record));
  }
  set.urgent = true;
  world.log().commit(std::move(set), {});
  world.loop().run_for(100ms);
}

}  // namespace

TEST_CASE(
    "shipper: beside a lane that waits for more a backlog drains at once, but for what is less than a batch") {
  World::Options options;
  options.uplink_up = false;
  options.clock = ClockHistory::Kind::steady;
  World world(seed(), options);
  world.far_side().limits_ = {1, 16 << 10};
  world.far_side().rest = 1h;
  commit(world, Lane::alarm, 1);
  for (int i = 0; i < 40; ++i) commit(world, Lane::raw, 500);
  world.far_side().set_up(true);
  world.loop().run_for(1min);
  CHECK(world.received.size() > 15'000);
  CHECK(world.shipper().backlog() < 4'000);
  // Then both wait: nothing more goes before the hour is over, and all of it when it is.
  const std::uint64_t batches = world.far_side().batches;
  for (int i = 0; i < 10; ++i) {
    commit(world, Lane::alarm, 1);
    world.loop().run_for(1min);
  }
  CHECK(world.far_side().batches == batches);
  world.loop().run_for(1h);
  CHECK(world.far_side().batches <= batches + 2);
  CHECK(world.received.size() == 20'011);
}

TEST_CASE(
    "shipper: where requests cost and several may be on their way, what comes while a small one has no answer waits, too") {
  World::Options options;
  options.uplink_up = false;
  options.clock = ClockHistory::Kind::steady;
  World world(seed() + 1, options);
  auto& far = world.far_side();
  far.limits_ = {4, 16 << 10, 30s, true};
  far.rest = 1h;
  far.round_trip = 4s;  // one or more for each
  for (int i = 0; i < 40; ++i) commit(world, Lane::raw, 500);
  far.set_up(true);
  world.loop().run_for(3h);
  CHECK(world.received.size() == 20'000);
  CHECK(far.most_at_once[Lane::raw] >= 2);
  std::uint64_t batches = far.batches;
  for (int i = 0; i < 10; ++i) commit(world, Lane::raw, 5);
  world.loop().run_for(30min);
  CHECK(far.batches == batches + 1);
  world.loop().run_for(2h);
  CHECK(far.batches == batches + 2);
  CHECK(world.received.size() == 20'050);
  // One that failed does not wait for the next hour.
  far.busy_until = world.loop().now() + 10s;
  commit(world, Lane::raw, 5);
  world.loop().run_for(1min);
  CHECK(world.received.size() == 20'055);
  // Nor does one that was not let in: it is tried each half minute, and goes as soon as somebody acted.
  world.loop().run_for(2h);
  far.forbids = true;
  batches = far.batches;
  commit(world, Lane::raw, 5);
  world.loop().run_for(5min);
  CHECK(far.batches >= batches + 6);
  far.forbids = false;
  world.loop().run_for(1min);
  CHECK(world.received.size() == 20'060);
}

}  // namespace shipper_rest_test
