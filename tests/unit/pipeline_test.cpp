// When the pipeline looks into the inbox: seldom where nobody waits, at once where something comes alone; and
// what becomes of it at a stop.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "ingest/mapped_inbox.h"
#include "log/sqlite_log.h"
#include "pipeline/pipeline.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace pipeline_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

struct Bench {
  sim::SimLoop loop;
  sim::SimDisk disk{1};
  std::unique_ptr<Folder> folder = disk.folder();
  std::unique_ptr<SqliteLog> log;
  std::vector<std::uint64_t> words = std::vector<std::uint64_t>(MappedInbox::region_bytes(64 << 10) / 8);
  std::unique_ptr<MappedInbox> inbox;
  Metrics metrics;
  std::unique_ptr<Pipeline> pipeline;
  Handle input;
  std::set<std::int64_t> looks;  // when something was taken
  Duration longest{0};           // that something lay

  Bench() {
    LogOptions options;
    options.vfs = disk.vfs();
    log = std::move(SqliteLog::open(loop, *folder, options, 7)).value();
    const std::span<std::byte> region{reinterpret_cast<std::byte*>(words.data()), words.size() * 8};
    MappedInbox::format(region, 1);
    inbox = std::make_unique<MappedInbox>(region, 0);
    log->on_durable_inbox([this](InboxPosition position) { inbox->release(position.position); });
    pipeline = std::make_unique<Pipeline>(loop, *inbox, *log, metrics, PipelineOptions{});
    input = pipeline->set_input(
        "in",
        [this](const Arrival& arrival, std::vector<Record>& out, Unread&) {
          looks.insert(loop.now().ns);
          longest = std::max(longest, loop.now() - arrival.received_monotonic);
          Record& record = out.emplace_back();
          record.device = "d";
          record.metric = "m";
          record.value = 1.0;
          return Status{};
        },
        false);
    pipeline->start([] {});
    loop.run_for(1s);
  }
  void put(bool patient) {
    Arrival arrival;
    arrival.input = "in";
    arrival.bytes = bytes_of("x");
    arrival.received = loop.wall();
    arrival.received_monotonic = loop.now();
    arrival.patient = patient;
    REQUIRE(inbox->put(arrival).ok());
  }
  // So many, one each 10 ms.
  void put_often(int count) {
    for (int i = 0; i < count; ++i) {
      put(true);
      loop.run_for(10ms);
    }
  }
};

}  // namespace

TEST_CASE("pipeline: polls that come one behind the other are taken together, and lie 50 ms at most") {
  Bench bench;
  bench.put_often(200);
  bench.loop.run_for(1s);
  CHECK(bench.looks.size() < 80);  // forty, and with each commit; it was one for each
  CHECK(bench.longest <= 50ms);
  CHECK(bench.metrics.find_counter("millrace_admitted_records_total", {})->value() == 200);
}

TEST_CASE("pipeline: what comes alone is taken at once, and what cannot wait does not wait for polls") {
  Bench bench;
  for (int i = 0; i < 5; ++i) {
    bench.put(true);
    bench.loop.run_for(200ms);
  }
  CHECK(bench.looks.size() == 5);
  CHECK(bench.longest == 0ms);
  bench.put_often(10);
  bench.looks.clear();
  bench.longest = 0ms;
  bench.put(false);
  bench.loop.run_for(1ms);
  CHECK(bench.looks.size() == 1);
  CHECK(bench.longest <= 50ms);
  bench.put_often(10);
  bench.loop.run_for(1s);
  CHECK(bench.longest <= 50ms);
  // Nor is anything looked for in vain afterwards: the next one wakes the loop again.
  bench.longest = 0ms;
  bench.put(true);
  bench.loop.run_for(1s);
  CHECK(bench.longest == 0ms);
}

TEST_CASE("pipeline: what a full log does not take of the inbox at a stop is taken at the next start") {
  using sim::World;
  World::Options options;
  options.clock = sim::ClockHistory::Kind::steady;
  options.log.bytes_max = 1 << 20;
  options.log.when_full = WhenFull::block;
  options.inbox_bytes = 4 << 20;
  options.uplink_up = false;
  World world(seed(), options);
  world.loop().run_for(1s);
  std::int64_t sent = 0;
  for (; sent < 2500; ++sent) {
    std::string value(1000, 'x');
    for (char& c : value) c = static_cast<char>('a' + world.rng().below(26));
    REQUIRE(world.send_raw("dev/a",
                           text("{\"ts\":", sent * 1000 + World::first_ms, ",\"value\":\"", value, "\"}")));
  }
  CHECK(world.stop());
  world.start();
  CHECK(world.log().start_report().clean);
  CHECK_FALSE(world.inbox().empty());
  world.far_side().set_up(true);
  CHECK(world.drain());
  const auto arrivals = world.arrivals("a");
  CHECK(arrivals.size() == static_cast<std::size_t>(sent));
  for (const auto& [number, times] : arrivals) CHECK(times == 1);
}

}  // namespace pipeline_test
