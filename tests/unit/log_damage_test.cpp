// What happens to files: flipped bits, zeroed pages, truncation, missing files, copies, other versions.
#include <doctest/doctest.h>

#include <filesystem>

#include "base/rng.h"
#include "base/text.h"
#include "log/salvage.h"
#include "log/sqlite.h"
#include "log/sqlite_log.h"
#include "log/state_table.h"
#include "record/batch.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "tests/support/golden_log.h"
#include "tests/support/seed.h"

namespace log_damage_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t per_row = 200;

struct Site {
  SimDisk disk{seed()};
  std::unique_ptr<Folder> folder = disk.folder();
  std::unique_ptr<SimLoop> loop = std::make_unique<SimLoop>();
  std::unique_ptr<SqliteLog> log;
  LogOptions options;
  Rng rng{seed()};
  std::uint64_t sent = 0;
  std::map<Sequence, double> given;  // what was committed under each number of the raw lane

  Site() {
    options.vfs = disk.vfs();
    options.bytes_max = 8 << 20;
    options.segment_bytes = 64 << 10;
    options.cache_bytes = 0;
    open();
  }
  void open(std::uint64_t epoch_seed = 7) {
    loop = std::make_unique<SimLoop>();
    auto opened = SqliteLog::open(*loop, *folder, options, epoch_seed);
    REQUIRE(opened.ok());
    log = std::move(opened).value();
    log->subscribe({"up", {Lane::alarm, Lane::raw}, Subscription::Start::oldest});
  }
  void append() {
    WriteSet set;
    std::vector<double> values;
    for (std::uint64_t i = 0; i < per_row; ++i) {
      Record record;
      record.device = text("d", sent % 3);
      record.metric = "m";
      record.time = {1'700'000'000'000'000 + static_cast<std::int64_t>(sent) * 1'000'000};
      values.push_back(rng.unit());
      record.value = values.back();
      set.records.emplace_back(Lane::raw, record);
      ++sent;
    }
    set.urgent = true;
    log->commit(std::move(set), {});
    loop->run_for(1s);
  }
  // Every raw reading that can be read; the count of rows comes back by reference.
  std::uint64_t readable() {
    std::uint64_t records = 0;
    for (Sequence from = 1; from <= log->last_committed();) {
      std::vector<Row> rows;
      bool done = false;
      // as a shipper does: an error is a reason to try again
      for (int tries = 0; tries < 10 && !done; ++tries) {
        log->read(Lane::raw, {from, log->last_committed()}, Log::Direction::up, 256 << 10,
                  [&](Result<std::vector<Row>> read) {
                    done = read.ok();
                    if (read.ok()) rows = read.value();
                  });
        loop->run_for(10s);
      }
      CHECK(done);
      if (rows.empty()) break;
      for (const Row& row : rows) {
        std::vector<Record> decoded;
        REQUIRE(decode_batch(*row.columns, row.zstd, decoded).ok());
        records += decoded.size();
      }
      from = rows.back().last() + 1;
    }
    return records;
  }
  std::uint64_t lost() const {
    const LaneLedger ledger = log->ledger("up", Lane::raw);
    return ledger.settled[static_cast<std::size_t>(How::unreadable)] + log->stats().vanished_records;
  }
  std::string pick(const char* suffix) {
    std::vector<std::string> names;
    for (const auto& [name, file] : disk.files) {
      if (name.starts_with("seg-") && name.ends_with(suffix) && !file->now.empty()) names.push_back(name);
    }
    return names.empty() ? "" : names[rng.below(names.size())];
  }
};

}  // namespace

TEST_CASE("damage: whatever happens to one file, whole readings are delivered and the others are counted") {
  Rng rng(seed());
  std::uint64_t flips = 0, flip_losses = 0;
  for (int round = 0; round < 25 * effort(); ++round) {
    Site site;
    const int rows = 20 + static_cast<int>(rng.below(40));
    for (int i = 0; i < rows; ++i) site.append();
    site.loop->run_for(10s);  // the mark is up to date
    const bool clean = rng.chance(0.3);
    if (clean) {
      bool stopped = false;
      site.log->stop([&] { stopped = true; });
      REQUIRE(site.loop->run_until([&] { return stopped; }, 10s));
    }
    site.log.reset();
    const std::string name = site.pick(rng.chance(0.4) ? "-wal" : ".db");
    if (name.empty()) continue;
    std::string& bytes = site.disk.files.at(name)->now;
    const int kind = static_cast<int>(rng.below(5));
    INFO("round ", round, " kind ", kind, " of ", name, " clean ", clean);
    switch (kind) {
      case 0: bytes[rng.below(bytes.size())] ^= static_cast<char>(1 << rng.below(8)); break;
      case 1:
        bytes.replace(rng.below(bytes.size() / 4096 + 1) * 4096 % bytes.size(),
                      std::min<std::size_t>(4096, bytes.size()), std::min<std::size_t>(4096, bytes.size()),
                      '\0');
        break;
      case 2: bytes.resize(rng.below(bytes.size())); break;
      case 3: site.disk.files.erase(name); break;
      default:
        for (char& c : bytes) c = static_cast<char>(rng.next());
    }
    site.open();
    site.loop->run_for(10s);
    std::uint64_t read = site.readable();
    // A second start finds nothing new: what was mended stays mended.
    const std::uint64_t lost = site.lost();
    CHECK(read + lost == site.sent);
    if (kind == 0) {
      ++flips;
      flip_losses += lost;
      CHECK(lost <= 3 * per_row);
    }
    site.append();
    const std::uint64_t again = site.readable();
    CHECK(again == read + per_row);
    site.log.reset();
    site.open();
    site.loop->run_for(10s);
    CHECK(site.readable() == again);
    CHECK(site.log->stats().vanished_records == 0);
  }
  CHECK(flips > 0);
}

TEST_CASE("damage: a bit flips in a file that is in use; reading goes on with what is whole") {
  Rng rng(seed() + 5);
  for (int round = 0; round < 20 * effort(); ++round) {
    Site site;
    for (int i = 0; i < 30; ++i) site.append();
    const std::string name = site.pick(".db");
    std::string& bytes = site.disk.files.at(name)->now;
    const std::size_t at = 4096 + rng.below(bytes.size() - 4096);
    INFO("round ", round, " ", name, " at ", at);
    bytes[at] ^= 1;
    const std::uint64_t read = site.readable();
    const std::uint64_t lost = site.lost();
    CHECK(read + lost == site.sent);
    CHECK(lost <= 3 * per_row);
    for (int i = 0; i < 3; ++i) site.append();
    CHECK(site.readable() == read + 3 * per_row);
  }
}

TEST_CASE("damage: salvage finds every row of a whole segment, in the database and in the -wal") {
  Site site;
  for (int i = 0; i < 25; ++i) site.append();
  std::map<Sequence, std::uint32_t> found;
  for (const auto& [name, file] : site.disk.files) {
    if (name.starts_with("seg-") && name.ends_with(".db")) {
      REQUIRE(salvage_rows(*site.folder, name, [&](const Row& row) { found[row.first] = row.count; }).ok());
      CHECK_FALSE(wal_hides_commits(*site.folder, name).value());
    }
  }
  std::uint64_t records = 0;
  for (const auto& [first, count] : found) records += count;
  CHECK(records == site.sent);
}

TEST_CASE("copies: a clone, a restored folder and a log that lost its tail never give an identity twice") {
  struct Given {
    std::uint64_t epoch;
    Sequence first, last;
  };
  const auto overlap = [](const std::vector<Given>& given) {
    for (std::size_t i = 0; i < given.size(); ++i) {
      for (std::size_t k = 0; k < i; ++k) {
        if (given[i].epoch == given[k].epoch && given[i].first <= given[k].last &&
            given[k].first <= given[i].last)
          return true;
      }
    }
    return false;
  };
  const auto copy_of = [](const SimDisk& disk) {
    std::map<std::string, std::string> copy;
    for (const auto& [name, file] : disk.files) copy[name] = file->now;
    return copy;
  };
  const auto put_back = [](SimDisk& disk, const std::map<std::string, std::string>& copy) {
    disk.files.clear();
    for (const auto& [name, bytes] : copy) {
      disk.files[name] = disk.make_file();
      disk.files[name]->now = bytes;
    }
  };
  for (const bool clean : {true, false}) {
    std::vector<Given> given;
    Site site;
    const auto write = [&](Site& where) {
      const Sequence before = where.log->last_committed();
      where.append();
      std::vector<Row> rows;
      where.log->read(Lane::raw, {before + 1, UINT64_MAX}, Log::Direction::up, 1 << 20,
                      [&](Result<std::vector<Row>> read) { rows = read.value(); });
      where.loop->run_for(5s);
      REQUIRE(rows.size() == 1);
      given.push_back({where.log->epoch(), rows[0].first, rows[0].last()});
    };
    const auto close = [&](Site& where) {
      if (clean) {
        bool stopped = false;
        where.log->stop([&] { stopped = true; });
        REQUIRE(where.loop->run_until([&] { return stopped; }, 10s));
      }
      where.log.reset();
    };
    write(site);
    close(site);
    const auto copy = copy_of(site.disk);
    site.open(21);
    write(site);
    write(site);

    // Restored into the same place, to an older state.
    close(site);
    put_back(site.disk, copy);
    site.open(22);
    write(site);
    CHECK_FALSE(overlap(given));

    // Cloned onto another machine; both go on.
    close(site);
    Site clone;
    clone.log.reset();
    put_back(clone.disk, copy_of(site.disk));
    // an image of the whole card
    for (auto& [name, file] : clone.disk.files) file->inode = site.disk.files.at(name)->inode;
    clone.disk.identity = "another machine";
    clone.open(23);
    site.open(24);
    write(site);
    write(clone);
    write(site);
    write(clone);
    CHECK_FALSE(overlap(given));

    // The tail is gone: the -wal vanishes, as if its sync had lied.
    const auto databases = [&] {
      std::string all;
      for (const auto& [name, file] : site.disk.files) all += name.ends_with(".db") ? file->now : "";
      return all;
    };
    std::string before;
    do {  // until a commit is in the -wal alone
      before = databases();
      write(site);
    } while (databases() != before);
    site.loop->run_for(10s);
    site.log.reset();
    for (auto& [name, file] : site.disk.files) {
      if (name.ends_with("-wal")) file->now.clear();
    }
    site.open(25);
    CHECK(site.log->stats().vanished_records > 0);
    write(site);
    CHECK_FALSE(overlap(given));
    CHECK(given.size() >= 10);
  }
}

TEST_CASE("versions: a log of format 1 is read as it is, goes on in today's, and gives no number twice") {
  GoldenLog golden("log-1");
  golden.open();
  SqliteLog& log = *golden.log;
  CHECK(log.epoch() == 4711);
  REQUIRE(log.inbox_position());
  CHECK(log.inbox_position()->position == 13);
  WriteSet set;
  Record record;
  record.device = "new";
  record.value = 1.0;
  set.records.emplace_back(Lane::raw, record);
  set.urgent = true;
  log.commit(std::move(set), {});
  golden.loop->run_for(5s);
  std::uint64_t records = 0;
  Sequence newest = 0;
  for (Sequence at = 1; at <= log.last_committed();) {
    std::vector<Row> rows;
    log.read(Lane::raw, {at, log.last_committed()}, Log::Direction::up, 64 << 10,
             [&](Result<std::vector<Row>> read) { rows = read.value(); });
    golden.loop->run_for(1s);
    if (rows.empty()) break;
    for (const Row& row : rows) records += row.count;
    newest = rows.back().last();
    at = newest + 1;
  }
  CHECK(records == 7001);
  CHECK(newest > 1'000'000);  // the old process was killed: its reservation is skipped
  // Sealed files stay byte for byte as they are; the old head was closed (its -wal taken in), and a fresh one
  // made.
  CHECK(read_file((golden.from / "seg-00000001.db").string(), 1 << 20).value() ==
        read_file(golden.path + "/seg-00000001.db", 1 << 20).value());
  CHECK(std::filesystem::exists(golden.path + "/seg-00000003.db"));
}

TEST_CASE("versions: a log of a later format is left untouched, and the code says which it is") {
  Site site;
  site.append();
  bool stopped = false;
  site.log->stop([&] { stopped = true; });
  REQUIRE(site.loop->run_until([&] { return stopped; }, 10s));
  site.log.reset();
  {
    auto db = Database::open("/sim/seg-00000001.db", Database::Mode::write, site.disk.vfs());
    REQUIRE(db.ok());
    const std::string later =
        text("UPDATE state SET value=x'07', crc=", state_crc("format", Bytes{std::byte{7}}),
             " WHERE key='format'");
    REQUIRE(db.value().execute(later.c_str()).ok());
    REQUIRE(db.value().checkpoint(true).ok());
  }
  std::map<std::string, std::string> before;
  for (const auto& [name, file] : site.disk.files) before[name] = file->now;
  SimLoop loop;
  const auto opened = SqliteLog::open(loop, *site.folder, site.options, 1);
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.status().code() == Code::newer);
  for (const auto& [name, bytes] : before) CHECK(site.disk.files.at(name)->now == bytes);
}

}  // namespace log_damage_test
