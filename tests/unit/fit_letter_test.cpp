// Dead letters that are too large for a row of the log: their head stays, whoever wrote them.
#include <doctest/doctest.h>

#include "base/text.h"
#include "record/batch.h"
#include "record/fit_letter.h"
#include "record/record_proto.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace fit_letter_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t smallest_row = 128 << 10;  // of a log of 1 MiB

Record letter_of(DeadDetail dead) {
  auto detail = std::make_shared<Detail>();
  detail->body = std::move(dead);
  Record letter;
  letter.kind = Kind::dead;
  letter.detail = std::move(detail);
  return letter;
}

const DeadDetail& detail_of(const Record& letter) { return std::get<DeadDetail>(letter.detail->body); }

}  // namespace

TEST_CASE("letter: what fits stays as it is, and what is no letter, too") {
  DeadDetail dead;
  dead.payload = Bytes(100'000);
  dead.channel = "plant/line-1";
  Record letter = letter_of(dead);
  make_fit(letter, smallest_row);
  CHECK(detail_of(letter).payload.size() == 100'000);
  CHECK(whole_letter(detail_of(letter)).ok());
  Record reading;
  make_fit(reading, 0);
  CHECK(reading.detail == nullptr);
  Record loss = loss_record(Lane::raw, {"", "evicted", 1, 0, 0, {}, 0}, {});
  make_fit(loss, 0);
  CHECK(std::get<LossDetail>(loss.detail->body).count == 1);
}

TEST_CASE("letter: whatever of it is too large, its head fits the row of the smallest log") {
  std::vector<DeadDetail> large(5);
  large[0].payload = Bytes(smallest_row);
  // Every other value of a payload of half a row is missing.
  large[1].payload = Bytes(60'000);
  for (std::uint32_t at = 1; at < 100'000; at += 2) large[1].missing.push_back({at, at + 1});
  large[2].payload = Bytes(30'000);
  for (int i = 0; i < 4; ++i)
    large[2].publisher.properties.emplace_back(text("p", i), std::string(40'000, 'p'));
  // As MQTT 5 allows them: 64 KiB each.
  large[3].payload = Bytes(10);
  large[3].publisher.client_id = large[3].publisher.username = std::string(65'000, 'c');
  large[3].publisher.content_type = std::string(65'000, 't');
  large[4] = large[3];
  large[4].channel = std::string(65'000, 't');
  for (const DeadDetail& dead : large) {
    Record letter = letter_of(dead);
    REQUIRE(encode_record(letter).size() > smallest_row);
    make_fit(letter, smallest_row);
    CHECK(encode_record(letter).size() + 4096 <= smallest_row);
    const DeadDetail& head = detail_of(letter);
    CHECK(head.whole_size == dead.payload.size());
    CHECK(head.payload.size() == std::min(dead.payload.size(), letter_head_bytes));
    CHECK_FALSE(whole_letter(head).ok());
  }
}

TEST_CASE("letter: of the largest record there may be that an uplink refuses the head is kept") {
  World::Options options;
  options.clock = ClockHistory::Kind::steady;
  options.log.bytes_max = 4 << 20;
  World world(seed(), options);
  const std::size_t row_bytes_max = world.log().stats().row_bytes_max;
  REQUIRE(row_bytes_max == 512 << 10);
  world.far_side().poison = [](const Record& record) { return std::holds_alternative<Bytes>(record.value); };
  Record record;
  record.device = "d";
  record.metric = "m";
  Bytes blob(row_bytes_max - 80);
  for (std::byte& b : blob) b = static_cast<std::byte>(world.rng().below(256));
  record.value = blob;
  WriteSet set;
  set.records.emplace_back(Lane::raw, record);
  set.urgent = true;
  world.log().commit(std::move(set), {});
  world.loop().run_for(1min);
  REQUIRE(world.log().ledger("far", Lane::raw).settled[static_cast<std::size_t>(How::dead)] == 1);
  CHECK(world.log().stats().refused_records == 0);
  std::vector<Row> dead;
  world.log().read(Lane::dead, {1, UINT64_MAX}, Log::Direction::up, 4 << 20,
                   [&](Result<std::vector<Row>> rows) { dead = rows.value(); });
  world.loop().run_for(1s);
  REQUIRE(dead.size() == 1);
  std::vector<Record> letters;
  REQUIRE(decode_batch(*dead[0].columns, dead[0].zstd, letters).ok());
  REQUIRE(letters.size() == 1);
  const DeadDetail& letter = detail_of(letters[0]);
  CHECK(letter.reason == "poison");
  CHECK(letter.payload.size() == letter_head_bytes);
  CHECK(letter.whole_size > blob.size());
  CHECK_FALSE(whole_letter(letter).ok());
}

TEST_CASE("letter: of payloads that find no room in the dead lane each is told, also over a kill") {
  World::Options options;
  options.clock = ClockHistory::Kind::steady;
  options.log.bytes_max = 4 << 20;
  options.uplink_up = false;  // no segment goes
  World world(seed(), options);
  std::uint64_t sent = 0, readings = 0;
  const auto send = [&](int count) {
    for (int i = 0; i < count; ++i) {
      std::string payload(10'000, 'x');
      for (std::size_t at = 200; at < payload.size(); ++at)
        payload[at] = static_cast<char>('a' + world.rng().below(26));
      REQUIRE(world.send_raw("dev/x", payload));
      REQUIRE(world.send("a", ++readings, 1));
      ++sent;
      world.loop().run_for(100ms);
    }
  };
  const auto full = [&] {
    const LogStats stats = world.log().stats();
    return stats.dead_bytes > stats.bytes_max / dead_share;
  };
  for (int i = 0; i < 200 && !full(); ++i) send(1);
  REQUIRE(full());
  send(30);
  world.loop().run_for(2s);
  world.kill();
  world.start();
  world.loop().run_for(5s);
  send(1);
  world.far_side().set_up(true);
  world.loop().run_for(3min);
  std::uint64_t told = 0, letters = 0;
  for (const Record& record : world.received) {
    if (record.kind != Kind::loss) continue;
    const auto& loss = std::get<LossDetail>(record.detail->body);
    CHECK(loss.reason == "dead_full");
    told += loss.count;
  }
  std::vector<Row> dead;
  world.log().read(Lane::dead, {1, UINT64_MAX}, Log::Direction::up, 4 << 20,
                   [&](Result<std::vector<Row>> rows) { dead = rows.value(); });
  world.loop().run_for(1s);
  for (const Row& row : dead) letters += row.count;
  CHECK(told > 20);
  CHECK(letters + told == sent);
}

TEST_CASE("letter: at a stop nothing that was not kept is left to be told") {
  World::Options options;
  options.clock = ClockHistory::Kind::steady;
  options.log.bytes_max = 4 << 20;
  options.uplink_up = false;
  World world(seed(), options);
  std::uint64_t readings = 0;
  const auto send = [&] {
    std::string payload(10'000, 'x');
    for (std::size_t at = 200; at < payload.size(); ++at)
      payload[at] = static_cast<char>('a' + world.rng().below(26));
    REQUIRE(world.send_raw("dev/x", payload));
    REQUIRE(world.send("a", ++readings, 1));
    world.loop().run_for(100ms);
  };
  const auto full = [&] {
    const LogStats stats = world.log().stats();
    return stats.dead_bytes > stats.bytes_max / dead_share;
  };
  for (int i = 0; i < 200 && !full(); ++i) send();
  REQUIRE(full());
  for (int i = 0; i < 10; ++i) send();
  world.loop().run_for(2s);
  REQUIRE(world.log().state("dead_full"));
  REQUIRE(world.stop());
  world.start();
  CHECK_FALSE(world.log().state("dead_full"));
}

}  // namespace fit_letter_test
