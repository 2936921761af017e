#include <doctest/doctest.h>

#include <set>

#include "base/rng.h"
#include "log/sqlite_log.h"
#include "record/batch.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "tests/support/seed.h"

namespace log_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

Record reading(double value) {
  Record record;
  record.device = "d";
  record.metric = "m";
  record.time = {1'700'000'000'000'000};
  record.value = value;
  return record;
}

// A log on a simulated disk, with what a test wants of it in a line.
struct Bench {
  SimDisk disk{seed()};
  std::unique_ptr<Folder> folder = disk.folder();
  std::unique_ptr<SimLoop> loop = std::make_unique<SimLoop>();
  std::unique_ptr<SqliteLog> log;
  LogOptions options;

  explicit Bench(LogOptions o = {}) : options(o) {
    options.vfs = disk.vfs();
    open();
  }
  void open(std::uint64_t epoch_seed = 11) {
    auto opened = SqliteLog::open(*loop, *folder, options, epoch_seed);
    REQUIRE(opened.ok());
    log = std::move(opened).value();
  }
  void append(int count, bool urgent = true) {
    WriteSet set;
    for (int i = 0; i < count; ++i) set.records.emplace_back(Lane::raw, reading(i));
    set.urgent = urgent;
    log->commit(std::move(set), {});
  }
  std::vector<Row> read(Lane lane, Range range, Log::Direction direction = Log::Direction::up,
                        std::size_t bytes = 1 << 20) {
    std::vector<Row> out;
    log->read(lane, range, direction, bytes, [&](Result<std::vector<Row>> rows) {
      REQUIRE(rows.ok());
      out = rows.value();
    });
    loop->run_for(1s);
    return out;
  }
  void settle(const std::string& consumer, Range range, std::uint64_t records) {
    WriteSet set;
    set.settles.push_back({consumer, Lane::raw, range, records, How::delivered});
    set.urgent = true;
    log->commit(std::move(set), {});
    loop->run_for(1s);
  }
  void restart(bool clean) {
    if (clean) {
      bool stopped = false;
      log->stop([&] { stopped = true; });
      CHECK(loop->run_until([&] { return stopped; }, 10s));
    }
    log.reset();
    loop = std::make_unique<SimLoop>();
    open();
  }
};

}  // namespace

TEST_CASE("settled set: agrees with a bit map, whatever the order") {
  Rng rng(seed());
  for (int round = 0; round < 300 * effort(); ++round) {
    SettledSet set;
    std::vector<bool> bits(200);
    for (int step = 0; step < 60; ++step) {
      Range range{1 + rng.below(190), 0};
      range.last = range.first + rng.below(9);
      bool free = true;
      for (Sequence s = range.first; s <= range.last; ++s) free = free && !bits[s];
      if (!free || !set.can_settle(range)) continue;
      set.settle(range);
      for (Sequence s = range.first; s <= range.last; ++s) bits[s] = true;
      CHECK(set.ranges().size() <= SettledSet::ranges_max);
      std::set<Sequence> open;
      for (const Range& r : set.unsettled(199)) {
        for (Sequence s = r.first; s <= r.last; ++s) open.insert(s);
      }
      for (Sequence s = 1; s < 200; ++s) CHECK(open.contains(s) == !bits[s]);
      CHECK(set.unsettled(199).size() <= 9);
    }
  }
}

TEST_CASE("log: what was committed reads back, from memory and from disk") {
  LogOptions options;
  options.cache_bytes = 0;
  for (const bool cached : {true, false}) {
    Bench bench(cached ? LogOptions{} : options);
    bench.log->subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
    for (int i = 0; i < 5; ++i) {
      bench.append(10);
      bench.loop->run_for(1s);
    }
    CHECK(bench.log->last_committed() == 50);
    const auto rows = bench.read(Lane::raw, {1, 50});
    REQUIRE(rows.size() == 5);
    CHECK(rows[0].first == 1);
    CHECK(rows[4].last() == 50);
    CHECK(bench.read(Lane::raw, {15, 25}).size() == 2);
    CHECK(bench.read(Lane::raw, {1, 50}, Log::Direction::down).front().last() == 50);
    CHECK(bench.read(Lane::raw, {1, 50}, Log::Direction::up, 1).size() == 1);
    CHECK(bench.read(Lane::window, {1, 50}).empty());
  }
}

TEST_CASE("log: a group closes by time, by size, or when a peer waits; an idle log commits nothing") {
  Bench bench;
  bench.log->subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
  bench.loop->run_for(5s);
  const std::uint64_t before = bench.log->stats().commits;
  bench.loop->run_for(1h);
  CHECK(bench.log->stats().commits == before);
  bench.append(1, false);
  bench.loop->run_for(500ms);
  CHECK(bench.log->stats().commits == before);
  bench.loop->run_for(600ms);
  CHECK(bench.log->stats().commits == before + 1);
  bench.append(1, true);
  bench.loop->run_for(50ms);
  CHECK(bench.log->stats().commits == before + 2);
  bench.append(10'000, false);
  bench.loop->run_for(50ms);
  CHECK(bench.log->stats().commits == before + 3);
}

TEST_CASE(
    "log: whoever is done with a group closes the next, and each is told with its own times and records") {
  Bench bench;
  std::vector<std::pair<Log::GroupTimes, Sequence>> told;
  Log::Listener listener;
  listener.committed = [&] { told.emplace_back(bench.log->last_group(), bench.log->last_committed()); };
  bench.log->listen(std::move(listener));
  WriteSet set;
  for (int i = 0; i < 10; ++i) set.records.emplace_back(Lane::raw, reading(i));
  set.urgent = true;
  bench.log->commit(std::move(set), [&](const Status& status) {
    REQUIRE(status.ok());
    bench.append(3);
  });
  bench.loop->run_for(1s);
  bench.append(5, false);  // it waits, and is sealed
  bool sealed = false;
  bench.log->seal([&](const Status& status) { sealed = status.ok(); });
  bench.loop->run_for(1s);
  CHECK(sealed);
  REQUIRE(told.size() == 3);
  const std::uint64_t records[] = {10, 3, 5};
  for (std::size_t i = 0; i < told.size(); ++i) {
    INFO(i);
    CHECK(told[i].first.records[static_cast<std::size_t>(Lane::raw)] == records[i]);
    CHECK(told[i].first.through == told[i].second);
  }
}

TEST_CASE("log: cursors and numbers survive a clean stop, and a killed process never gives a number twice") {
  Bench bench;
  bench.log->subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
  bench.append(10);
  bench.loop->run_for(1s);
  bench.settle("up", {1, 4}, 4);
  bench.restart(true);
  bench.log->subscribe({"up", {Lane::raw}});
  CHECK(bench.log->unsettled("up", Lane::raw) == std::vector<Range>{{5, 10}});
  CHECK(bench.log->ledger("up", Lane::raw).admitted == 10);
  CHECK(bench.log->ledger("up", Lane::raw).unsettled() == 6);
  bench.append(1);
  bench.loop->run_for(1s);
  CHECK(bench.log->last_committed() == 11);
  bench.restart(false);
  bench.log->subscribe({"up", {Lane::raw}});
  CHECK(bench.log->ledger("up", Lane::raw).admitted == 11);
  bench.append(1);
  bench.loop->run_for(1s);
  CHECK(bench.log->last_committed() > 1'000'000);
  CHECK(bench.log->stats().number_jumps == 1);
}

TEST_CASE(
    "log: a new uplink starts now, or with the oldest; one that left keeps its data until it is forgotten") {
  Bench bench;
  bench.log->subscribe({"a", {Lane::raw}, Subscription::Start::oldest});
  bench.append(10);
  bench.loop->run_for(1s);
  bench.log->subscribe({"now", {Lane::raw}, Subscription::Start::now});
  bench.log->subscribe({"old", {Lane::raw}, Subscription::Start::oldest});
  CHECK(bench.log->unsettled("now", Lane::raw).empty());
  CHECK(bench.log->unsettled("old", Lane::raw) == std::vector<Range>{{1, 10}});
  bench.loop->run_for(2s);
  bench.restart(true);
  bench.log->subscribe({"now", {Lane::raw}});
  CHECK(bench.log->absent_consumers() == std::vector<std::string>{"a", "old"});
  bench.log->forget("a");
  bench.loop->run_for(2s);
  CHECK(bench.log->absent_consumers() == std::vector<std::string>{"old"});
  const auto losses = bench.read(Lane::alarm, {1, 1000});
  REQUIRE(losses.size() == 1);
  std::vector<Record> records;
  REQUIRE(decode_batch(*losses[0].columns, losses[0].zstd, records).ok());
  const auto& loss = std::get<LossDetail>(records.at(0).detail->body);
  CHECK(loss.reason == "forgotten");
  CHECK(loss.count == 10);
}

TEST_CASE(
    "log: a lane that an uplink takes no longer is given up; one that comes back begins with what comes") {
  for (const bool restarted : {false, true}) {
    CAPTURE(restarted);
    Bench bench;
    const auto oldest = Subscription::Start::oldest;
    const auto first = bench.log->subscribe({"up", {Lane::alarm, Lane::raw}, oldest});
    bench.log->subscribe({"other", {Lane::raw}, oldest});
    bench.append(10);
    bench.loop->run_for(2s);
    if (restarted) bench.restart(true);
    else bench.log->unsubscribe(first);
    bench.log->subscribe({"up", {Lane::alarm}, oldest});
    if (restarted) bench.log->subscribe({"other", {Lane::raw}, oldest});
    CHECK(bench.log->absent_consumers().empty());
    bench.append(5);
    bench.loop->run_for(2s);
    // Nothing is kept for it, and what it had left is told.
    CHECK(bench.log->unsettled("up", Lane::raw).empty());
    CHECK(bench.log->ledger("up", Lane::raw).admitted == 0);
    CHECK_FALSE(bench.log->takes("up", Lane::raw));
    CHECK(bench.log->ledger("other", Lane::raw).unsettled() == 15);
    const auto losses = bench.read(Lane::alarm, {1, 1000});
    REQUIRE(losses.size() == 1);
    std::vector<Record> records;
    REQUIRE(decode_batch(*losses[0].columns, losses[0].zstd, records).ok());
    const auto& loss = std::get<LossDetail>(records.at(0).detail->body);
    CHECK((loss.consumer == "up" && loss.reason == "forgotten" && loss.count == 10));
    // What was delivered once, or given up, does not come again, though `start` says the oldest.
    bench.restart(true);
    bench.log->subscribe({"up", {Lane::alarm, Lane::raw}, oldest});
    bench.log->subscribe({"other", {Lane::raw}, oldest});
    CHECK(bench.log->unsettled("up", Lane::raw).empty());
    bench.append(3);
    bench.loop->run_for(2s);
    CHECK(bench.log->ledger("up", Lane::raw).unsettled() == 3);
  }
}

TEST_CASE("log: what is settled in part is never counted beyond what was admitted") {
  Bench bench;
  bench.log->subscribe({"up", {Lane::raw}});
  WriteSet set;
  for (int i = 0; i < 10; ++i) set.records.emplace_back(Lane::raw, reading(i));
  for (int i = 0; i < 10; ++i) set.records.emplace_back(Lane::window, reading(i));
  set.urgent = true;
  bench.log->commit(std::move(set), {});
  bench.loop->run_for(1s);
  bench.settle("up", {1, 5}, 5);
  bench.settle("up", {1, 20}, 10);  // sent once more, with what lies behind it of other lanes
  const LaneLedger ledger = bench.log->ledger("up", Lane::raw);
  CHECK(ledger.admitted == 10);
  CHECK(ledger.settled[static_cast<std::size_t>(How::delivered)] == 10);
}

TEST_CASE("log: segments are sealed by size and go when everybody has settled them") {
  LogOptions options;
  options.bytes_max = 4 << 20;
  options.segment_bytes = 64 << 10;
  Bench bench(options);
  bench.log->subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
  Rng rng(seed());
  for (int i = 0; i < 60; ++i) {
    WriteSet set;
    for (int k = 0; k < 500; ++k) set.records.emplace_back(Lane::raw, reading(rng.unit()));
    set.urgent = true;
    bench.log->commit(std::move(set), {});
    bench.loop->run_for(1s);
  }
  const std::uint64_t many = bench.log->stats().segments;
  CHECK(many > 3);
  std::uint64_t records = 0;
  for (Sequence from = 1; from <= bench.log->last_committed();) {
    const auto rows = bench.read(Lane::raw, {from, bench.log->last_committed()}, Log::Direction::up, 100'000);
    REQUIRE_FALSE(rows.empty());
    for (const Row& row : rows) records += row.count;
    CHECK(rows.front().first == from);
    from = rows.back().last() + 1;
  }
  CHECK(records == 30'000);
  bench.settle("up", {1, 30'000}, 30'000);
  bench.loop->run_for(5s);
  CHECK(bench.log->stats().segments < many / 2);
  CHECK(bench.disk.files.size() < 8);
}

TEST_CASE("log: a damaged row is counted, reported and stepped over") {
  LogOptions options;
  options.cache_bytes = 0;
  Bench bench(options);
  bench.log->subscribe({"up", {Lane::raw, Lane::alarm}, Subscription::Start::oldest});
  for (int i = 0; i < 3; ++i) {
    WriteSet set;
    for (int k = 0; k < 20; ++k) set.records.emplace_back(Lane::raw, reading(i * 1000 + k * 0.37));
    set.urgent = true;
    bench.log->commit(std::move(set), {});
    bench.loop->run_for(1s);
  }
  // A clean stop moves the rows into the database, where no checksum but ours guards them. Then a bit flips.
  const Bytes columns = *bench.read(Lane::raw, {21, 40}).at(0).columns;
  bool stopped = false;
  bench.log->stop([&] { stopped = true; });
  REQUIRE(bench.loop->run_until([&] { return stopped; }, 10s));
  int flipped = 0;
  for (auto& [name, file] : bench.disk.files) {
    const std::size_t at = file->now.find(std::string(text_of(columns)));
    if (at == std::string::npos) continue;
    file->now[at + 10] ^= 1;
    ++flipped;
  }
  REQUIRE(flipped == 1);
  bench.log.reset();
  bench.loop = std::make_unique<SimLoop>();
  bench.open();
  bench.log->subscribe({"up", {Lane::raw, Lane::alarm}});
  const auto rows = bench.read(Lane::raw, {1, 60});
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].first == 1);
  CHECK(rows[1].first == 41);
  CHECK(bench.log->stats().unreadable_rows == 1);
  CHECK(bench.log->ledger("up", Lane::raw).settled[static_cast<std::size_t>(How::unreadable)] == 20);
  CHECK(bench.log->unsettled("up", Lane::raw).size() == 2);
  const auto losses = bench.read(Lane::alarm, {1, UINT64_MAX});
  REQUIRE(losses.size() == 1);
  std::vector<Record> records;
  REQUIRE(decode_batch(*losses[0].columns, losses[0].zstd, records).ok());
  CHECK(std::get<LossDetail>(records.at(0).detail->body).count == 20);
}

TEST_CASE(
    "log: garbage where the head should be is set aside; no number is given twice, with the mark or without it") {
  for (const bool marked : {true, false}) {
    Bench bench;
    bench.log->subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
    bench.append(10);
    bench.loop->run_for(1s);
    const std::uint64_t epoch = bench.log->epoch();
    bench.log.reset();
    bench.loop = std::make_unique<SimLoop>();
    for (auto& [name, file] : bench.disk.files) {
      if (name.ends_with(".db")) file->now = "this is no database, whatever it was before";
      if (name.ends_with("-wal")) file->now.clear();
    }
    if (!marked) bench.disk.files.erase("mark");
    bench.open(12);
    CHECK((bench.log->epoch() == epoch) == marked);
    CHECK(bench.log->stats().files_set_aside == 1);
    CHECK(bench.log->stats().vanished_records == (marked ? 10 : 0));
    bench.log->subscribe({"up", {Lane::raw, Lane::alarm}, Subscription::Start::oldest});
    bench.append(3);
    bench.loop->run_for(1s);
    CHECK(bench.log->last_committed() >= (marked ? 1'000'000u : 3u));
    CHECK(bench.read(Lane::raw, {1, bench.log->last_committed()}).size() == 1);
    CHECK(bench.read(Lane::alarm, {1, bench.log->last_committed()}).size() == (marked ? 1 : 0));
  }
}

TEST_CASE(
    "log: a life that the head forgot whole gives no number twice: the mark remembers that there was one") {
  Bench bench;
  bench.append(10);
  bench.loop->run_for(1s);
  bench.restart(true);
  bench.loop->run_for(500ms);
  WriteSet first;  // the group that writes the mark brings no records: nothing seems to have vanished
  first.states.push_back({"x", to_bytes("one")});
  first.urgent = true;
  bench.log->commit(std::move(first), {});
  bench.loop->run_for(1s);
  bench.append(5);
  bench.loop->run_for(1s);
  const Sequence given = bench.log->last_committed();
  CHECK(given == 15);
  bench.log.reset();
  bench.loop = std::make_unique<SimLoop>();
  for (auto& [name, file] : bench.disk.files) {
    if (name.ends_with("-wal")) file->now.clear();  // as if its first frame failed its checksum
  }
  bench.open();
  CHECK_FALSE(bench.log->start_report().clean);
  bench.append(3);
  bench.loop->run_for(1s);
  CHECK(bench.read(Lane::raw, {11, given}).empty());
  CHECK(bench.read(Lane::raw, {given + 1, UINT64_MAX}).size() == 1);
  // A clean stop gives the reservation back: the numbers go on where they were.
  const Sequence last = bench.log->last_committed();
  for (int i = 0; i < 3; ++i) bench.restart(true);
  bench.append(1);
  bench.loop->run_for(1s);
  CHECK(bench.log->last_committed() == last + 1);
}

TEST_CASE("log: durable states change with the WriteSet that names them") {
  Bench bench;
  WriteSet set;
  set.states.push_back({"x", to_bytes("one")});
  bench.log->commit(std::move(set), {});
  bench.loop->run_for(2s);
  bench.restart(true);
  CHECK(bench.log->state("x") == to_bytes("one"));
  WriteSet drop;
  drop.states.push_back({"x", {}});
  bench.log->commit(std::move(drop), {});
  bench.loop->run_for(2s);
  bench.restart(true);
  CHECK_FALSE(bench.log->state("x"));
}

TEST_CASE("log: a segment that vanished is reported, and nobody waits for it") {
  LogOptions options;
  options.bytes_max = 4 << 20;
  options.segment_bytes = 64 << 10;
  options.cache_bytes = 0;
  Bench bench(options);
  bench.log->subscribe({"up", {Lane::raw, Lane::alarm}, Subscription::Start::oldest});
  Rng rng(seed());
  for (int i = 0; i < 40; ++i) {
    WriteSet set;
    for (int k = 0; k < 500; ++k) set.records.emplace_back(Lane::raw, reading(rng.unit()));
    set.urgent = true;
    bench.log->commit(std::move(set), {});
    bench.loop->run_for(1s);
  }
  REQUIRE(bench.log->stats().segments > 3);
  const std::uint64_t segments = bench.log->stats().segments;
  bench.log.reset();
  bench.disk.files.erase("seg-00000002.db");
  bench.loop = std::make_unique<SimLoop>();
  bench.open();
  bench.log->subscribe({"up", {Lane::raw, Lane::alarm}});
  CHECK(bench.log->stats().segments == segments - 1);
  const LaneLedger ledger = bench.log->ledger("up", Lane::raw);
  const std::uint64_t lost = ledger.settled[static_cast<std::size_t>(How::unreadable)];
  CHECK(lost > 0);
  std::uint64_t readable = 0;
  for (const Range& range : bench.log->unsettled("up", Lane::raw)) {
    for (Sequence from = range.first; from <= range.last;) {
      const auto rows = bench.read(Lane::raw, {from, range.last}, Log::Direction::up, 100'000);
      if (rows.empty()) break;
      for (const Row& row : rows) readable += row.count;
      from = rows.back().last() + 1;
    }
  }
  CHECK(readable + lost == 20'000);
  CHECK_FALSE(bench.read(Lane::alarm, {1, UINT64_MAX}).empty());
}

TEST_CASE(
    "log: when the newest head is garbage, the log goes on from the one before, behind every number it may have given") {
  LogOptions options;
  options.bytes_max = 4 << 20;
  options.segment_bytes = 64 << 10;
  options.cache_bytes = 0;
  Bench bench(options);
  bench.log->subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
  Rng rng(seed());
  const auto fill = [&](int groups) {
    for (int i = 0; i < groups; ++i) {
      WriteSet set;
      for (int k = 0; k < 500; ++k) set.records.emplace_back(Lane::raw, reading(rng.unit()));
      set.urgent = true;
      bench.log->commit(std::move(set), {});
      bench.loop->run_for(1s);
    }
  };
  const auto readable = [&] {
    std::uint64_t records = 0;
    for (Sequence from = 1; from <= bench.log->last_committed();) {
      const auto rows =
          bench.read(Lane::raw, {from, bench.log->last_committed()}, Log::Direction::up, 100'000);
      if (rows.empty()) break;
      for (const Row& row : rows) records += row.count;
      from = rows.back().last() + 1;
    }
    return records;
  };
  fill(30);
  REQUIRE(bench.log->stats().segments > 2);
  const std::uint64_t epoch = bench.log->epoch();
  bench.log.reset();
  std::string newest;
  for (const auto& [name, file] : bench.disk.files) {
    if (name.ends_with(".db")) newest = std::max(newest, name);
  }
  bench.disk.files.at(newest)->now = "garbage";
  bench.disk.files.erase(newest + "-wal");
  bench.loop = std::make_unique<SimLoop>();
  bench.open(12);
  bench.log->subscribe({"up", {Lane::raw}});
  CHECK(bench.log->epoch() == epoch);  // the mark remembers what was reserved under it
  CHECK(bench.log->stats().vanished_records > 0);
  const std::uint64_t kept = readable();
  CHECK(kept > 5000);
  CHECK(kept < 15'000);
  fill(10);
  CHECK(bench.log->last_committed() > 1'000'000);
  CHECK(readable() == kept + 5000);
  bench.restart(false);
  bench.log->subscribe({"up", {Lane::raw}});
  CHECK(readable() == kept + 5000);
  CHECK(bench.log->stats().unreadable_rows == 0);
}

}  // namespace log_test
