// Payloads beyond what the dead lane holds: a few are kept, and of the others it is told how many there were,
// whether or not another one comes.
#include <doctest/doctest.h>

#include <optional>

#include "base/rng.h"
#include "base/text.h"
#include "log/sqlite_log.h"
#include "pipeline/dead_letters.h"
#include "record/batch.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "tests/support/seed.h"

namespace dead_letters_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

// A log whose dead lane has its tenth already.
struct Site {
  SimDisk disk{seed()};
  std::unique_ptr<Folder> folder = disk.folder();
  SimLoop loop;
  Metrics metrics;
  std::unique_ptr<SqliteLog> log;
  std::optional<DeadLetters> letters;
  std::uint64_t kept = 0, dropped = 0;

  Site() {
    LogOptions options;
    options.vfs = disk.vfs();
    options.bytes_max = 4 << 20;
    auto opened = SqliteLog::open(loop, *folder, options, 7);
    REQUIRE(opened.ok());
    log = std::move(opened).value();
    log->subscribe({"up", {Lane::alarm, Lane::raw}, Subscription::Start::oldest});
    letters.emplace(loop, *log, metrics, DeadLetters::Options{1, [] { return true; }});
    Rng rng{seed()};
    while (log->stats().dead_bytes <= log->stats().bytes_max / dead_share) {
      std::string payload(60'000, 'x');
      for (char& c : payload) c = static_cast<char>(rng.below(256));
      bury("fills it", payload);
      loop.run_for(100ms);
    }
    REQUIRE(dropped == 0);
    kept = 0;
  }
  void bury(const std::string& reason, const std::string& payload = "12,") {
    Arrival arrival;
    arrival.input = "in";
    arrival.channel = "dev/x";
    arrival.bytes = bytes_of(payload);
    arrival.clock_trusted = true;
    arrival.received = loop.wall();
    WriteSet set;
    Record reading;  // that somebody waits for: no segment goes
    reading.device = "d";
    reading.metric = "m";
    reading.time = loop.wall();
    reading.value = 1.0;
    set.records.emplace_back(Lane::raw, std::move(reading));
    ++(letters->bury(arrival, reason, {}, set) ? kept : dropped);
    set.urgent = true;
    log->commit(std::move(set), {});
  }
  // Of each loss record that there is how many it tells of.
  std::vector<std::uint64_t> told() {
    std::vector<Record> records;
    log->read(Lane::alarm, {1, UINT64_MAX}, Log::Direction::up, 4 << 20,
              [&](const Result<std::vector<Row>>& rows) {
                REQUIRE(rows.ok());
                for (const Row& row : rows.value())
                  REQUIRE(decode_batch(*row.columns, row.zstd, records).ok());
              });
    loop.run_for(100ms);
    std::vector<std::uint64_t> counts;
    for (const Record& record : records) {
      const auto& loss = std::get<LossDetail>(record.detail->body);
      CHECK(loss.reason == "dead_full");
      CHECK(record.metric == lane_name(Lane::dead));
      counts.push_back(loss.count);
    }
    return counts;
  }
};

}  // namespace

TEST_CASE(
    "dead letters: what was not kept is told at once, then once a minute, also when nothing more comes") {
  Site site;
  for (int i = 0; i < 6; ++i) site.bury("no number");
  CHECK(site.kept == 1);
  site.loop.run_for(1s);
  CHECK(site.told() == std::vector<std::uint64_t>{5});
  for (int i = 0; i < 7; ++i) {
    site.bury("no number");
    site.loop.run_for(2s);
  }
  CHECK(site.told() == std::vector<std::uint64_t>{5});
  site.loop.run_for(2min);
  CHECK(site.told() == std::vector<std::uint64_t>{5, 7});
  site.loop.run_for(5min);
  CHECK(site.told().size() == 2);
}

TEST_CASE("dead letters: what a killed process had counted is told by the next one") {
  Site site;
  for (int i = 0; i < 4; ++i) {
    site.bury("no number");
    site.loop.run_for(1s);
  }
  CHECK(site.told() == std::vector<std::uint64_t>{1});
  site.letters.reset();
  site.letters.emplace(site.loop, *site.log, site.metrics, DeadLetters::Options{1, [] { return true; }});
  site.loop.run_for(2s);
  CHECK(site.told() == std::vector<std::uint64_t>{1, 2});
}

TEST_CASE(
    "dead letters: a device whose payloads are each bad in another way has no more samples than others") {
  Site site;
  for (int minute = 1; minute <= 3; ++minute) {
    const Instant ends = site.loop.now() + 61s;
    for (int i = 0; i < 300; ++i) {
      site.bury(text("not a number: \"", minute, "-", i, "\""));
      site.loop.run_for(100ms);
    }
    site.loop.run_for(ends - site.loop.now());
    CHECK(site.kept <= 64U * static_cast<unsigned>(minute));
    CHECK(site.kept > 32U * static_cast<unsigned>(minute));
  }
}

}  // namespace dead_letters_test
