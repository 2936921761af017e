// The log of another version that goes while somebody takes a device out of the logs.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/rng.h"
#include "leftover.h"
#include "log/sqlite.h"
#include "log_commands.h"
#include "record/batch.h"
#include "sim/world/sim_loop.h"
#include "tests/support/seed.h"

namespace leftover_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

constexpr int letters_of_each = 15;

Record letter(const std::string& device, Rng& rng) {
  DeadDetail dead;
  dead.consumer = "devices";
  dead.source = DeadDetail::Source::input;
  for (int i = 0; i < 60'000; ++i) dead.payload.push_back(static_cast<std::byte>(rng.below(256)));
  auto detail = std::make_shared<Detail>();
  detail->body = std::move(dead);
  Record record;
  record.kind = Kind::dead;
  record.device = device;
  record.time = {1'700'000'000'000'000};
  record.detail = std::move(detail);
  return record;
}

// A log of ours, and one that another version left beside it: dead letters of two devices are all it has,
// some pages of them.
struct Site {
  std::string path = std::filesystem::temp_directory_path() / "millrace-XXXXXX";
  SimLoop loop;
  std::unique_ptr<Folder> folder;
  std::unique_ptr<SqliteLog> log;
  std::vector<std::unique_ptr<Leftover>> leftovers;
  std::unique_ptr<LogCommands> commands;
  bool removed = false;

  explicit Site(const LogOptions& ours = {}, const std::function<void(const std::string&)>& meanwhile = {}) {
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    leave_a_log(path + "/" + folder_beside(log_format));
    if (meanwhile) meanwhile(path + "/" + folder_beside(log_format));
    folder = open_folder(path);
    log = opened(*folder, 1, ours);
    leftovers = Leftover::find(loop, path, LogOptions{}, 2);
    REQUIRE(leftovers.size() == 1);
    const auto nobody = [](const UplinkPlan&, Log&) { return std::unique_ptr<UplinkPart>(); };
    leftovers[0]->begin(
        nobody, [](const UplinkPlan&) { return true; }, [] {});
    commands = std::make_unique<LogCommands>(loop, *log, nullptr, [this] {
      std::vector<SqliteLog*> logs;
      for (const auto& leftover : leftovers) logs.push_back(&leftover->log());
      return logs;
    });
  }
  ~Site() {
    leftovers.clear();
    log.reset();
    std::filesystem::remove_all(path);
  }

  std::unique_ptr<SqliteLog> opened(Folder& where, std::uint64_t epoch, const LogOptions& options = {}) {
    auto made = SqliteLog::open(loop, where, options, epoch);
    REQUIRE(made.ok());
    return std::move(made).value();
  }
  void leave_a_log(const std::string& where) {
    REQUIRE(make_folders(where).ok());
    const auto beside = open_folder(where);
    const auto left = opened(*beside, 3);
    Rng rng{seed()};
    for (int i = 0; i < letters_of_each; ++i) {
      WriteSet set;
      for (const char* device : {"gone", "stays"}) set.records.emplace_back(Lane::dead, letter(device, rng));
      left->commit(std::move(set), {});
      loop.run_for(2s);
    }
    left->stop([] {});
    loop.run_for(2s);
  }
  void retire() {
    leftovers[0]->retire(*log, [this] {
      loop.post([this] {
        leftovers.clear();
        removed = true;
      });
    });
  }
  // What `millrace log forget` is answered.
  std::string forget(const std::string& device) {
    std::string answer;
    commands->table().at("log.forget").run({{"device", device}}, [&](std::string json) { answer = json; });
    CHECK(loop.run_until([&] { return !answer.empty(); }, 60s));
    return answer;
  }
  std::map<std::string, int> letters() {
    std::map<std::string, int> devices;
    for (Sequence from = 1; from <= log->last_committed();) {
      std::vector<Row> rows;
      log->read(Lane::dead, {from, UINT64_MAX}, Log::Direction::up, 16 << 20,
                [&](const Result<std::vector<Row>>& read) {
                  REQUIRE(read.ok());
                  rows = read.value();
                });
      loop.run_for(1s);
      if (rows.empty()) break;
      for (const Row& row : rows) {
        std::vector<Record> records;
        REQUIRE(decode_batch(*row.columns, row.zstd, records).ok());
        for (const Record& record : records) ++devices[record.device];
      }
      from = rows.back().last() + 1;
    }
    return devices;
  }
};

}  // namespace

TEST_CASE("leftover: a device that is forgotten while its dead letters are carried is in no log afterwards") {
  for (int late = 0; late < 25; ++late) {
    Site site;
    site.retire();
    site.loop.run_for(std::chrono::milliseconds(4 * late));
    std::string answer = site.forget("gone");
    // Its log was being closed: whoever asks again finds what there was of it in ours.
    if (answer.find("ask again") != std::string::npos) answer = site.forget("gone");
    INFO("late by ", 4 * late, " ms: ", answer);
    CHECK(answer.find("forgotten") != std::string::npos);
    CHECK(site.loop.run_until([&] { return site.removed; }, 60s));
    CHECK_FALSE(std::filesystem::exists(site.path + "/" + folder_beside(log_format)));
    const auto letters = site.letters();
    CHECK(letters.size() == 1);
    CHECK(letters.at("stays") == letters_of_each);
  }
}

TEST_CASE("leftover: dead letters that ours has no room for wait, and all are there once it has") {
  LogOptions options;
  options.bytes_max = 32 << 20;
  options.when_full = WhenFull::block;
  Site site(options);
  site.log->subscribe({"up", {Lane::raw}, Subscription::Start::oldest});
  Rng rng{seed()};
  // Readings may still come, dead letters not.
  const auto letters_wait = [&] { return site.log->why_not(Lane::dead, 1000) != nullptr; };
  while (!letters_wait()) {
    WriteSet set;
    Record blob = letter("pump", rng);
    blob.kind = Kind::reading;
    blob.metric = "picture";
    blob.value = std::get<DeadDetail>(blob.detail->body).payload;
    blob.detail = nullptr;
    set.records.emplace_back(Lane::raw, std::move(blob));
    set.urgent = true;
    site.log->commit(std::move(set), {});
    site.loop.run_for(50ms);
  }
  REQUIRE(site.log->accepting());
  site.retire();
  site.loop.run_for(30s);
  CHECK_FALSE(site.removed);
  CHECK(site.log->stats().refused_records == 0);
  WriteSet delivered;
  for (const Range& open : site.log->unsettled("up", Lane::raw))
    delivered.settles.push_back({"up", Lane::raw, open, open.last - open.first + 1, How::delivered});
  site.log->commit(std::move(delivered), {});
  CHECK(site.loop.run_until([&] { return site.removed; }, 60s));
  CHECK(site.log->stats().refused_records == 0);
  CHECK(site.letters() == std::map<std::string, int>{{"gone", letters_of_each}, {"stays", letters_of_each}});
}

TEST_CASE("leftover: one whose files were going when the process ended is no log any more, and goes") {
  std::string half_gone;
  Site site({}, [&](const std::string& folder) {
    // As it is left there by a process that ended after some of its files.
    half_gone = folder + ".going";
    std::filesystem::copy(folder, half_gone);
    std::filesystem::remove(half_gone + "/" + anchor_name);
  });
  CHECK_FALSE(std::filesystem::exists(half_gone));
  site.retire();
  CHECK(site.loop.run_until([&] { return site.removed; }, 60s));
  CHECK_FALSE(std::filesystem::exists(site.path + "/" + folder_beside(log_format)));
  CHECK_FALSE(std::filesystem::exists(half_gone));
  CHECK(site.letters() == std::map<std::string, int>{{"gone", letters_of_each}, {"stays", letters_of_each}});
}

TEST_CASE("leftover: how far letters were carried is known as long as their log is there, also over kills") {
  Site site;
  const auto known = [&] {
    Leftover::forget_gone(*site.log, site.path, site.leftovers);
    site.loop.run_for(2s);
    return site.log->states("leftover/");
  };
  WriteSet set;
  // Of the one there is, and of one whose folder went just before the process ended.
  for (const char* name : {"leftover/3", "leftover/99"}) set.states.push_back({name, to_bytes("1")});
  site.log->commit(std::move(set), {});
  const std::string unopened = site.path + "/" + folder_beside(log_format + 1);
  REQUIRE(make_folders(unopened).ok());
  CHECK(known() == std::vector<std::string>{"leftover/3", "leftover/99"});  // it may be of that
  std::filesystem::remove(unopened);
  CHECK(known() == std::vector<std::string>{"leftover/3"});
  site.retire();
  CHECK(site.loop.run_until([&] { return site.removed; }, 60s));
  CHECK(known().empty());
}

TEST_CASE("leftover: dead letters of it that cannot be read are told in ours, and the others are there") {
  int spoiled = 0;
  // Bytes that are no batch, and yet what was written: their checksum is right.
  Site site({}, [&](const std::string& folder) {
    auto db = Database::open(folder + "/" + segment_name(1), Database::Mode::write, "");
    REQUIRE(db.ok());
    auto select = db.value().prepare("SELECT first,count FROM rows WHERE lane=? ORDER BY first");
    auto update = db.value().prepare("UPDATE rows SET columns=?,crc=?,zstd=0 WHERE first=?");
    REQUIRE(select.ok());
    REQUIRE(update.ok());
    select.value().bind(1, static_cast<std::int64_t>(Lane::dead));
    std::vector<Row> rows;
    while (select.value().step().value()) {
      rows.push_back({Lane::dead, static_cast<Sequence>(select.value().integer(0)),
                      static_cast<std::uint32_t>(select.value().integer(1)), false, nullptr});
    }
    REQUIRE(rows.size() > 3);
    const Bytes bytes(60'000, std::byte{0xff});
    for (const std::size_t at : {std::size_t{1}, rows.size() - 1}) {
      spoiled += static_cast<int>(rows[at].count);
      REQUIRE(update.value()
                  .bind(1, BytesView(bytes))
                  .bind(2, static_cast<std::int64_t>(row_crc(rows[at], bytes)))
                  .bind(3, static_cast<std::int64_t>(rows[at].first))
                  .run()
                  .ok());
    }
    REQUIRE(db.value().checkpoint(true).ok());
  });
  site.log->subscribe({"up", {Lane::alarm}, Subscription::Start::oldest});
  site.retire();
  CHECK(site.loop.run_until([&] { return site.removed; }, 60s));
  int letters = 0;
  for (const auto& [device, count] : site.letters()) letters += count;
  CHECK(letters == 2 * letters_of_each - spoiled);
  int told = 0;
  std::vector<Row> rows;
  site.log->read(Lane::alarm, {1, UINT64_MAX}, Log::Direction::up, 4 << 20,
                 [&](const Result<std::vector<Row>>& read) { rows = read.value(); });
  site.loop.run_for(1s);
  for (const Row& row : rows) {
    std::vector<Record> records;
    REQUIRE(decode_batch(*row.columns, row.zstd, records).ok());
    for (const Record& record : records) {
      REQUIRE(record.kind == Kind::loss);
      CHECK(record.metric == lane_name(Lane::dead));
      const auto& loss = std::get<LossDetail>(record.detail->body);
      CHECK(loss.reason == "unreadable");
      told += static_cast<int>(loss.count);
    }
  }
  CHECK(told == spoiled);
}

}  // namespace leftover_test
