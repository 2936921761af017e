// State in the log: any size of it costs flash for what changes, never decides about segments, is checked
// entry by entry.
#include <doctest/doctest.h>

#include <set>

#include "base/rng.h"
#include "base/text.h"
#include "log/log_state.h"
#include "log/sqlite.h"
#include "log/sqlite_log.h"
#include "log/state_file.h"
#include "log/state_room.h"
#include "log/state_table.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "tests/support/golden_log.h"
#include "tests/support/seed.h"

namespace log_state_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

struct Site {
  SimDisk disk{seed()};
  std::unique_ptr<Folder> folder = disk.folder();
  std::unique_ptr<SimLoop> loop = std::make_unique<SimLoop>();
  std::unique_ptr<SqliteLog> log;
  LogOptions options;
  Rng rng{seed()};
  std::uint64_t sent = 0;
  std::map<std::string, std::string> states;  // as they were put

  explicit Site(std::uint64_t bytes_max) {
    options.vfs = disk.vfs();
    options.bytes_max = bytes_max;
    options.state_bytes_max = bytes_max / 4;
    options.cache_bytes = 0;
    open();
  }
  void open() {
    log.reset();
    loop = std::make_unique<SimLoop>();
    auto opened = SqliteLog::open(*loop, *folder, options, 7);
    REQUIRE(opened.ok());
    log = std::move(opened).value();
    for (const char* name : {"central", "cloud"})
      log->subscribe({name, {Lane::alarm, Lane::raw}, Subscription::Start::oldest});
  }
  void stop() {
    bool stopped = false;
    log->stop([&] { stopped = true; });
    REQUIRE(loop->run_until([&] { return stopped; }, 10s));
    log.reset();
  }
  void raw(int count) {
    WriteSet set;
    for (int i = 0; i < count; ++i, ++sent) {
      Record record;
      record.device = text("d", i % 7);
      record.metric = "m";
      record.time = {1'700'000'000'000'000 + static_cast<std::int64_t>(sent)};
      record.value = rng.unit();
      set.records.emplace_back(Lane::raw, std::move(record));
    }
    set.urgent = true;
    log->commit(std::move(set), {});
    loop->run_for(100ms);
  }
  // Puts `count` of the names 0..among-1, of about `bytes` each; now and then removes one.
  Status put(std::size_t count, std::size_t among, std::size_t bytes) {
    WriteSet set;
    std::map<std::string, std::string> now = states;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string name = text("windows/", rng.below(among));
      std::string value(rng.chance(0.05) ? 0 : bytes / 2 + rng.below(bytes) + 1, 'x');
      for (char& c : value) c = static_cast<char>(rng.next());
      set.states.push_back({name, to_bytes(value)});
      if (value.empty()) now.erase(name);
      else now[name] = value;
    }
    set.urgent = true;
    Status outcome{Code::closed, "not told"};
    log->commit(std::move(set), [&](const Status& status) { outcome = status; });
    loop->run_for(100ms);
    if (outcome.ok()) states = now;
    return outcome;
  }
  void check_states() const {
    std::set<std::string> names;
    for (const std::string& name : log->states("windows/")) names.insert(name);
    CHECK(names.size() == states.size());
    for (const auto& [name, value] : states) CHECK(log->state(name) == to_bytes(value));
  }
  void settle(const char* consumer, Range range) {
    WriteSet set;
    set.settles.push_back({consumer, Lane::raw, range, range.last - range.first + 1, How::delivered});
    set.urgent = true;
    log->commit(std::move(set), {});
    loop->run_for(100ms);
  }
  // Numbers of raw records that can be read in what `consumer` has not settled.
  std::uint64_t comes(const char* consumer) {
    std::set<Sequence> numbers;
    for (const Range& range : log->unsettled(consumer, Lane::raw)) {
      for (Sequence from = range.first; from <= range.last;) {
        std::vector<Row> rows;
        log->read(Lane::raw, {from, range.last}, Log::Direction::up, 1 << 20,
                  [&](Result<std::vector<Row>> read) {
                    if (read.ok()) rows = read.value();
                  });
        loop->run_for(5s);
        if (rows.empty()) break;
        for (const Row& row : rows) {
          for (Sequence n = std::max(row.first, range.first); n <= std::min(row.last(), range.last); ++n)
            numbers.insert(n);
        }
        from = rows.back().last() + 1;
      }
    }
    return numbers.size();
  }
};

}  // namespace

TEST_CASE(
    "state: of any size it comes back whole, after stops, kills and roll-overs, and its files stay few") {
  Rng rng(seed());
  for (const std::uint64_t bytes_max : {std::uint64_t{1} << 20, std::uint64_t{16} << 20}) {
    Site site(bytes_max);
    for (int life = 0; life < 12; ++life) {
      for (int i = 0; i < 8; ++i) {
        (void)site.put(1 + rng.below(60), 400, bytes_max >> 20 > 1 ? 6000 : 300);
        site.raw(400);
      }
      site.check_states();
      CHECK(site.log->stats().state_bytes <= site.log->stats().state_bytes_max);
      CHECK(site.disk.used() <= bytes_max);
      if (life % 3 == 0) site.stop();
      site.open();
      site.check_states();
      CHECK(site.log->stats().damaged_states == 0);
      std::size_t files = 0;
      for (const auto& [name, file] : site.disk.files) files += name.starts_with("state-");
      CHECK(files <= 20);
    }
  }
}

TEST_CASE("state: what one file of it would take is known without a look at each entry") {
  Rng rng(seed());
  LogState state(UINT64_MAX, 0, "");
  const auto check = [](const LogState& of) {
    StateEntries entries;
    for (const auto& [key, value] : of.table()) {
      if (is_user_key(key)) entries.emplace_back(key, value);
    }
    StateFile file;
    (void)encode_state_file(1, entries, file);
    CHECK(of.bytes_in_one_file() + 40 >= file.bytes);  // what it begins with, and two checksums
    CHECK(of.bytes_in_one_file() <= file.bytes + 32 * entries.size());
  };
  check(state);
  for (int i = 0; i < 2000; ++i) {
    const std::string name = text(rng.chance(0.1) ? "own/" : "state/", std::string(rng.below(40), 'n'));
    if (rng.chance(0.3)) state.drop(name);
    else state.put(name, Bytes(rng.below(3000)));
    if (i % 20 == 0) check(state);
  }
  HeadContents head;
  head.state = state.table();
  LogState again(UINT64_MAX, 0, "");
  SimDisk disk{seed()};
  REQUIRE(again.restore(head, *disk.folder()).status.ok());
  CHECK(again.bytes_in_one_file() <= state.bytes_in_one_file());  // an empty value says that it is gone
  check(again);
}

TEST_CASE("state: files that no head names any longer go with the head after it") {
  Site site(16 << 20);
  const auto files = [&site] {
    std::size_t count = 0;
    for (const auto& [name, file] : site.disk.files) count += name.starts_with("state-");
    return count;
  };
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 12; ++i) (void)site.put(40, 300, 6000);
    Status sealed{Code::closed, "not told"};
    site.log->seal([&sealed](const Status& status) { sealed = status; });
    site.loop->run_for(100ms);
    CHECK(sealed.ok());
    CHECK(files() <= 9);  // what the head names, and the one that was just made
  }
  site.check_states();
  site.open();
  site.check_states();
}

TEST_CASE("state: a full log removes no file before the head that does not name it any more is written") {
  Site site(1 << 20);
  site.options.when_full = WhenFull::block;
  site.open();
  const auto put_all = [&site](int from, int to) {
    WriteSet set;
    for (int i = from; i < to; ++i) {
      std::string value(1000, 'x');
      for (char& c : value) c = static_cast<char>(site.rng.next());
      set.states.push_back({text("windows/", i), to_bytes(value)});
      site.states[text("windows/", i)] = value;
    }
    set.urgent = true;
    return set;
  };
  site.log->commit(put_all(0, 100), {});
  site.loop->run_for(100ms);
  for (int i = 0; i < 300 && site.log->accepting(); ++i) site.raw(500);
  REQUIRE_FALSE(site.log->accepting());
  // Half of it is told anew; who put it puts more as soon as it is committed, and the files are written anew
  // with that. The process ends before they are.
  bool committed = false;
  site.log->commit(put_all(0, 50), [&](const Status& status) {
    committed = status.ok();
    const auto before = site.states;
    site.log->commit(put_all(99, 100), {});
    site.states = before;
  });
  REQUIRE(site.loop->run_until([&] { return committed; }, 10s));
  site.open();
  CHECK(site.log->stats().damaged_states == 0);
  site.check_states();
}

TEST_CASE("state: large state decides about no segment, evicts nothing, and costs flash for what changes") {
  Site site(16 << 20);
  for (int i = 0; i < 30; ++i) site.raw(60);
  const std::uint64_t segments = site.log->stats().segments;
  REQUIRE(site.put(1, 1, 1000).ok());
  for (std::size_t i = 0; i < 450; ++i) REQUIRE(site.put(1, 1 << 20, 6000).ok());  // 2.7 MB in small pieces
  const std::uint64_t before = site.disk.bytes_written, sent = site.sent;
  for (int i = 0; i < 300; ++i) {
    site.raw(60);
    if (i % 30 == 0) REQUIRE(site.put(3, 3, 6000).ok());  // what changes
  }
  const double per_record =
      static_cast<double>(site.disk.bytes_written - before) / static_cast<double>(site.sent - sent);
  INFO("bytes of flash a record ", per_record, ", segments ", segments, " then ", site.log->stats().segments);
  CHECK(per_record < 1200);  // as without state: pages of small commits
  CHECK(site.log->stats().segments <= segments + 3);
  CHECK(site.log->stats().evicted_records == 0);
  CHECK(site.comes("central") == site.sent);
}

TEST_CASE("state: what would be more than its share is refused whole, and whoever put it is told") {
  Site site(1 << 20);
  Status last;
  int taken = 0;
  for (; taken < 200 && (last = site.put(1, 1 << 20, 8000)).ok(); ++taken) {}
  CHECK(last.code() == Code::full);
  CHECK(taken > 20);
  CHECK(site.log->stats().state_bytes <= (1 << 18));
  CHECK(site.log->stats().refused_states == 1);
  WriteSet set;
  set.states.push_back({"one", to_bytes(std::string(70 << 20, 'x'))});  // more than SQLite would bind
  CHECK_FALSE(site.log->fits(set.states).ok());
  Status outcome;
  site.log->commit(std::move(set), [&](const Status& status) { outcome = status; });
  site.loop->run_for(1s);
  CHECK(outcome.code() == Code::full);
  site.raw(100);
  CHECK(site.comes("cloud") == 100);
  CHECK(site.disk.used() <= site.options.bytes_max);
}

TEST_CASE(
    "state: what says so leaves a set for want of room, what is removed first, and no more of it than must") {
  using NoRoom = WriteSet::State::NoRoom;
  using Names = std::vector<std::string>;
  const auto size_of = [](const std::vector<WriteSet::State>& states) {
    std::size_t sum = 0;
    for (const auto& state : states) sum += state.bytes.size();
    return sum;
  };
  std::size_t asked = 0;
  const auto fit = [&](std::size_t most) {
    return [&, most](const std::vector<WriteSet::State>& states) -> Status {
      ++asked;
      return size_of(states) <= most ? Status{} : Status{Code::full, "no room"};
    };
  };
  const auto states = [] {
    std::vector<WriteSet::State> all{{"retained.in", Bytes(10), NoRoom::left_out},
                                     {"format/in/sparkplug/old", {}, NoRoom::removed}};
    for (int i = 0; i < 1000; ++i)
      all.push_back({text("format/in/sparkplug/n/", i), Bytes(10), NoRoom::removed});
    all.push_back({"session", Bytes(10), NoRoom::left_out});
    return all;
  };
  auto set = states();
  CHECK(make_room(set, fit(10'020)).gone.empty());
  CHECK(asked == 1);
  RoomMade made = make_room(set, fit(10'000));
  CHECK(made.gone == Names{"format/in/sparkplug/n/999", "format/in/sparkplug/n/998"});
  CHECK(made.status.ok());
  CHECK(size_of(set) == 10'000);
  CHECK(set.size() == 1003);  // the two are removed from the log
  CHECK(set[2].bytes.size() == 10);
  CHECK(asked < 20);
  set = states();
  CHECK(make_room(set, fit(10)).gone.size() == 1001);
  CHECK(set.size() == 1002);
  CHECK(set[0].name == "retained.in");
  made = make_room(set, fit(0));
  CHECK((made.gone == Names{"retained.in"} && made.status.ok()));
  // What must be stored with its set is not left out of it.
  set = {{"clock", Bytes(10)}, {"retained.in", Bytes(10), NoRoom::left_out}};
  made = make_room(set, fit(10));
  CHECK((made.status.ok() && made.gone == Names{"retained.in"} && set.size() == 1));
  CHECK(make_room(set, fit(5)).status.code() == Code::full);
  CHECK(set.size() == 1);
}

TEST_CASE("state: what is kept free for windows is theirs, whoever else fills the rest") {
  Site site(1 << 20);  // of which state may take 256 KiB
  site.options.state_kept = 100 << 10;
  site.options.state_kept_for = "windows/";
  site.open();
  const auto store = [&](const std::string& name, std::size_t bytes) {
    WriteSet set;
    set.states.push_back({name, Bytes(bytes)});
    Status outcome{Code::closed, "not told"};
    site.log->commit(std::move(set), [&](const Status& status) { outcome = status; });
    site.loop->run_for(2s);
    return outcome.ok();
  };
  int others = 0, pages = 0;
  while (others < 100 && store(text("session/", others), 8000)) ++others;
  CHECK(others == 19);
  while (pages < 100 && store(text("windows/", pages), 8000)) ++pages;
  CHECK(pages >= 12);
  CHECK(site.log->stats().state_bytes <= site.log->stats().state_bytes_max);
  // What windows give back is still theirs, also after a restart.
  CHECK(store("windows/0", 0));
  CHECK_FALSE(store("session/more", 7900));
  site.stop();
  site.open();
  CHECK_FALSE(store("session/more", 7900));
  CHECK(store("windows/0", 8000));
  // Who makes his own smaller is never refused.
  CHECK(store("session/0", 4000));
}

TEST_CASE("state: readings are not refused with the states that were to come with them") {
  Site site(1 << 20);
  while (site.put(1, 1 << 20, 8000).ok()) {}
  const std::uint64_t refused = site.log->stats().refused_states;
  WriteSet set;
  Record record;
  record.device = "d", record.metric = "m", record.value = 1.5;
  set.records.emplace_back(Lane::raw, record);
  set.states.push_back(
      {"retained.in", to_bytes(std::string(64 << 10, 'x')), WriteSet::State::NoRoom::left_out});
  set.states.push_back(
      {"format/in/f/p", to_bytes(std::string(64 << 10, 'x')), WriteSet::State::NoRoom::removed});
  set.urgent = true;
  const Sequence before = site.log->last_committed();
  Status outcome{Code::closed, "not told"};
  site.log->commit(std::move(set), [&](const Status& status) { outcome = status; });
  site.loop->run_for(1s);
  CHECK(outcome.ok());
  CHECK(site.log->last_committed() == before + 1);
  CHECK((site.log->stats().refused_states == refused && site.log->stats().left_out_states == 2));
  CHECK_FALSE(site.log->state("retained.in"));
}

TEST_CASE("state: one flipped bit of a cursor, or of any entry, loses no record and is told") {
  Rng rng(seed());
  // Every bit of a cursor's value; then bits anywhere in the files.
  const auto build = [](Site& site) {
    for (int i = 0; i < 4; ++i) {
      site.raw(25);
      REQUIRE(site.put(20, 40, 200).ok());
    }
    site.settle("cloud", {1, 30});
    site.settle("central", {1, 10});
    site.stop();
  };
  const auto look = [](Site& site) {
    site.open();
    site.loop->run_for(5s);
    const std::uint64_t central = site.comes("central"), cloud = site.comes("cloud");
    const LaneLedger ledger = site.log->ledger("central", Lane::raw);
    const std::uint64_t told =
        ledger.settled[static_cast<std::size_t>(How::unreadable)] + site.log->stats().vanished_records;
    CHECK(central + told >= 90);
    CHECK(cloud + told >= 70);
    CHECK(ledger.unsettled() == central);
    CHECK(site.log->ledger("cloud", Lane::raw).unsettled() == cloud);
    std::size_t missing = 0;
    for (const auto& [name, value] : site.states) {
      const auto now = site.log->state(name);
      if (!now) ++missing;
      else CHECK(*now == to_bytes(value));
    }
    // Where a page of the table itself makes no sense, all of it begins anew, and a file is set aside.
    if (site.log->stats().files_set_aside == 0) CHECK(missing <= site.log->stats().damaged_states);
    if (central != 90 || cloud != 70)
      CHECK(site.log->stats().damaged_states + site.log->stats().files_set_aside +
                site.log->stats().lost_records >
            0);
    // What was mended stays mended.
    site.stop();
    site.open();
    CHECK(site.log->stats().damaged_states == 0);
    CHECK(site.comes("central") == central);
  };
  {
    Site whole(1 << 20);
    build(whole);
    const std::string& bytes = whole.disk.files.at("seg-00000001.db")->now;
    const std::size_t at = bytes.find("cursor/raw/central");
    REQUIRE(at != std::string::npos);
    for (std::size_t bit = 0; bit < (18 + 14) * 8; bit += effort() >= 5 ? 1 : 5) {
      Site site(1 << 20);
      build(site);
      site.disk.files.at("seg-00000001.db")->now[at + bit / 8] ^= static_cast<char>(1 << bit % 8);
      INFO("bit ", bit, " of the cursor's entry");
      look(site);
      site.log.reset();
    }
  }
  for (int round = 0; round < 60 * effort(); ++round) {
    Site site(1 << 20);
    build(site);
    std::vector<std::string> names;
    for (const auto& [name, file] : site.disk.files) {
      if ((name.ends_with(".db") || name.starts_with("state-")) && !file->now.empty()) names.push_back(name);
    }
    const std::string name = names[rng.below(names.size())];
    std::string& bytes = site.disk.files.at(name)->now;
    const std::size_t at = rng.below(bytes.size());
    bytes[at] ^= static_cast<char>(1 << rng.below(8));
    INFO("round ", round, " ", name, " at ", at);
    look(site);
  }
}

TEST_CASE(
    "versions: a log of format 2 is read as it is and goes on in today's; its state is checksummed from then on") {
  GoldenLog golden("log-2");
  for (const bool again : {false, true}) {
    golden.open();
    SqliteLog& log = *golden.log;
    REQUIRE(log.state("endpoint/a"));
    CHECK(log.state("endpoint/a")->size() == 9000);
    CHECK(log.stats().damaged_states == 0);
    CHECK(log.epoch() == 99);  // the folder was copied
    if (again) break;
    WriteSet set;
    set.states.push_back({"y", to_bytes("14")});
    set.urgent = true;
    log.commit(std::move(set), {});
    bool stopped = false;
    golden.loop->run_for(1s);
    log.stop([&] { stopped = true; });
    REQUIRE(golden.loop->run_until([&] { return stopped; }, 10s));
  }
}

}  // namespace log_state_test
