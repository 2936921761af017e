// The log at its limits: rows at their bound, storms of events, no descriptor or memory left, a bound on disk
// that holds.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <set>

#include "base/metrics.h"
#include "base/rng.h"
#include "base/text.h"
#include "latest_values.h"
#include "log/sqlite.h"
#include "log/sqlite_log.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "tests/support/seed.h"
#include "windows/window_consumer.h"

namespace log_limits_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

Record reading(double value, std::string device = "d") {
  Record record;
  record.device = std::move(device);
  record.metric = "m";
  record.time = {1'700'000'000'000'000};
  record.value = value;
  return record;
}

Record event(const std::string& device) {
  Record record;
  record.kind = Kind::event;
  record.device = device;
  record.metric = "connected";
  record.time = {1'700'000'000'000'000};
  record.value = std::string("from 192.0.2.1");
  return record;
}

struct Site {
  SimDisk disk{seed()};
  std::unique_ptr<Folder> folder = disk.folder();
  std::unique_ptr<SimLoop> loop = std::make_unique<SimLoop>();
  std::unique_ptr<SqliteLog> log;
  LogOptions options;
  Rng rng{seed()};

  explicit Site(std::uint64_t bytes_max, WhenFull when_full = WhenFull::evict) {
    options.vfs = disk.vfs();
    options.bytes_max = bytes_max;
    options.cache_bytes = 0;
    options.when_full = when_full;
    open();
  }
  void open() {
    log.reset();
    loop = std::make_unique<SimLoop>();
    auto opened = SqliteLog::open(*loop, *folder, options, 7);
    REQUIRE(opened.ok());
    log = std::move(opened).value();
    log->subscribe({"up", {Lane::alarm, Lane::raw}, Subscription::Start::oldest});
    log->subscribe({"second", {Lane::alarm}, Subscription::Start::oldest});
  }
  void raw(int count, bool run = true) {
    WriteSet set;
    for (int i = 0; i < count; ++i) set.records.emplace_back(Lane::raw, reading(rng.unit()));
    set.urgent = true;
    log->commit(std::move(set), {});
    if (run) loop->run_for(100ms);
  }
  void event_of(const std::string& device) {
    WriteSet set;
    set.records.emplace_back(Lane::alarm, event(device));
    log->commit(std::move(set), {});
  }
  Record letter_of(const std::string& device, int bytes) {
    auto detail = std::make_shared<Detail>();
    DeadDetail dead;
    dead.source = DeadDetail::Source::input;
    for (int b = 0; b < bytes; ++b) dead.payload.push_back(static_cast<std::byte>(rng.below(256)));
    detail->body = std::move(dead);
    Record record;
    record.kind = Kind::dead;
    record.device = device;
    record.time = {1'700'000'000'000'000};
    record.detail = std::move(detail);
    return record;
  }
  void letter(const std::string& device, int bytes, int count = 1) {
    WriteSet set;
    for (int i = 0; i < count; ++i) set.records.emplace_back(Lane::dead, letter_of(device, bytes));
    set.urgent = true;
    log->commit(std::move(set), {});
    loop->run_for(100ms);
  }
  // What an uplink commits of a record that it does not send: settled, with a letter and the loss.
  void bury(Sequence number) {
    LossDetail loss{"up", "refused", 1, number, number, {{"d", 1}}, 0};
    WriteSet set;
    set.records.emplace_back(Lane::dead, letter_of("d", 100));
    set.records.emplace_back(Lane::alarm, loss_record(Lane::raw, std::move(loss), {1'700'000'000'000'000}));
    set.settles.push_back({"up", Lane::raw, {number, number}, 1, How::dead});
    set.urgent = true;
    log->commit(std::move(set), {});
    loop->run_for(100ms);
  }
  void strike(Range range) {
    log->commit({.struck = {range}, .urgent = true}, {});
    loop->run_for(100ms);
  }
  void deliver() {
    WriteSet delivered;
    for (const Range& open : log->unsettled("up", Lane::raw))
      delivered.settles.push_back({"up", Lane::raw, open, open.last - open.first + 1, How::delivered});
    delivered.urgent = true;
    log->commit(std::move(delivered), {});
    loop->run_for(100ms);
  }
  // Every record of a lane that can be read; what it says of losses comes in the map, by reason.
  std::vector<Record> all(Lane lane, std::map<std::string, std::uint64_t>* losses = nullptr) {
    std::vector<Record> records;
    for (Sequence from = 1; from <= log->last_committed();) {
      std::vector<Row> rows;
      bool done = false;
      for (int tries = 0; tries < 20 && !done; ++tries) {
        log->read(lane, {from, log->last_committed()}, Log::Direction::up, 4 << 20,
                  [&](Result<std::vector<Row>> read) {
                    done = read.ok();
                    if (read.ok()) rows = read.value();
                  });
        loop->run_for(1s);
      }
      REQUIRE(done);
      if (rows.empty()) break;
      for (const Row& row : rows) {
        const std::size_t before = records.size();
        REQUIRE(decode_batch(*row.columns, row.zstd, records).ok());
        REQUIRE(records.size() - before == row.count);
      }
      from = rows.back().last() + 1;
    }
    for (const Record& record : records) {
      if (record.kind != Kind::loss || !losses) continue;
      const auto& loss = std::get<LossDetail>(record.detail->body);
      (*losses)[loss.reason] += loss.count;
    }
    return records;
  }
  std::uint64_t events() {
    const auto records = all(Lane::alarm);
    return static_cast<std::uint64_t>(
        std::count_if(records.begin(), records.end(), [](const Record& r) { return r.kind == Kind::event; }));
  }
};

}  // namespace

TEST_CASE(
    "log: rows that are to stay are counted before their segment goes; no descriptor for a moment costs none of them") {
  // A small log full of readings nobody takes, with alarms between them: it evicts, and carries the alarms
  // forward. One call after the other fails on the way.
  const auto live = [](std::uint64_t lack_from, std::uint64_t lack_for, int error) {
    Site site(1 << 20);
    for (int i = 0; i < 61; ++i) {
      site.event_of(text("door-", i));
      site.raw(60);
    }
    site.disk.lacking = error;
    site.disk.lack_from = site.disk.looks + lack_from;
    site.disk.lack_for = lack_for;
    const std::uint64_t before = site.disk.looks;
    for (int i = 0; i < 30; ++i) site.raw(2500, true);
    const std::uint64_t looks = site.disk.looks - before;
    site.disk.lack_for = 0;
    site.loop->run_for(30s);
    for (int i = 0; i < 15; ++i) site.raw(2500, true);
    INFO("fails from call ", lack_from, " for ", lack_for, " error ", error);
    CHECK(site.log->ledger("up", Lane::raw).settled[static_cast<std::size_t>(How::evicted)] > 0);
    CHECK(site.events() == 61);
    CHECK(site.log->stats().lost_records == 0);
    CHECK(site.log->stats().files_set_aside == 0);
    CHECK(site.log->stats().trouble.empty());
    CHECK(site.disk.used() <= site.options.bytes_max);
    return looks;
  };
  const std::uint64_t looks = live(UINT64_MAX / 4, 0, EMFILE);
  const std::uint64_t stride = effort() >= 5 ? 1 : looks / 8 + 1;
  for (std::uint64_t at = 1 + seed() % stride; at <= looks; at += stride)
    (void)live(at, at % 3 == 0 ? 12 : 1, at % 2 ? EMFILE : ENOMEM);
}

TEST_CASE("log: rows that are carried forward can be read all the while") {
  Site site(1 << 20);
  for (int i = 0; i < 61; ++i) {
    site.event_of(text("door-", i));
    site.raw(60);
  }
  const Range all{1, site.log->last_committed()};
  std::uint64_t before = site.log->stats().evicted_records;
  int reads = 0, least = 61;
  for (int i = 0; i < 30; ++i) {
    site.raw(2500, false);
    for (int ms = 0; ms < 40; ++ms) {
      auto count = std::make_shared<int>(-1);
      site.log->read(Lane::alarm, all, Log::Direction::up, 4 << 20, [count](Result<std::vector<Row>> rows) {
        if (!rows.ok()) return;
        *count = 0;
        for (const Row& row : rows.value()) *count += static_cast<int>(row.count);
      });
      site.loop->run_until([&] { return *count >= 0; }, 10s);
      ++reads;
      least = std::min(least, *count);
      site.loop->run_for(1ms);
    }
  }
  CHECK(site.log->stats().evicted_records > before);
  CHECK(reads > 0);
  CHECK(least == 61);
}

TEST_CASE(
    "log: dead letters have their tenth, however fast all else is delivered, and go when they were dealt with") {
  Site site(64 << 20);
  constexpr int letters = 90;  // of 60 KB: more than a segment, less than a tenth
  for (int i = 0; i < letters; ++i) site.letter(text("d-", i), 60'000);
  for (int round = 0; round < 2; ++round) {
    site.log->seal([](const Status&) {});
    site.loop->run_for(2s);
    const auto found = site.all(Lane::dead);
    CHECK(found.size() == letters);
    CHECK(site.log->stats().refused_records == 0);
  }
  const std::uint64_t used = site.log->stats().bytes_used, commits = site.log->stats().commits;
  site.loop->run_for(1min);
  CHECK(site.log->stats().commits == commits);  // nothing goes round
  // Half of them were dealt with, one in two; then all.
  for (const bool all : {false, true}) {
    WriteSet set;
    for (Sequence number = 1; number <= letters; number += all ? 1 : 2)
      set.struck.push_back({number, number});
    set.urgent = true;
    site.log->commit(std::move(set), {});
    site.loop->run_for(5s);
    if (!all) CHECK(site.all(Lane::dead).size() >= letters / 2);
  }
  for (int i = 0; i < 3; ++i) site.log->seal([](const Status&) {}), site.loop->run_for(5s);
  CHECK(site.log->stats().dead_bytes == 0);
  CHECK(site.log->stats().bytes_used < used / 10);
}

TEST_CASE("log: dead letters are not carried from head to head with each commit") {
  Site site(64 << 20);
  for (int i = 0; i < 34; ++i) site.letter(text("d-", i), 60'000);  // half a segment, by a little too few
  const std::uint32_t head = site.log->segments().back().id;
  const std::uint64_t written = site.disk.bytes_written;
  for (int i = 0; i < 20; ++i) {
    site.raw(1);
    site.deliver();
  }
  CHECK(site.log->segments().back().id <= head + 1);
  CHECK(site.disk.bytes_written - written < 4'000'000);  // each time it would be half of that
  CHECK(site.all(Lane::dead).size() == 34);
}

TEST_CASE("log: letters that are dealt with one after the other do not cost a look at all of them each") {
  Site site(64 << 20);
  for (int i = 0; i < 40; ++i) site.letter(text("d-", i), 60'000);
  site.log->seal([](const Status&) {});
  site.loop->run_for(2s);
  const auto looks_of = [&](const std::function<void(Sequence)>& act) {
    const std::uint64_t before = site.disk.looks;
    for (Sequence number = 1; number <= 10; ++number) act(number);
    return site.disk.looks - before;
  };
  const std::uint64_t beside = looks_of([&](Sequence) { site.strike({1, 1}); });
  CHECK(looks_of([&](Sequence number) { site.strike({number, number}); }) <= beside + 3);
  CHECK(site.all(Lane::dead).size() == 40);
  // What was dealt with goes all the same, and what was not is carried.
  for (Sequence number = 11; number <= 30; ++number) site.strike({number, number});
  const std::uint64_t used = site.log->stats().bytes_used;
  site.loop->run_for(2min);
  site.raw(1);
  site.loop->run_for(2s);
  CHECK(site.log->stats().bytes_used < used - 1'500'000);
  CHECK(site.all(Lane::dead).size() == 10);
  CHECK(site.log->stats().evicted_records == 0);
}

TEST_CASE("log: a segment that stays for its letters, and was made anew, is looked at as long as it must") {
  Site site(1 << 20);
  for (int i = 0; i < 10; ++i) site.raw(10);
  site.letter("d", 20'000);  // a third of a segment
  // A commit that comes through, and says it did not: it is repeated elsewhere.
  site.disk.fail_syncs = true;
  site.raw(10);
  site.loop->run_for(2s);  // it is closed as it is
  site.disk.fail_syncs = false;
  site.loop->run_for(20s);
  REQUIRE(site.log->stats().trouble.empty());
  const auto segments = site.log->segments();
  REQUIRE(segments.size() > 1);
  // A bit flips in one of its rows of readings.
  site.log.reset();
  {
    auto db =
        Database::open("/sim/" + segment_name(segments.front().id), Database::Mode::write, site.disk.vfs());
    REQUIRE(db.ok());
    REQUIRE(db.value().execute("UPDATE rows SET crc=crc+1 WHERE first=1").ok());
    REQUIRE(db.value().checkpoint(true).ok());
  }
  site.open();
  CHECK(site.all(Lane::raw).size() == 100);  // ten of 110 are lost
  site.loop->run_for(10s);
  CHECK(site.log->stats().files_set_aside == 1);
  site.deliver();
  site.loop->run_for(30s);
  const std::uint64_t commits = site.log->stats().commits, looks = site.disk.looks;
  site.loop->run_for(1min);
  CHECK(site.log->stats().commits == commits);
  CHECK(site.disk.looks == looks);
  CHECK(site.all(Lane::dead).size() == 1);
  site.strike({1, site.log->last_committed()});
  site.loop->run_for(10s);
  CHECK(site.log->segments().front().id > segments.front().id);
}

TEST_CASE(
    "log: letters that go with a missing or damaged segment are told, but for those that were dealt with") {
  for (const bool missing : {true, false}) {
    INFO("missing ", missing);
    Site site(64 << 20);
    for (int i = 0; i < 30; ++i) site.letter(text("d-", i), 60'000);
    site.log->seal([](const Status&) {});
    site.loop->run_for(2s);
    site.strike({1, 4});
    REQUIRE(site.all(Lane::dead).size() == 30);  // those that were struck are there as long as their segment
    const std::string name = segment_name(site.log->segments().front().id);
    site.log.reset();
    if (missing) {
      for (const char* suffix : {"", "-wal", "-shm"}) site.disk.files.erase(name + suffix);
    } else {
      auto db = Database::open("/sim/" + name, Database::Mode::write, site.disk.vfs());
      REQUIRE(db.ok());
      REQUIRE(db.value().execute("UPDATE rows SET crc=crc+1 WHERE first>=3 AND first<=9").ok());
      REQUIRE(db.value().checkpoint(true).ok());
    }
    site.open();
    site.loop->run_for(5s);
    CHECK(site.all(Lane::dead).size() == (missing ? 0 : 23));
    site.loop->run_for(10s);
    const std::uint64_t lost = missing ? 26 : 5;
    const char* reason = missing ? "missing file" : "damaged file";
    for (const bool again : {false, true}) {  // once
      if (again) site.open();
      site.loop->run_for(5s);
      std::map<std::string, std::uint64_t> losses;
      (void)site.all(Lane::alarm, &losses);
      CHECK(losses == std::map<std::string, std::uint64_t>{{reason, lost}});
      if (!again) CHECK(site.log->stats().lost_records == lost);
    }
  }
}

TEST_CASE("log: a letter that was dealt with while its commit was held back stays so") {
  SimDisk tmpfs{seed()};
  const auto folder = tmpfs.folder();
  Site site(8 << 20);
  site.options.withheld_folder = folder.get();
  site.options.hold_back = true;
  site.options.cache_bytes = 1 << 20;
  site.open();
  site.raw(1);
  site.deliver();
  WriteSet set;
  set.records.emplace_back(Lane::dead, site.letter_of("d", 1000));
  site.log->commit(std::move(set), {});
  site.loop->run_for(2s);
  REQUIRE(site.log->stats().withheld_groups > 0);
  const Sequence number = site.log->last_committed();
  site.strike({number, number});
  CHECK(site.log->is_struck(number));
  site.open();
  CHECK(site.log->last_committed() >= number);
  CHECK(site.log->is_struck(number));
}

TEST_CASE("log: of letters beyond their tenth those that were dealt with are not told as lost") {
  Site site(1 << 20);
  constexpr int rows = 40, in_each = 6;
  site.letter("d", 5000, in_each);
  site.letter("d", 5000, in_each);
  site.strike({8, 10});
  for (int row = 2; row < rows; ++row) site.letter("d", 5000, in_each);
  site.loop->run_for(10s);
  const std::vector<Record> letters = site.all(Lane::dead);
  const std::size_t left = letters.size();
  REQUIRE(std::ranges::none_of(letters, [](const Record& r) { return r.detail->sequence == 8; }));
  std::map<std::string, std::uint64_t> losses;
  (void)site.all(Lane::alarm, &losses);
  CHECK(losses == std::map<std::string, std::uint64_t>{{"dead_full", rows * in_each - 3 - left}});
}

TEST_CASE(
    "log: letters that were dealt with take no share of the dead lane, also while their segments stay") {
  Site site(4 << 20);
  for (int i = 0; i < 10; ++i) {
    site.letter("d", 50'000);
    site.raw(10);  // nobody has them: no segment goes
  }
  REQUIRE(site.log->stats().dead_bytes > site.log->stats().bytes_max / dead_share);
  site.strike({1, site.log->last_committed()});
  CHECK(site.log->stats().dead_bytes == 0);
}

TEST_CASE("log: letters that are told as lost are told once, also where their segment cannot go yet") {
  // Of a segment with letters some find room in their tenth and are carried; one call after the other fails
  // on the way.
  const auto live = [](std::uint64_t lack_from, std::uint64_t lack_for) {
    Site site(1 << 20);
    for (const int bytes : {5000, 5000, 5000, 40'000, 45'000}) site.letter("d", bytes);
    site.disk.lack_from = site.disk.looks + lack_from;
    site.disk.lack_for = lack_for;
    const std::uint64_t before = site.disk.looks;
    for (const int bytes : {45'000, 100}) site.letter("d", bytes);
    site.loop->run_for(5s);
    const std::uint64_t looks = site.disk.looks - before;
    site.disk.lack_for = 0;
    site.loop->run_for(30s);
    for (int i = 0; i < 3; ++i) site.letter("d", 100);
    site.loop->run_for(5s);
    INFO("fails from call ", lack_from, " for ", lack_for);
    std::map<std::string, std::uint64_t> losses;
    (void)site.all(Lane::alarm, &losses);
    CHECK(losses["dead_full"] > 0);
    CHECK(site.all(Lane::dead).size() + losses["dead_full"] == 10);
    CHECK(site.log->stats().trouble.empty());
    return looks;
  };
  const std::uint64_t looks = live(UINT64_MAX / 4, 0);
  const std::uint64_t stride = effort() >= 5 ? 1 : 3;
  for (std::uint64_t at = 1 + seed() % stride; at <= looks; at += stride) (void)live(at, 12);
}

TEST_CASE("log: full while a device is taken out of it, it takes nothing, and says when it does again") {
  // More comes all the while; from one step on until the answer is there the disk is full, so that the
  // rebuilt segment finds no place.
  int waited = 0, failed = 0;
  for (int step = 24; step < 72; step += effort() >= 5 ? 1 : 8) {
    Site site(1 << 20);
    for (int i = 0; i < 20; ++i) site.raw(2500);
    bool said = false, refused = false, answered = false;
    const auto listener = site.log->listen({.room = [&] { said = site.log->accepting(); }});
    site.raw(2500, false);
    site.log->forget_device("door-1", {}, [&](Result<std::uint64_t> records) {
      answered = true;
      failed += !records.ok();
    });
    for (int at = 0; at < 400 && !answered; ++at) {
      if (at == step) site.disk.bytes_max = site.disk.used();
      if (at < step && at % 4 == 0 && site.log->accepting()) site.raw(2500, false);
      site.loop->run_for(1ms);
      if (site.log->accepting()) continue;
      refused = true;
      said = false;
    }
    site.disk.bytes_max = UINT64_MAX;
    site.loop->run_for(30s);
    INFO("step ", step);
    CHECK(site.log->accepting());
    CHECK((said || !refused));
    waited += refused;
    site.log->unlisten(listener);
  }
  CHECK(waited > 0);
  CHECK(failed > 0);
}

TEST_CASE("log: what it writes it can read, whatever the sizes") {
  Rng rng(seed());
  for (int round = 0; round < 4 * effort(); ++round) {
    Site site(256 << 20);
    site.log.reset();
    site.options.row_bytes_max = rng.chance(0.3) ? 4 << 20 : 16 << 10 << rng.below(4);
    site.open();
    std::multiset<std::string> sent;
    std::size_t refused = 0;
    for (int set_number = 0; set_number < 4; ++set_number) {
      WriteSet set;
      std::size_t bytes = 0;
      const bool large = rng.chance(0.3);
      while (bytes < 3 * site.options.row_bytes_max / 2 && set.records.size() < 20'000) {
        Record record = rng.chance(0.2) ? event(text("e", set.records.size()))
                                        : reading(rng.unit(), text("d", rng.below(1000)));
        // Around the bound as well: a byte less, a byte more.
        const std::size_t size = large && rng.chance(0.2) ? site.options.row_bytes_max - 200 + rng.below(400)
                                                          : rng.below(rng.chance(0.1) ? 5000 : 30);
        std::string value(size, '\0');
        for (char& c : value) c = static_cast<char>('a' + rng.below(26));
        record.value = value;
        if (rng.chance(0.3)) record.tags = {{"line", std::string(rng.below(200), 'x')}};
        bytes += size + 100;
        sent.insert(value);
        set.records.emplace_back(rng.chance(0.2) ? Lane::window : Lane::raw, std::move(record));
      }
      set.urgent = true;
      site.log->commit(std::move(set), {});
      site.loop->run_for(5s);
    }
    std::map<std::string, std::uint64_t> losses;
    for (const Lane lane : {Lane::raw, Lane::window}) {
      for (const Record& record : site.all(lane)) {
        const auto found = sent.find(std::get<std::string>(record.value));
        REQUIRE(found != sent.end());
        sent.erase(found);
      }
    }
    (void)site.all(Lane::alarm, &losses);
    refused = losses["too_large"];
    CHECK(sent.size() == refused);  // told, each of them
    CHECK(site.log->stats().refused_records == refused);
    for (const std::string& value : sent) CHECK(value.size() > site.options.row_bytes_max - 400);
  }
}

TEST_CASE(
    "log: one that blocks when full has room again once all is delivered, also where state has its share") {
  Site site(2 << 20, WhenFull::block);
  site.options.state_bytes_max = site.options.bytes_max / 4;
  site.open();
  for (int round = 0; round < 3; ++round) {
    // State at its bound, written anew now and then: it lies in files, some of them for the head before.
    for (int i = 0; i < 60; ++i) {
      WriteSet set;
      set.states.push_back({text("session/", i), Bytes(8000, static_cast<std::byte>(round))});
      site.log->commit(std::move(set), {});
      site.loop->run_for(100ms);
    }
    CHECK(site.log->stats().state_bytes > 470'000);
    int commits = 0;
    int refused = 0;
    for (; commits < 3000 && !site.log->stats().blocked; ++commits) {
      refused += site.log->why_not(Lane::dead, 1000) != nullptr;
      site.raw(50);
    }
    CHECK(refused == 0);  // whose bad payload is acknowledged finds room for it
    CHECK(commits > 10);
    REQUIRE(site.log->stats().blocked);
    CHECK(site.log->stats().bytes_used <= site.log->stats().bytes_max);
    site.deliver();
    site.loop->run_for(10s);
    CHECK_FALSE(site.log->stats().blocked);
  }
}

TEST_CASE(
    "log: one that blocks when full has room again, also where files of state take twice what it needs") {
  Site site(2 << 20, WhenFull::block);
  site.options.state_bytes_max = site.options.bytes_max / 4;
  site.open();
  // All of it at its bound, then all but one of it anew: by a little too few to be written into one file.
  const auto put = [&](int round) {
    WriteSet set;
    for (int i = round; i < 64; ++i)
      set.states.push_back({text("session/", i), Bytes(8000, static_cast<std::byte>(round))});
    set.urgent = true;
    site.log->commit(std::move(set), {});
    site.loop->run_for(100ms);
  };
  put(0);
  const std::uint64_t once = site.log->stats().bytes_used;
  put(1);
  REQUIRE(site.log->stats().bytes_used > once + 500'000);
  for (int round = 0; round < 3; ++round) {
    for (int commits = 0; commits < 3000 && !site.log->stats().blocked; ++commits) site.raw(50);
    REQUIRE(site.log->stats().blocked);
    CHECK(site.log->stats().bytes_used <= site.log->stats().bytes_max);
    // What takes no more than it needs is not written again.
    const std::uint64_t commits = site.log->stats().commits;
    site.loop->run_for(1min);
    CHECK(site.log->stats().commits <= commits + 1);
    site.deliver();
    site.loop->run_for(10s);
    REQUIRE_FALSE(site.log->stats().blocked);
  }
  site.open();  // after a kill
  CHECK(site.log->stats().damaged_states == 0);
  for (int i = 0; i < 64; ++i)
    CHECK(site.log->state(text("session/", i)) == Bytes(8000, static_cast<std::byte>(i > 0)));
}

TEST_CASE("log: alarms are committed at once, and a storm of them costs ten commits a second") {
  Site site(64 << 20);
  const std::uint64_t before = site.log->stats().commits;
  for (int i = 0; i < GroupWriter::alarm_closes_at_once; ++i) {
    site.event_of(text("door-", i));
    site.loop->run_for(20ms);
    CHECK(site.log->stats().commits - before == static_cast<std::uint64_t>(i) + 1);
  }
  // Two hundred a second, as one device can bring that has no patience.
  std::uint64_t commits = site.log->stats().commits;
  for (int i = 0; i < 2000; ++i) {
    site.event_of(text("restless-", i % 2));
    site.loop->run_for(5ms);
    if (i % 20 == 19) CHECK(site.log->last_committed() + 20 >= static_cast<Sequence>(i));
  }
  commits = site.log->stats().commits - commits;
  CHECK(commits >= 95);
  CHECK(commits <= 110);
  // Who waits for an acknowledgement does not wait for that.
  site.event_of("restless-0");
  WriteSet set;
  set.records.emplace_back(Lane::raw, reading(1));
  set.within = 5ms;
  bool durable = false;
  site.log->commit(std::move(set), [&](const Status& status) { durable = status.ok(); });
  site.loop->run_for(40ms);
  CHECK(durable);
  // When it is over an alarm is committed at once again.
  site.loop->run_for(10s);
  commits = site.log->stats().commits;
  site.event_of("door-1");
  site.loop->run_for(20ms);
  CHECK(site.log->stats().commits == commits + 1);
  CHECK(site.events() == GroupWriter::alarm_closes_at_once + 2002);
  // A storm whose groups others close leaves no debt behind: the next alarm waits for one turn.
  for (int i = 0; i < 600; ++i) {
    site.event_of("restless-0");
    site.raw(1, false);
    site.loop->run_for(20ms);
  }
  site.loop->run_for(50ms);
  const Sequence last = site.log->last_committed();
  site.event_of("door-1");
  site.loop->run_for(150ms);
  CHECK(site.log->last_committed() > last);
}

TEST_CASE("log: the alarms of a segment that cannot be opened when it is evicted are all there afterwards") {
  // of the times it is opened after it was sealed: to be listed, to be copied, again
  for (const int number : {1, 2, 3}) {
    Site site(1 << 20);
    for (int i = 0; i < 61; ++i) {
      site.event_of(text("door-", i));
      site.raw(60);
    }
    site.disk.opens.clear();
    site.disk.fail_open_number = number;
    for (int i = 0; i < 60; ++i) site.raw(2500);
    site.disk.fail_open_number = 0;
    site.loop->run_for(30s);
    INFO("open number ", number);
    CHECK(site.log->ledger("up", Lane::raw).settled[static_cast<std::size_t>(How::evicted)] > 0);
    CHECK(site.events() == 61);
    CHECK(site.log->stats().lost_records == 0);
  }
}

TEST_CASE("log: a device that is forgotten is gone from the open group, too") {
  Site site(64 << 20);
  site.raw(10);
  WriteSet set;
  for (int i = 0; i < 10; ++i) set.records.emplace_back(Lane::raw, reading(i, i % 2 ? "gone" : "d"));
  site.log->commit(std::move(set), {});  // it waits for commit_interval
  std::optional<std::uint64_t> forgotten;
  site.log->forget_device("gone", std::nullopt, [&](const Result<std::uint64_t>& records) {
    REQUIRE(records.ok());
    forgotten = records.value();
  });
  site.loop->run_for(10s);
  CHECK(forgotten == 5);
  const auto left = site.all(Lane::raw);
  CHECK(left.size() == 15);
  CHECK(std::ranges::none_of(left, [](const Record& r) { return r.device == "gone"; }));
}

TEST_CASE(
    "log: who has a device forgotten hears how it went, also where the log is stopped in the middle, or cannot be written") {
  int forgotten = 0, closed = 0;
  for (const bool disk_fails : {false, true}) {
    for (int late = 0; late < 60; ++late) {
      Site site(1 << 20);
      for (int i = 0; i < 5; ++i) {
        site.raw(10);
        WriteSet set;
        for (int k = 0; k < 5; ++k) set.records.emplace_back(Lane::raw, reading(k, "gone"));
        site.log->commit(std::move(set), {});
        site.log->seal([](const Status&) {});
        site.loop->run_for(1s);
      }
      int answers = 0;
      site.log->forget_device("gone", std::nullopt, [&](const Result<std::uint64_t>& records) {
        ++answers;
        ++(records.ok() ? forgotten : closed);
        CHECK((records.ok() ? records.value() == 25 : records.status().code() == Code::closed));
      });
      site.loop->run_for(std::chrono::milliseconds(4 * late));
      site.disk.fail_writes = disk_fails;
      bool stopped = false;
      site.log->stop([&] { stopped = true; });
      site.loop->run_for(30s);
      INFO("late by ", 4 * late, " ms, a disk that fails: ", disk_fails);
      CHECK(stopped);
      CHECK(answers == 1);
      site.disk.fail_writes = false;
      site.open();
      CHECK(site.all(Lane::raw).size() >= 50);
    }
  }
  CHECK(forgotten > 0);
  CHECK(closed > 0);
}

TEST_CASE("log: what an uplink refused is as old as the reading, where a device is forgotten up to a time") {
  Site site(64 << 20);
  const std::int64_t day = 86'400'000'000;
  const WallTime before{reading(0).time.us + 10 * day};
  WriteSet set;
  for (const std::int64_t days : {0, 20}) {
    Record refused = reading(1, "gone");
    refused.time.us += days * day;
    DeadDetail dead;
    dead.consumer = "up";
    dead.source = DeadDetail::Source::uplink;
    dead.payload = encode_record(refused);
    auto detail = std::make_shared<Detail>();
    detail->body = std::move(dead);
    Record letter;
    letter.kind = Kind::dead;
    letter.device = "gone";
    letter.time.us = refused.time.us + 30 * day;
    letter.detail = std::move(detail);
    set.records.emplace_back(Lane::dead, std::move(letter));
  }
  site.log->commit(std::move(set), {});
  std::optional<std::uint64_t> forgotten;
  site.log->forget_device("gone", before, [&](const Result<std::uint64_t>& records) {
    REQUIRE(records.ok());
    forgotten = records.value();
  });
  site.loop->run_for(10s);
  CHECK(forgotten == 1);
  CHECK(site.all(Lane::dead).size() == 1);
}

TEST_CASE("log: alarms of devices that are forgotten are not carried on while the log evicts") {
  for (int late = 0; late < 12 * effort(); ++late) {
    Site site(1 << 20);
    for (int i = 0; i < 60; ++i) {
      site.event_of(i % 3 == 0 ? "gone" : i % 3 == 1 ? "too" : "door");
      site.raw(60);
    }
    const auto evicted = [&] {
      return site.log->ledger("up", Lane::raw).settled[static_cast<std::size_t>(How::evicted)];
    };
    while (evicted() == 0) site.raw(2500);
    for (int i = 0; i < late; ++i) site.raw(2500);
    int answers = 0;
    std::uint64_t forgotten = 0;
    for (const char* device : {"gone", "too"}) {
      site.log->forget_device(device, std::nullopt, [&](const Result<std::uint64_t>& records) {
        REQUIRE(records.ok());
        ++answers;
        forgotten += records.value();
      });
    }
    for (int i = 0; i < 60; ++i) {
      site.raw(2500, false);
      site.loop->run_for(std::chrono::milliseconds(1 + site.rng.below(40)));
    }
    for (int i = 0; i < 20; ++i) site.raw(2500);  // it is below its bound again
    site.loop->run_for(30s);
    INFO("late by ", late);
    CHECK(answers == 2);
    CHECK(forgotten == 40);
    const auto left = site.all(Lane::alarm);
    CHECK(
        std::ranges::none_of(left, [](const Record& r) { return r.device == "gone" || r.device == "too"; }));
    CHECK(std::ranges::count(left, "door", &Record::device) == 20);
    CHECK(site.disk.used() <= site.options.bytes_max);
  }
}

TEST_CASE(
    "log: a segment that is gone takes no alarm of another along, where rows were carried between them") {
  int carried = 0;
  for (int late = 0; late < 12 * effort(); ++late) {
    Site site(1 << 20);
    for (int i = 0; i < 60; ++i) {
      site.event_of("door");
      site.raw(60);
    }
    const auto settled = [&](Lane lane, How how) {
      return site.log->ledger("up", lane).settled[static_cast<std::size_t>(how)];
    };
    while (settled(Lane::raw, How::evicted) == 0) site.raw(2500);
    for (int i = 0; i < late; ++i) site.raw(2500);
    const auto segments = site.log->segments();
    const auto alarms = [](const SegmentInfo& s) { return s.lanes[static_cast<std::size_t>(Lane::alarm)]; };
    // The one whose alarms lie around another's.
    const auto around = std::ranges::find_if(segments, [&](const SegmentInfo& s) {
      return s.id != segments.back().id && !alarms(s).empty() &&
             std::ranges::any_of(segments, [&](const SegmentInfo& other) {
               return other.id != s.id && !alarms(other).empty() && alarms(other).first > alarms(s).first &&
                      alarms(other).first < alarms(s).last;
             });
    });
    if (around == segments.end()) continue;
    ++carried;
    site.log.reset();
    for (const char* suffix : {"", "-wal"})
      static_cast<void>(site.folder->remove(segment_name(around->id) + suffix));
    site.open();
    site.loop->run_for(10s);
    for (int i = 0; i < 60; ++i) site.raw(2500);
    site.loop->run_for(30s);
    INFO("late by ", late);
    const auto lost = settled(Lane::alarm, How::unreadable);
    CHECK(lost > 0);
    CHECK(settled(Lane::alarm, How::evicted) == 0);
    const auto left = site.all(Lane::alarm);
    CHECK(static_cast<std::uint64_t>(std::ranges::count(left, "door", &Record::device)) + lost >= 60);
  }
  CHECK(carried > 0);
}

TEST_CASE(
    "log: while devices are forgotten the oldest is evicted first, and takes nothing along that stays") {
  for (int late = 0; late < 4 * effort(); ++late) {
    Site site(1 << 20);
    const auto evicted = [&] {
      return site.log->ledger("up", Lane::raw).settled[static_cast<std::size_t>(How::evicted)];
    };
    while (evicted() == 0) site.raw(2500);
    for (int i = 0; i < late; ++i) site.raw(2500);
    const std::uint64_t evicted_before = evicted();
    int answers = 0;
    for (const char* device : {"gone", "too"}) {
      site.log->forget_device(device, std::nullopt, [&](const Result<std::uint64_t>& records) {
        REQUIRE(records.ok());
        ++answers;
      });
    }
    for (int i = 0; i < 60; ++i) {
      site.raw(2500, false);
      site.loop->run_for(std::chrono::milliseconds(1 + site.rng.below(40)));
      // What is stored of what nobody has taken is still to be delivered.
      Sequence oldest = UINT64_MAX;
      for (const SegmentInfo& segment : site.log->segments()) {
        const LaneSpan& span = segment.lanes[static_cast<std::size_t>(Lane::raw)];
        if (!span.empty()) oldest = std::min(oldest, span.first);
      }
      const auto unsettled = site.log->unsettled("up", Lane::raw);
      INFO("late by ", late, ", turn ", i);
      REQUIRE_FALSE(unsettled.empty());
      CHECK(unsettled.front().first <= oldest);
    }
    for (int i = 0; i < 20; ++i) site.raw(2500);  // it is below its bound again
    site.loop->run_for(30s);
    CHECK(answers == 2);
    CHECK(evicted() > evicted_before);
    CHECK(site.disk.used() <= site.options.bytes_max);
  }
}

TEST_CASE("log: one set of more than a reader takes at once becomes rows that it takes") {
  Site site(256 << 20);
  WriteSet set;
  constexpr std::size_t records = 5000, bytes = 4000;  // 20 MB, and no compression helps
  for (std::size_t i = 0; i < records; ++i) {
    Record record = reading(0, text("d", i % 2));
    std::string value(bytes, '\0');
    for (char& c : value) c = static_cast<char>('0' + site.rng.below(64));
    record.value = std::move(value);
    set.records.emplace_back(Lane::raw, std::move(record));
  }
  site.log->commit(std::move(set), {});
  site.loop->run_for(30s);
  CHECK(site.all(Lane::raw).size() == records);
  CHECK(site.log->stats().refused_records == 0);
}

TEST_CASE(
    "log: a storm of events while nothing can be synced is bounded, what did not fit is told, all of it reads back") {
  Site site(32 << 20);
  site.raw(10);
  site.disk.fail_syncs = true;
  for (int i = 0; i < 60'000; ++i) {
    site.event_of(text("device-", i % 3500));
    if (i % 500 == 0) site.loop->run_for(10ms);
  }
  site.disk.fail_syncs = false;
  site.loop->run_for(30s);
  CHECK(site.log->stats().trouble.empty());
  std::map<std::string, std::uint64_t> losses;
  const auto records = site.all(Lane::alarm, &losses);
  const auto events = static_cast<std::uint64_t>(
      std::count_if(records.begin(), records.end(), [](const Record& r) { return r.kind == Kind::event; }));
  CHECK(events > 1000);
  CHECK(events + losses["too_many"] == 60'000);
  CHECK(losses["too_many"] > 0);
  CHECK(site.log->stats().refused_records == losses["too_many"]);
}

TEST_CASE("log: the bound on disk holds against events, which ask nobody before they come") {
  for (const WhenFull when_full : {WhenFull::block, WhenFull::evict}) {
    Site site(1 << 20, when_full);
    for (int i = 0; i < 40 && site.log->accepting(); ++i) site.raw(1000);
    for (int i = 0; i < 3000; ++i) {  // each closes its group at once
      site.event_of(text("device-with-a-long-name-", i));
      site.event_of(text("another-device-with-a-long-name-", i));
      site.loop->run_for(20ms);
      if (i % 100 == 0) CHECK(site.disk.used() <= site.options.bytes_max);
    }
    INFO("when_full ", static_cast<int>(when_full), " used ", site.disk.used());
    CHECK(site.disk.used() <= site.options.bytes_max);
    // Once somebody takes what is there, what went is told.
    std::map<std::string, std::uint64_t> losses;
    std::uint64_t events = 0;
    for (int i = 0; i < 400; ++i) {
      for (const char* who : {"up", "second"}) {
        for (const Lane lane : {Lane::alarm, Lane::raw}) {
          const auto open = site.log->unsettled(who, lane);
          if (open.empty() || (lane == Lane::raw && who != std::string("up"))) continue;
          site.log->read(
              lane, open.front(), Log::Direction::up, 64 << 10,
              [&, lane, who](Result<std::vector<Row>> rows) {
                REQUIRE(rows.ok());
                WriteSet set;
                Sequence from = open.front().first;
                for (const Row& row : rows.value()) {
                  if (row.first < from) continue;
                  std::vector<Record> records;
                  REQUIRE(decode_batch(*row.columns, row.zstd, records).ok());
                  for (const Record& record : records) {
                    if (who != std::string("up")) continue;
                    events += record.kind == Kind::event;
                    if (record.kind != Kind::loss) continue;
                    const auto& loss = std::get<LossDetail>(record.detail->body);
                    if (lane == Lane::alarm && (loss.consumer.empty() || record.metric == "alarm"))
                      losses[loss.consumer + "/" + loss.reason] += loss.count;
                  }
                  set.settles.push_back({who, lane, {from, row.last()}, row.count, How::delivered});
                  from = row.last() + 1;
                }
                if (rows.value().empty()) set.settles.push_back({who, lane, open.front(), 0, How::delivered});
                site.log->commit(std::move(set), {});
              });
          site.loop->run_for(100ms);
        }
      }
      site.loop->run_for(1s);
    }
    std::uint64_t refused = losses["/log_full"] + losses["/too_many"];
    INFO("events ", events, " refused ", refused, " evicted ", losses["up/evicted"]);
    CHECK(refused == site.log->stats().refused_records);
    CHECK(events + refused + losses["up/evicted"] >= 6000);  // an evicted loss record counts as well
    CHECK(site.log->ledger("up", Lane::alarm).unsettled() == 0);
  }
}

TEST_CASE("log: what an uplink refuses has its letter and its loss also where a full log takes no event") {
  Site site(2 << 20, WhenFull::block);
  while (!site.log->why_not(Lane::alarm, 1000)) site.raw(500);
  REQUIRE(site.log->accepting());
  site.bury(1);
  CHECK(site.log->stats().refused_records == 0);
  CHECK(site.all(Lane::dead).size() == 1);
  std::map<std::string, std::uint64_t> losses;
  (void)site.all(Lane::alarm, &losses);
  CHECK(losses == std::map<std::string, std::uint64_t>{{"refused", 1}});
}

TEST_CASE("log: what was accepted and cannot be read has its letter also where a full log takes no event") {
  for (const WhenFull when_full : {WhenFull::block, WhenFull::evict}) {
    Site site(2 << 20, when_full);
    for (int i = 0; when_full == WhenFull::evict && i < 500; ++i) site.raw(500);
    // A commit is on its way, say, and the next one fills.
    while (!site.log->why_not(Lane::alarm, 1000)) site.raw(500, when_full == WhenFull::block);
    REQUIRE(site.log->why_not(Lane::dead, 1000) == std::string("log_full"));  // who can wait does
    if (when_full == WhenFull::block) REQUIRE(site.log->accepting());
    site.letter("d", 1000);
    INFO("when_full ", static_cast<int>(when_full));
    CHECK(site.log->stats().refused_records == 0);
    CHECK(site.all(Lane::dead).size() == 1);
    CHECK(site.disk.used() <= site.options.bytes_max);
  }
}

TEST_CASE("log: letters of one group that are large together are all there") {
  Site site(64 << 20);
  WriteSet set;
  for (const int bytes : {200'000, 950'000, 950'000})
    set.records.emplace_back(Lane::dead, site.letter_of("d", bytes));
  site.log->commit(std::move(set), {});
  site.loop->run_for(5s);
  CHECK(site.log->stats().refused_records == 0);
  CHECK(site.all(Lane::dead).size() == 3);
}

TEST_CASE("log: what a full log did not take is told once there is room, and once, also over a kill") {
  Site site(2 << 20, WhenFull::block);
  while (site.log->accepting()) site.raw(500);
  site.bury(1);
  for (int i = 0; i < 20; ++i) site.event_of(text("door-", i % 3));
  site.loop->run_for(5s);
  REQUIRE(site.log->stats().refused_records == 21);
  std::map<std::string, std::uint64_t> losses;
  (void)site.all(Lane::alarm, &losses);
  CHECK(losses == std::map<std::string, std::uint64_t>{{"refused", 1}});
  site.open();
  site.deliver();
  for (const bool again : {false, true}) {
    if (again) site.open();
    site.loop->run_for(10s);
    losses.clear();
    std::map<std::string, std::uint64_t> devices;
    for (const Record& record : site.all(Lane::alarm, &losses)) {
      REQUIRE(record.kind == Kind::loss);
      const auto& loss = std::get<LossDetail>(record.detail->body);
      if (loss.reason != "log_full") continue;
      for (const auto& [device, count] : loss.devices) devices[record.metric + "/" + device] += count;
    }
    CHECK(losses == std::map<std::string, std::uint64_t>{{"refused", 1}, {"log_full", 21}});
    const std::map<std::string, std::uint64_t> told{
        {"alarm/door-0", 7}, {"alarm/door-1", 7}, {"alarm/door-2", 6}, {"dead/d", 1}};
    CHECK(devices == told);
  }
}

TEST_CASE("latest values: a page is so many readings and no more, however small they lie in the log") {
  Site site(64 << 20);
  const auto commit = [&site](const Record& record, int count) {
    WriteSet set;
    for (int i = 0; i < count; ++i) set.records.emplace_back(Lane::raw, record);
    site.log->commit(std::move(set), {});
    site.loop->run_for(5s);
  };
  commit(reading(1, "old"), 1);
  for (int i = 0; i < 20; ++i) commit(reading(1), 10'000);
  const auto finds = [&site](std::size_t pages_max) {
    LatestValues::Wish wish;
    wish.devices = {"old"};
    wish.pages_max = pages_max;
    bool done = false, found = false;
    LatestValues::look(*site.log, wish, [&](const Result<LatestValues::Found>& values) {
      REQUIRE(values.ok());
      done = true;
      found = values.value().number == 1;
    });
    site.loop->run_for(10s);
    REQUIRE(done);
    return found;
  };
  REQUIRE(site.log->stats().row_bytes < LatestValues::Wish().page_bytes);  // as bytes all of it is one page
  CHECK_FALSE(finds(8));
  CHECK(finds(32));
}

TEST_CASE("log: a folder whose identity cannot be told has not changed") {
  Site site(1 << 20);
  site.raw(10);
  site.disk.lack_from = 0;
  site.disk.lack_for = UINT64_MAX / 4;  // not one call that needs a descriptor succeeds
  bool acknowledged = false;
  WriteSet set;
  set.records.emplace_back(Lane::raw, reading(1));
  set.urgent = true;
  site.log->commit(std::move(set), [&](const Status& status) { acknowledged = status.ok(); });
  site.loop->run_for(20s);
  CHECK(acknowledged);  // the head was open
  site.disk.lack_for = 0;
  site.loop->run_for(20s);
  CHECK(site.log->stats().trouble.empty());
  CHECK(site.all(Lane::raw).size() == 11);
}

TEST_CASE("windows: what cannot be read for a moment as they start is in their windows all the same") {
  Site site(8 << 20);
  Metrics metrics;
  WindowOptions options;
  options.windows = {WindowConfig{.name = "minute"}};
  std::unique_ptr<WindowConsumer> windows;
  bool ready = false;
  const auto start = [&] {
    windows = std::make_unique<WindowConsumer>(*site.loop, *site.log, metrics, options);
    ready = false;
    windows->start([&] { ready = true; });
    site.loop->run_for(500ms);
  };
  start();
  REQUIRE(ready);
  site.raw(10);
  windows.reset();  // no snapshot was made
  site.open();
  site.disk.lack_from = site.disk.looks + 1;
  site.disk.lack_for = UINT64_MAX / 4;
  start();
  CHECK(!ready);
  site.disk.lack_for = 0;
  site.loop->run_for(3s);
  CHECK(ready);
  WriteSet set;
  set.records.emplace_back(Lane::raw, reading(1));
  set.records.back().second.time.us += 61'000'000;  // closes the window before
  set.urgent = true;
  site.log->commit(std::move(set), {});
  site.loop->run_for(1s);
  const auto closed = site.all(Lane::window);
  REQUIRE(closed.size() == 1);
  CHECK(std::get<WindowDetail>(closed[0].detail->body).count == 10);
  windows.reset();
}

TEST_CASE(
    "windows: while a start feeds them the loop has its turns, and who stops does not wait for the end") {
  constexpr int rows = 5, in_each = 20'000;  // all of them in one page
  Site site(64 << 20);
  Metrics metrics;
  WindowOptions options;
  options.windows = {WindowConfig{.name = "minute"}};
  std::optional<WindowConsumer> windows;
  const auto begin = [&] { windows.emplace(*site.loop, *site.log, metrics, options); };
  begin();
  for (int row = 0; row < rows; ++row) {
    WriteSet set;
    for (int i = 0; i < in_each; ++i) set.records.emplace_back(Lane::raw, reading(row));
    set.urgent = true;
    site.log->commit(std::move(set), {});
    site.loop->run_for(100ms);
  }
  for (const bool stops : {true, false}) {
    INFO("stops ", stops);
    windows.reset();
    site.open();
    begin();
    bool ready = false;
    windows->start([&] { ready = true; });
    REQUIRE(site.loop->run_until([&] { return windows->engine().keys(0) > 0; }, 10s));
    CHECK_FALSE(ready);
    if (stops) {
      windows->give_up_start();
      site.loop->run_for(10s);
      CHECK_FALSE(ready);
      continue;
    }
    int turns = 0;
    REQUIRE(site.loop->run_until([&] { return ++turns > 0 && ready; }, 10s));
    CHECK(turns > rows * in_each / 5000);
    const auto open = site.log->unsettled(WindowConsumer::name, Lane::raw);
    REQUIRE(open.size() == 1);  // fed, and not settled before a snapshot
    CHECK(open.front().last == rows * in_each);
  }
  windows.reset();
}

TEST_CASE("log: a start without descriptors or memory touches nothing, and the next one finds everything") {
  for (const int error : {EMFILE, ENOMEM}) {
    std::uint64_t calls = 4;
    const std::uint64_t stride = effort() >= 5 ? 1 : 4;  // quick looks at a sample that moves with the seed
    for (std::uint64_t at = 1 + seed() % stride; at <= calls; at += stride) {
      Site site(8 << 20);
      site.options.segment_bytes = 32 << 10;
      site.open();
      for (int i = 0; i < 20; ++i) site.raw(300);
      WriteSet set;
      set.settles.push_back({"up", Lane::raw, {1, 100}, 100, How::delivered});
      set.states.push_back({"x", to_bytes("13")});
      set.urgent = true;
      site.log->commit(std::move(set), {});
      site.loop->run_for(1s);
      const std::uint64_t epoch = site.log->epoch();
      site.log.reset();
      site.disk.lacking = error;
      site.disk.lack_from = site.disk.looks + at;
      site.disk.lack_for = 1;
      site.loop = std::make_unique<SimLoop>();
      {
        auto opened = SqliteLog::open(*site.loop, *site.folder, site.options, 99);
        if (!opened.ok()) CHECK(opened.status().code() == Code::unavailable);
        if (opened.ok()) site.loop->run_for(5s);  // what it wrongly took for lost would be committed
      }
      site.disk.lack_for = 0;
      const std::uint64_t whole = site.disk.looks;
      site.open();
      calls = std::max(calls, site.disk.looks - whole);
      INFO("call ", at, " of ", calls, " fails with ", error);
      CHECK(site.log->epoch() == epoch);
      // the cursor and the books are what they were
      CHECK(site.log->ledger("up", Lane::raw).unsettled() == 5900);
      CHECK(site.log->state("x") == to_bytes("13"));
      CHECK(site.all(Lane::raw).size() == 6000);
      CHECK(site.log->stats().files_set_aside == 0);
      CHECK(site.log->stats().vanished_records == 0);
    }
  }
}

TEST_CASE("log: with every descriptor of the process taken it commits, rolls over and reads") {
  std::string path = "/tmp/millrace-log-XXXXXX";
  REQUIRE(::mkdtemp(path.data()) != nullptr);
  {
    SimLoop loop;
    auto folder = open_folder(path);
    LogOptions options;
    options.bytes_max = 1 << 20;
    options.cache_bytes = 0;
    auto opened = SqliteLog::open(loop, *folder, options, 5);
    REQUIRE(opened.ok());
    SqliteLog& log = *opened.value();
    log.subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
    Rng rng(1);
    std::uint64_t sent = 0, acknowledged = 0;
    const auto append = [&] {
      WriteSet set;
      for (int i = 0; i < 500; ++i, ++sent) set.records.emplace_back(Lane::raw, reading(rng.unit()));
      set.urgent = true;
      log.commit(std::move(set), [&](const Status& status) { acknowledged += status.ok() ? 500 : 0; });
      loop.run_for(1s);
    };
    const auto read_all = [&] {
      std::uint64_t read = 0;
      for (Sequence from = 1; from <= log.last_committed();) {
        std::vector<Row> rows;
        log.read(Lane::raw, {from, log.last_committed()}, Log::Direction::up, 64 << 10,
                 [&](Result<std::vector<Row>> got) {
                   CHECK(got.ok());
                   if (got.ok()) rows = got.value();
                 });
        loop.run_for(1s);
        if (rows.empty()) break;
        for (const Row& row : rows) read += row.count;
        from = rows.back().last() + 1;
      }
      return read;
    };
    // Everything once with descriptors: the sanitizer takes some of its own at the first virtual call of a
    // kind.
    for (int i = 0; i < 20; ++i) append();
    CHECK(read_all() == sent);
    (void)folder->use_spare();
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    rlimit low = before;
    low.rlim_cur = std::min<rlim_t>(before.rlim_cur, 256);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
    std::vector<Fd> taken;
    for (;;) {
      Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      if (!fd.valid()) break;
      taken.push_back(std::move(fd));
    }
    REQUIRE(errno == EMFILE);
    const std::uint64_t segments = log.stats().segments;
    for (int i = 0; i < 30; ++i) append();
    CHECK(acknowledged == sent);
    CHECK(log.stats().segments > segments + 1);
    CHECK(log.stats().trouble.empty());
    CHECK(read_all() == sent);
    taken.clear();
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  }
  std::filesystem::remove_all(path);
}

}  // namespace log_limits_test
