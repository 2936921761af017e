// A disk that others fill, or that fails: nothing is evicted for it, nothing new is acknowledged, what is
// stored is kept, read, delivered and settled, and the log goes on by itself once it can.
#include <doctest/doctest.h>

#include <cerrno>
#include <functional>
#include <set>

#include "base/rng.h"
#include "base/text.h"
#include "log/settle_note.h"
#include "log/sqlite_log.h"
#include "log/trouble.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "tests/support/seed.h"

namespace log_full_test {
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
  std::uint64_t acknowledged = 0;
  std::set<Sequence> arrived;

  explicit Site(WhenFull when_full = WhenFull::evict, std::uint64_t bytes_max = 8 << 20) {
    options.vfs = disk.vfs();
    options.bytes_max = bytes_max;
    options.segment_bytes = 64 << 10;
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
    loop->run_for(2s);
  }
  // As an input does: what the log does not accept is not offered.
  void raw(int count) {
    if (!log->accepting()) return;
    WriteSet set;
    for (int i = 0; i < count; ++i) {
      Record record;
      record.device = "d";
      record.metric = "m";
      record.time = {1'700'000'000'000'000};
      record.value = rng.unit();
      set.records.emplace_back(Lane::raw, std::move(record));
    }
    set.urgent = true;
    log->commit(std::move(set), [this, count](const Status& status) {
      if (status.ok()) acknowledged += static_cast<std::uint64_t>(count);
    });
    loop->run_for(100ms);
  }
  void fill(std::uint64_t bytes) {
    while (log->stats().bytes_used < bytes && log->accepting()) raw(500);
  }
  void others_fill() {
    disk.bytes_max = disk.used();
    disk.others_take_all = true;
  }
  void room_again() {
    disk.bytes_max = UINT64_MAX;
    disk.others_take_all = false;
  }
  // Reads what is not settled and settles it, as a shipper does, up to about `records`; how many of them came
  // for the first time.
  std::uint64_t deliver(std::uint64_t records = UINT64_MAX) {
    const std::size_t begin = arrived.size();
    for (int quiet = 0; quiet < 5 && arrived.size() - begin < records;) {
      const std::size_t before = arrived.size();
      for (const Lane lane : {Lane::alarm, Lane::raw}) {
        const auto open = log->unsettled("up", lane);
        if (open.empty()) continue;
        log->read(lane, open.front(), Log::Direction::up, 32 << 10,
                  [&](const Result<std::vector<Row>>& rows) {
                    REQUIRE(rows.ok());
                    WriteSet set;
                    Sequence from = open.front().first;
                    for (const Row& row : rows.value()) {
                      for (Sequence n = std::max(from, row.first); lane == Lane::raw && n <= row.last(); ++n)
                        arrived.insert(n);
                      set.settles.push_back({"up", lane, {from, row.last()}, row.count, How::delivered});
                      from = row.last() + 1;
                    }
                    if (rows.value().empty())
                      set.settles.push_back({"up", lane, open.front(), 0, How::delivered});
                    log->commit(std::move(set), {});
                  });
        loop->run_for(50ms);
      }
      quiet = arrived.size() == before ? quiet + 1 : 0;
    }
    return arrived.size() - begin;
  }
  std::size_t segments() const {
    std::size_t count = 0;
    for (const auto& [name, file] : disk.files) count += name.starts_with("seg-") && name.ends_with(".db");
    return count;
  }
  std::uint64_t settled(How how) const {
    return log->ledger("up", Lane::raw).settled[static_cast<std::size_t>(how)];
  }
};

struct Fault {
  const char* name;
  std::function<void(Site&)> begins, ends;
};

void quota(Site& site, bool used_up) {
  site.disk.full_error = used_up ? EDQUOT : ENOSPC;
  used_up ? site.others_fill() : site.room_again();
}
void no_descriptor(Site& site, bool lacking) {
  site.disk.lack_from = 0;
  site.disk.lack_for = lacking ? UINT64_MAX / 4 : 0;
  site.disk.fail_writes = lacking;
}
const Fault faults[] = {
    {"others fill the disk, and take what is freed", [](Site& s) { s.others_fill(); },
     [](Site& s) { s.room_again(); }},
    {"a quota is used up", [](Site& s) { quota(s, true); }, [](Site& s) { quota(s, false); }},
    {"writes fail", [](Site& s) { s.disk.fail_writes = true; }, [](Site& s) { s.disk.fail_writes = false; }},
    {"syncs fail", [](Site& s) { s.disk.fail_syncs = true; }, [](Site& s) { s.disk.fail_syncs = false; }},
    {"no descriptor is left", [](Site& s) { no_descriptor(s, true); },
     [](Site& s) { no_descriptor(s, false); }},
};

}  // namespace

TEST_CASE(
    "log: whatever the disk refuses, below its own bound nothing is evicted and nothing new is acknowledged") {
  for (const Fault& fault : faults) {
    for (const WhenFull when_full : {WhenFull::evict, WhenFull::block}) {
      // Quick looks at one of the two for each fault, which moves with the seed.
      const auto turn = static_cast<std::uint64_t>(&fault - &*std::begin(faults)) + seed();
      if (effort() < 5 && turn % 2 == static_cast<std::uint64_t>(when_full == WhenFull::block)) continue;
      INFO(fault.name, ", when_full ", static_cast<int>(when_full));
      Site site(when_full);
      site.fill(2 << 20);
      const std::uint64_t stored = site.acknowledged;
      CHECK(stored > 10'000);
      fault.begins(site);
      for (int i = 0; i < 60; ++i) {
        site.raw(500);
        site.loop->run_for(1s);
      }
      CHECK(site.acknowledged <= stored + 1000);  // what still found room in files that were there
      CHECK_FALSE(site.log->accepting());
      CHECK_FALSE(site.log->stats().trouble.empty());
      CHECK(site.log->stats().evicted_records == 0);
      CHECK(site.log->ledger("up", Lane::raw).unsettled() >= stored);
      fault.ends(site);
      site.loop->run_for(15s);
      CHECK(site.log->stats().trouble.empty());
      CHECK(site.log->accepting());
      site.raw(500);
      CHECK(site.deliver() == site.acknowledged);
      CHECK(site.log->stats().evicted_records == 0);
      CHECK(site.log->stats().lost_records == 0);
    }
  }
}

TEST_CASE("log: its own bound evicts as ever; once nothing can be written not even that does") {
  Site site(WhenFull::evict, 1 << 20);
  for (int i = 0; i < 400; ++i) site.raw(500);
  const std::uint64_t evicted = site.log->stats().evicted_records;
  CHECK(evicted > 0);
  site.others_fill();
  for (int i = 0; i < 100; ++i) {
    site.raw(500);
    site.loop->run_for(1s);
  }
  // What the bound asked for before the disk refused, at most: a segment.
  CHECK(site.log->stats().evicted_records - evicted < 12'000);
  const std::uint64_t then = site.log->stats().evicted_records;
  site.loop->run_for(1h);
  CHECK(site.log->stats().evicted_records == then);
  site.room_again();
  site.loop->run_for(15s);
  CHECK(site.deliver() + site.settled(How::evicted) == site.acknowledged);
  CHECK(site.disk.used() <= site.options.bytes_max);
}

TEST_CASE(
    "log: a full disk is drained; what is delivered is given back, and stays delivered after a kill or a cut") {
  for (const bool power : {false, true}) {
    for (const bool whole : {false, true}) {
      INFO("power ", power, " whole ", whole);
      Site site;
      site.fill(2 << 20);
      const std::size_t before = site.segments();
      CHECK(before > 15);
      site.others_fill();
      while (site.log->stats().trouble.empty()) site.raw(500);
      const std::uint64_t stored = site.acknowledged;
      const std::uint64_t delivered = site.deliver(whole ? UINT64_MAX : stored / 2);
      site.loop->run_for(1min);  // nothing is committed: a try every ten seconds at most
      CHECK(site.segments() <= (whole ? 2 : before / 2 + 3));
      CHECK(site.disk.used() == site.disk.bytes_max);  // others have it all
      site.log.reset();
      if (power) site.disk.cut_power();
      site.open();
      CHECK(site.log->stats().lost_records == 0);
      CHECK(site.log->stats().vanished_records == 0);
      CHECK(site.log->ledger("up", Lane::raw).unsettled() <= stored - delivered);
      CHECK(site.settled(How::delivered) == delivered);
      site.room_again();
      site.loop->run_for(15s);
      CHECK(site.log->stats().trouble.empty());
      const std::uint64_t rest = site.deliver();
      CHECK(delivered + rest == stored);
      site.raw(500);
      CHECK(site.deliver() == 500);
      CHECK(site.log->stats().lost_records == 0);
      site.loop->run_for(1min);
      CHECK(site.segments() <= 2);
    }
  }
}

TEST_CASE(
    "log: what was settled together with something that could not be written is kept, and comes again") {
  Site site;
  site.log->subscribe({"@windows", {Lane::raw}, Subscription::Start::oldest});
  site.fill(1 << 20);
  site.others_fill();
  while (site.log->stats().trouble.empty()) site.raw(500);
  const std::size_t before = site.segments();
  const auto open = site.log->unsettled("@windows", Lane::raw);
  CHECK(site.deliver() == site.acknowledged);
  // Windows settle with their state, in one commit or not at all.
  WriteSet set;
  const Range all{open.front().first, site.log->last_committed()};
  set.settles.push_back({"@windows", Lane::raw, all, site.acknowledged, How::delivered});
  set.states.push_back({"windows/head", to_bytes("state")});
  site.log->commit(std::move(set), {});
  site.loop->run_for(1min);
  CHECK(site.segments() == before);
  site.open();
  site.log->subscribe({"@windows", {Lane::raw}, Subscription::Start::oldest});
  CHECK(site.log->unsettled("up", Lane::raw).empty());
  CHECK(site.log->ledger("@windows", Lane::raw).unsettled() == site.acknowledged);
  CHECK_FALSE(site.log->state("windows/head"));
}

TEST_CASE("log: a note beside a commit that came through all the same counts what it settles once") {
  Site site;
  const auto put = [&](Lane lane) {
    WriteSet set;
    for (int i = 0; i < 10; ++i) {
      Record record;
      record.device = "d";
      record.value = 1.0;
      set.records.emplace_back(lane, std::move(record));
    }
    set.urgent = true;
    site.log->commit(std::move(set), {});
    site.loop->run_for(100ms);
  };
  const auto settle = [&](Range range, std::uint64_t records) {
    WriteSet set;
    set.settles.push_back({"up", Lane::raw, range, records, How::delivered});
    site.log->commit(std::move(set), {});
    site.loop->run_for(5s);
  };
  const Sequence before = site.log->last_committed();
  for (const Lane lane : {Lane::raw, Lane::window, Lane::raw}) put(lane);
  site.others_fill();
  site.disk.fail_writes = true;
  settle({before + 1, before + 5}, 5);
  REQUIRE_FALSE(site.log->stats().trouble.empty());
  site.disk.fail_writes = false;  // the note can be written
  settle({before + 6, before + 20}, 5);
  site.loop->run_for(20s);
  site.room_again();
  CHECK(site.loop->run_until([&] { return site.log->stats().trouble.empty(); }, 1min));
  site.open();  // the group is on flash, what came after it is in the note
  CHECK(site.log->unsettled("up", Lane::raw).front().first == before + 21);
  CHECK(site.settled(How::delivered) == 10);
  CHECK(site.log->ledger("up", Lane::raw).unsettled() == 10);
}

TEST_CASE("log: a note of what is settled lies in two places, and a torn one leaves the one before") {
  SimDisk disk(seed());
  const auto folder = disk.folder();
  SettleNote note(*folder);
  REQUIRE(note.take_space().ok());
  CHECK_FALSE(note.read().value());
  disk.bytes_max = disk.used();
  std::vector<WriteSet::Settle> settles;
  for (Sequence first = 1; first <= 991; first += 10) {
    add_settle(settles, {"up", Lane::raw, {first, first + 9}, 10, How::delivered});
  }
  add_settle(settles, {"up", Lane::raw, {2001, 2010}, 10, How::delivered});
  CHECK(settles.size() == 2);
  REQUIRE(note.write({42, 1, settles, {3, 4}}).ok());
  REQUIRE(note.write({42, 2, settles, {3, 4, 5}}).ok());
  auto newest = note.read().value();
  REQUIRE(newest);
  CHECK((newest->epoch == 42 && newest->serial == 2));
  CHECK(newest->given_back == std::vector<std::uint32_t>{3, 4, 5});
  CHECK(newest->settles.size() == 2);
  CHECK((newest->settles[0].range == Range{1, 1000} && newest->settles[0].records == 1000));
  disk.files.at(SettleNote::file_name)->now[20] ^= 1;
  newest = note.read().value();
  REQUIRE(newest);
  CHECK(newest->serial == 1);
  CHECK(note.write({42, 3, std::vector(1000, settles[0]), {}}).code() == Code::full);
  CHECK(note.read().value()->serial == 1);
}

TEST_CASE("log: trouble is told with what is free, of what, and who has it") {
  const Status full{Code::full, "INSERT INTO rows(first) VALUES(?): No space left on device"};
  DiskSpace disk{64 << 20, 0, "ext4", false, false};
  std::string words = words_of_trouble(full, "/var/lib/millrace/log", disk, 16 << 20, 32 << 20);
  CHECK(
      words ==
      "No space left on device: /var/lib/millrace/log (ext4) has 0 B free of 64.0 MiB, the log takes 16.0 MiB "
      "of its 32.0 MiB; something else takes 48.0 MiB of it and fills it");
  words = words_of_trouble(full, "/log", disk, 16 << 20, 512 << 20);
  CHECK(words.find("log.max_size is more than this file system holds") != std::string::npos);
  disk.free = 8 << 20;
  words = words_of_trouble({Code::full, "write mark: Disk quota exceeded"}, "/log", disk, 1 << 20, 32 << 20);
  CHECK(words.find("Disk quota exceeded") == 0);
  CHECK(words.find("a quota") != std::string::npos);
  // Room for bytes and none for files, as on a card full of small ones.
  disk.files_left = 1;
  words = words_of_trouble({Code::io, "unable to open database file"}, "/log", disk, 1 << 20, 32 << 20);
  CHECK(words ==
        "unable to open database file; /log (ext4) has 8.0 MiB free but too few inodes: other files must go");
  words = words_of_trouble(full, "/log", disk, 1 << 20, 32 << 20);
  CHECK(words.find("other files must go, however small") != std::string::npos);
  CHECK(words.find("a quota") == std::string::npos);
  disk.files_left = 1000;
  disk.read_only = true;
  words =
      words_of_trouble({Code::io, "open /log/seg: Read-only file system"}, "/log", disk, 1 << 20, 32 << 20);
  CHECK(words.find("mounted read-only") != std::string::npos);
  CHECK(words_of_trouble({Code::io, "as it is"}, "/log", std::nullopt, 0, 0) == "as it is");
}

}  // namespace log_full_test
