// Records and batches of every earlier format must read with today's code, for ever. The files are never
// rewritten: a new format adds a new one (run with MILLRACE_WRITE_GOLDEN=1 once to make those that are
// missing).
#include <doctest/doctest.h>

#include <bit>

#include <cstdlib>
#include <fstream>

#include "base/files.h"
#include "base/text.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "tests/support/records.h"

using namespace millrace;

namespace {

// What the first format was written from.
std::vector<Record> first_records() {
  std::vector<Record> records;
  const auto add = [&](const char* device, const char* metric, std::int64_t time, Value value) -> Record& {
    Record& record = records.emplace_back();
    record.device = device;
    record.metric = metric;
    record.time = {time};
    record.value = std::move(value);
    return record;
  };
  const std::int64_t t = 1'700'000'000'000'000;
  for (int i = 0; i < 20; ++i) {
    add("press-1", "temperature", t + i * 1'000'000, 73.96732207 + i * 0.25).unit = "C";
    add("press-2", "temperature", t + i * 1'000'000, 74.93588199999998).unit = "C";
  }
  add("press-1", "count", t, std::int64_t{9007199254740993});
  add("press-1", "count", t + 1, std::int64_t{-1});
  add("press-1", "on", t, true).tags = {{"line", "l1"}};
  add("press-1", "state", t, std::string("running"));
  add("press-1", "raw", t, Bytes{std::byte{0}, std::byte{255}});
  add("press-3", "odd", t - 5, -0.0).quality = Quality::uncertain;
  add("press-3", "odd", t - 4, 1e300).quality = Quality::uncertain;
  add("press-4", "float", t, static_cast<double>(21.4f)).trust = TimeTrust::unsynced;
  auto window = std::make_shared<Detail>();
  window->body = WindowDetail{"1min", t + 60'000'000, 20, 76.25, 73.0, 79.5, 1, 7};
  Record& closed = add("press-1", "temperature", t, std::monostate{});
  closed.kind = Kind::window;
  closed.detail = window;
  auto loss = std::make_shared<Detail>();
  loss->body = LossDetail{"central", "evicted", 100, 5, 104};
  Record& lost = add("", "raw", t, std::monostate{});
  lost.kind = Kind::loss;
  lost.detail = loss;
  auto dead = std::make_shared<Detail>();
  dead->body = DeadDetail{"plant", "no JSON", "plant/x", to_bytes("{bad"), 0};
  Record& letter = add("", "", t, std::monostate{});
  letter.kind = Kind::dead;
  letter.detail = dead;
  return records;
}

std::string path_of(const std::string& name) { return text(MILLRACE_SOURCE, "/tests/golden/", name); }

Bytes golden(const std::string& name, const Bytes& today) {
  if (std::getenv("MILLRACE_WRITE_GOLDEN") && !read_file(path_of(name), 1 << 20).ok()) {
    std::ofstream(path_of(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(today.data()), static_cast<std::streamsize>(today.size()));
  }
  auto content = read_file(path_of(name), 1 << 20);
  REQUIRE(content.ok());
  return to_bytes(content.value());
}

// As messages, too: the details of windows, losses and dead letters are part of it.
void check_all_of(const Record& a, const Record& b) {
  check_same(a, b);
  CHECK(encode_record(a) == encode_record(b));
}

}  // namespace

TEST_CASE("golden: the batch of format 1 reads to the bit") {
  BatchBuilder builder;
  for (const Record& record : first_records()) builder.add(record);
  const EncodedBatch today = builder.encode(0x1122334455667788, 1234567);
  const Bytes message = std::move(open_batch(today.bytes, today.zstd)).value();
  const Bytes stored = golden("batch-1.bin", message);
  std::vector<Record> then, now;
  REQUIRE(decode_batch(stored, false, then).ok());
  REQUIRE(decode_batch(message, false, now).ok());
  REQUIRE(then.size() == first_records().size());
  for (std::size_t i = 0; i < then.size(); ++i) check_all_of(then[i], now[i]);
}

// Numbers by device (one whose own times go back among them), names nobody could join, and a letter that
// knows its publisher.
TEST_CASE("golden: a batch that is numbered by device reads to the bit") {
  std::vector<Record> records;
  const std::int64_t t = 1'700'000'000'000'000;
  const auto add = [&](const char* device, const char* metric, std::int64_t time, Value value) -> Record& {
    Record& record = records.emplace_back();
    record.device = device;
    record.metric = metric;
    record.time = {time};
    record.value = std::move(value);
    record.trust = TimeTrust::gateway;
    return record;
  };
  for (int round = 0; round < 4; ++round) {
    add("press-1", "cmd", t + 10 * round, std::string("start"));
    add("press-1", "count", t + 10 * round + 1, static_cast<double>(round));
    add("press-1", "cmd", t + 10 * round + 2, std::string("stop"));
    add("late", "a", t - 100 * round, static_cast<double>(round));
    add("late", "b", t - 100 * round, static_cast<double>(round));
  }
  add("boiler-1", "temp", t, 21.5).unit = "C";
  add("boiler-1", "a\xFF", t, 1.0);  // mended when it is written
  auto detail = std::make_shared<Detail>();
  detail->boot_id = 7;
  detail->monotonic_us = 5'000'000;
  detail->body =
      DeadDetail{"plant",
                 "no JSON",
                 "plant/x",
                 to_bytes("{bad"),
                 0,
                 DeadDetail::Source::input,
                 {"press-1", "anna", "press", "application/json", {{"site", "north"}, {"site", "south"}}},
                 4000};
  Record& letter = add("", "", t, std::monostate{});
  letter.kind = Kind::dead;
  letter.trust = TimeTrust::unsynced;
  letter.detail = detail;
  BatchBuilder builder;
  for (const Record& record : records) builder.add(record);
  const EncodedBatch today = builder.encode(7, 1'700'000'000'000'000);
  const Bytes message = std::move(open_batch(today.bytes, today.zstd)).value();
  const Bytes stored = golden("batch-2.bin", message);
  CHECK(stored == message);
  std::vector<Record> then;
  REQUIRE(decode_batch(stored, false, then).ok());
  REQUIRE(then.size() == records.size());
  for (std::size_t i = 0; i < then.size(); ++i) {
    if (then[i].metric.starts_with("a\xEF")) continue;
    check_all_of(then[i], records[builder.order()[i]]);
  }
}

TEST_CASE("golden: single records of format 1 read to the bit") {
  const auto records = first_records();
  for (const std::size_t i : {std::size_t{0}, records.size() - 3, records.size() - 2, records.size() - 1}) {
    const Bytes stored = golden(text("record-1-", i, ".bin"), encode_record(records[i]));
    auto then = decode_record(stored);
    REQUIRE(then.ok());
    check_all_of(then.value(), records[i]);
  }
}

TEST_CASE("golden: a window with what it was asked for besides") {
  auto window = std::make_shared<Detail>();
  window->body = WindowDetail{"1min", 1'700'000'060'000'000,          20, 76.25, 73.0, 79.5, 1,
                              7,      {{"stddev", 1.5}, {"last", 77}}};
  Record record;
  record.kind = Kind::window;
  record.device = "press-1";
  record.metric = "temperature";
  record.time = {1'700'000'000'000'000};
  record.detail = window;
  const Bytes stored = golden("record-1-stats.bin", encode_record(record));
  auto then = decode_record(stored);
  REQUIRE(then.ok());
  check_all_of(then.value(), record);
  BatchBuilder builder;
  builder.add(record);
  const EncodedBatch today = builder.encode(0, 0);
  const Bytes batch = golden("batch-3.bin", std::move(open_batch(today.bytes, today.zstd)).value());
  std::vector<Record> records;
  REQUIRE(decode_batch(batch, false, records).ok());
  check_all_of(records.at(0), record);
}
