// Two of one name, one after the other, and the first leaves late: what it gives back is its own.
#include <doctest/doctest.h>

#include <algorithm>

#include "ingest/mapped_inbox.h"
#include "log/sqlite_log.h"
#include "pipeline/pipeline.h"
#include "record/batch.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"

namespace successor_test {
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

  explicit Bench(std::size_t open_bytes_max = LogOptions().open_bytes_max) {
    LogOptions options;
    options.open_bytes_max = open_bytes_max;
    options.vfs = disk.vfs();
    log = std::move(SqliteLog::open(loop, *folder, options, 7)).value();
    const std::span<std::byte> region{reinterpret_cast<std::byte*>(words.data()), words.size() * 8};
    MappedInbox::format(region, 1);
    inbox = std::make_unique<MappedInbox>(region, 0);
    log->on_durable_inbox([this](InboxPosition position) { inbox->release(position.position); });
    pipeline = std::make_unique<Pipeline>(loop, *inbox, *log, metrics, PipelineOptions{});
  }

  // Names each payload's record after the configuration that decoded it.
  Handle input(const std::string& name, const std::string& configuration) {
    return pipeline->set_input(
        name,
        [configuration](const Arrival& arrival, std::vector<Record>& out, Unread&) {
          Record& record = out.emplace_back();
          record.device = configuration;
          record.metric = "m";
          record.value = std::string(text_of(arrival.bytes));
          return Status{};
        },
        false);
  }
  void put(const std::string& input, const std::string& payload) {
    Arrival arrival;
    arrival.input = input;
    arrival.channel = "t";
    arrival.bytes = bytes_of(payload);
    REQUIRE(inbox->put(arrival).ok());
  }
  // What is in `lane`: "configuration:value" each.
  std::vector<std::string> stored(Lane lane) {
    std::vector<std::string> all;
    loop.run_for(5s);
    log->read(lane, {1, UINT64_MAX}, Log::Direction::up, 1 << 20, [&](Result<std::vector<Row>> rows) {
      for (const Row& row : rows.value()) {
        std::vector<Record> records;
        REQUIRE(decode_batch(*row.columns, row.zstd, records).ok());
        for (const Record& record : records) {
          all.push_back(lane == Lane::dead ? std::get<DeadDetail>(record.detail->body).reason
                                           : record.device + ":" + std::get<std::string>(record.value));
        }
      }
    });
    loop.run_for(1s);
    std::sort(all.begin(), all.end());
    return all;
  }
};

}  // namespace

TEST_CASE("successor: a driver that goes late takes no acknowledgement from the one that came after it") {
  Bench bench;
  bench.pipeline->start([] {});
  const Handle route = bench.input("in", "a");
  Ticket old_heard = 0, new_heard = 0, other_heard = 0;
  Handle old_one = bench.pipeline->intake().attach({[&](Ticket through) { old_heard = through; }, [] {}});
  Handle other = bench.pipeline->intake().attach({[&](Ticket through) { other_heard = through; }, [] {}});
  Handle new_one = bench.pipeline->intake().attach({[&](Ticket through) { new_heard = through; }, [] {}});
  old_one.reset();
  Arrival arrival;
  arrival.input = "in";
  arrival.bytes = bytes_of("1");
  REQUIRE(bench.pipeline->intake().offer(arrival));
  const Ticket ticket = bench.pipeline->intake().commit(0ms);
  bench.loop.run_for(1s);
  CHECK(new_heard == ticket);
  CHECK(other_heard == ticket);
  CHECK(old_heard == 0);
}

TEST_CASE("intake: what is reported of a peer opens no way past a log that takes nothing") {
  Bench bench(1024);
  bench.pipeline->start([] {});
  const Handle route = bench.input("in", "a");
  Intake& intake = bench.pipeline->intake();
  const std::string payload(2048, 'x');
  Arrival arrival;
  arrival.input = "in";
  arrival.bytes = bytes_of(payload);
  REQUIRE(intake.offer(arrival));
  intake.commit(1s);  // it waits: the log is full with it
  CHECK_FALSE(intake.offer(arrival));
  Record event;
  event.kind = Kind::event;
  event.metric = "peer";
  event.value = std::string("came");
  intake.report(std::move(event));
  CHECK_FALSE(intake.offer(arrival));
  bench.loop.run_for(2s);
  CHECK(intake.offer(arrival));
}

TEST_CASE("successor: a configuration that goes late leaves the one that came after it in force") {
  Bench bench;
  bench.pipeline->start([] {});
  Handle old_one = bench.input("in", "a");
  const Handle new_one = bench.input("in", "b");
  old_one.reset();
  bench.put("in", "1");
  CHECK(bench.stored(Lane::raw) == std::vector<std::string>{"b:1"});
  bench.put("in", "2");
  CHECK(bench.stored(Lane::raw) == std::vector<std::string>{"b:1", "b:2"});
}

TEST_CASE("successor: a peer that leaves while others are told is not told, and who told it to go is") {
  Bench bench;
  bench.pipeline->start([] {});
  int first = 0, second = 0;
  Handle two;
  const Handle one = bench.pipeline->intake().attach({[&](Ticket) {
                                                        ++first;
                                                        two.reset();
                                                      },
                                                      [] {}});
  two = bench.pipeline->intake().attach({[&](Ticket) { ++second; }, [] {}});
  (void)bench.pipeline->intake().put_state("s", to_bytes(std::string_view("v")));
  bench.pipeline->intake().commit(0ms);
  bench.loop.run_for(1s);
  CHECK(first == 1);
  CHECK(second == 0);
}

TEST_CASE("successor: what a driver has saved is there for the next one before anybody commits it") {
  Bench bench;
  bench.pipeline->start([] {});
  (void)bench.pipeline->intake().put_state("endpoint/a/1", to_bytes(std::string_view("old")));
  (void)bench.pipeline->intake().put_state("endpoint/a/2", to_bytes(std::string_view("x")));
  bench.pipeline->intake().commit(0ms);
  bench.loop.run_for(1s);
  (void)bench.pipeline->intake().put_state("endpoint/a/1", to_bytes(std::string_view("new")));
  (void)bench.pipeline->intake().put_state("endpoint/a/2", {});
  (void)bench.pipeline->intake().put_state("endpoint/a/3", to_bytes(std::string_view("y")));
  CHECK(bench.pipeline->intake().states("endpoint/a/") ==
        std::vector<std::string>{"endpoint/a/1", "endpoint/a/3"});
  CHECK(text_of(*bench.pipeline->intake().state("endpoint/a/1")) == "new");
  CHECK(!bench.pipeline->intake().state("endpoint/a/2"));
}

TEST_CASE("successor: what the inbox holds of an input is decoded as it was configured when it came") {
  Bench bench;
  Handle a = bench.input("a", "a1");
  const Handle b = bench.input("b", "b1");
  bench.put("a", "1");
  bench.put("b", "1");
  a.reset();
  a = bench.input("a", "a2");
  bench.put("a", "2");
  a.reset();
  a = bench.input("a", "a3");  // twice, with nothing in between
  a.reset();
  a = bench.input("a", "a4");
  bench.put("a", "3");
  bench.put("b", "2");
  bench.pipeline->start([] {});
  CHECK(bench.stored(Lane::raw) == std::vector<std::string>{"a1:1", "a2:2", "a4:3", "b1:1", "b1:2"});
  CHECK(bench.stored(Lane::dead).empty());
}

TEST_CASE(
    "successor: an input that is removed has what it brought decoded, and what nobody configured is a dead letter") {
  Bench bench;
  Handle a = bench.input("a", "a1");
  bench.put("a", "1");
  bench.put("nobody", "2");
  a.reset();
  bench.pipeline->start([] {});
  CHECK(bench.stored(Lane::raw) == std::vector<std::string>{"a1:1"});
  CHECK(bench.stored(Lane::dead) == std::vector<std::string>{"the input is no longer configured"});
  bench.put("a", "3");  // a name of the past
  CHECK(bench.stored(Lane::raw) == std::vector<std::string>{"a1:1"});
  CHECK(bench.stored(Lane::dead).size() == 2);
}

TEST_CASE("successor: a subscription that ends late leaves the one of the same name that came after it") {
  Bench bench;
  const auto first = bench.log->subscribe({"up", {Lane::raw, Lane::alarm}});
  bench.log->subscribe({"other", {Lane::raw}});
  const auto second = bench.log->subscribe({"up", {Lane::raw, Lane::alarm}});
  bench.log->unsubscribe(first);
  CHECK(bench.log->absent_consumers().empty());
  bench.log->unsubscribe(second);
  CHECK(bench.log->absent_consumers() == std::vector<std::string>{"up"});
}

TEST_CASE(
    "successor: a lane that the next subscription does not take belongs to nobody, and can be forgotten") {
  Bench bench;
  const auto first = bench.log->subscribe({"up", {Lane::raw, Lane::alarm}});
  bench.log->subscribe({"up", {Lane::alarm}});
  bench.log->unsubscribe(first);
  CHECK(bench.log->absent_consumers() == std::vector<std::string>{"up"});
  bench.log->forget("up");
  CHECK(bench.log->absent_consumers().empty());
  bench.loop.run_for(1s);
}

TEST_CASE(
    "successor: the metrics of one who has gone are not exposed, until his name is back; a neighbour's are") {
  Metrics metrics;
  Counter& old_count = metrics.counter("n_total", "n", {{"uplink", "a"}, {"lane", "raw"}});
  metrics.counter("n_total", "n", {{"uplink", "a\",uplink=\"b"}}).add(5);
  metrics.counter("n_total", "n", {{"uplink", "b"}}).add(7);
  metrics.gauge("only", "o", {{"uplink", "a"}}).set(1);
  metrics.histogram("h_seconds", "h", {{"lane", "raw"}, {"uplink", "a"}}).observe(1);
  metrics.retire("uplink", "a");
  old_count.add(3);
  const std::string gone = metrics.expose();
  CHECK(gone.find("uplink=\"a\"") == std::string::npos);
  CHECK(gone.find("only") == std::string::npos);
  CHECK(gone.find("n_total{uplink=\"b\"} 7") != std::string::npos);
  CHECK(gone.find("} 5") != std::string::npos);
  metrics.counter("n_total", "n", {{"uplink", "a"}, {"lane", "raw"}}).add(1);
  CHECK(metrics.expose().find("n_total{uplink=\"a\",lane=\"raw\"} 4") != std::string::npos);
}

}  // namespace successor_test
