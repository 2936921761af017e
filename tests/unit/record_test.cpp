#include <doctest/doctest.h>
#define ZSTD_STATIC_LINKING_ONLY  // what a level is made of
#include <zstd.h>

#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "base/rng.h"
#include "base/utf8.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "record/record_text.h"
#include "record/varint.h"
#include "tests/support/records.h"
#include "tests/support/seed.h"

namespace record_test {
using namespace millrace;

namespace {

double random_value(Rng& rng) {
  switch (rng.below(12)) {
    case 0: return std::numeric_limits<double>::quiet_NaN();
    case 1: return -0.0;
    case 2: return std::numeric_limits<double>::infinity();
    case 3: return std::bit_cast<double>(rng.next());
    case 4: return static_cast<double>(static_cast<float>(21.4));
    case 5: return std::numeric_limits<double>::denorm_min();
    case 6: return 74.93588199999998;
    case 7: return static_cast<double>(rng.next());
    default: return std::round((rng.unit() - 0.5) * 1e4) / 100;
  }
}

Record random_reading(Rng& rng) {
  Record record;
  record.device = "device-" + std::to_string(rng.below(6));
  if (rng.chance(0.2)) record.tags = {{"line", std::to_string(rng.below(2))}};
  record.metric = "metric-" + std::to_string(rng.below(3));
  if (rng.chance(0.1)) record.unit = "C";
  record.quality = static_cast<Quality>(rng.chance(0.9) ? 0 : rng.below(3));
  record.trust = static_cast<TimeTrust>(rng.chance(0.9) ? 0 : rng.below(3));
  record.time = {1'700'000'000'000'000 +
                 static_cast<std::int64_t>(rng.below(1'000'000'000)) * (rng.chance(0.5) ? 1 : 1000)};
  if (rng.chance(0.02)) record.time = {static_cast<std::int64_t>(rng.next())};
  switch (rng.below(8)) {
    case 0: record.value = static_cast<std::int64_t>(rng.next()); break;
    case 1: record.value = rng.chance(0.5); break;
    case 2: record.value = std::string(rng.below(20), 'x'); break;
    case 3: record.value = Bytes(rng.below(10), std::byte{7}); break;
    default: record.value = random_value(rng);
  }
  return record;
}

}  // namespace

TEST_CASE("batch: whatever goes in comes out to the bit, in the order the builder says") {
  Rng rng(seed());
  for (int round = 0; round < 200 * effort(); ++round) {
    std::vector<Record> in;
    BatchBuilder builder;
    const std::uint64_t count = 1 + rng.below(rng.chance(0.1) ? 2000 : 60);
    for (std::uint64_t i = 0; i < count; ++i) in.push_back(random_reading(rng));
    for (const Record& record : in) builder.add(record);
    const EncodedBatch batch = builder.encode(7, 8);
    std::vector<Record> out;
    const Status status = decode_batch(batch.bytes, batch.zstd, out);
    REQUIRE_MESSAGE(status.ok(), status.detail());
    REQUIRE(out.size() == in.size());
    REQUIRE(builder.order().size() == in.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      check_same(out[i], in[builder.order()[i]]);
      check_same(out[i], builder.at(builder.order()[i]));
    }
  }
}

TEST_CASE("batch: the order within a device and metric is the order of arrival") {
  Rng rng(seed());
  BatchBuilder builder;
  for (int i = 0; i < 1000; ++i) {
    Record record;
    record.device = "d" + std::to_string(rng.below(300));
    record.metric = "m";
    record.time = {1'700'000'000'000'000 - i};
    record.value = static_cast<double>(i);
    builder.add(record);
  }
  const EncodedBatch batch = builder.encode(0, 0);
  std::vector<Record> out;
  REQUIRE(decode_batch(batch.bytes, batch.zstd, out).ok());
  std::map<std::string, double> last;
  for (const Record& record : out) {
    const double value = std::get<double>(record.value);
    const auto [at, fresh] = last.try_emplace(record.device, value);
    if (!fresh) CHECK(value > at->second);
    at->second = value;
  }
}

namespace {

// What the batch makes of `in`, in number order; also checks that any cut of it has the same readings and
// order.
std::vector<Record> through_a_batch(const std::vector<Record>& in) {
  BatchBuilder builder;
  for (const Record& record : in) builder.add(record);
  const EncodedBatch batch = builder.encode(0, 0);
  std::vector<Record> out;
  REQUIRE(decode_batch(batch.bytes, batch.zstd, out).ok());
  REQUIRE(out.size() == in.size());
  for (std::size_t i = 0; i < out.size(); ++i) check_same(out[i], in[builder.order()[i]]);
  for (const std::size_t from : {std::size_t{0}, in.size() / 3, in.size() / 2}) {
    const std::size_t count = (in.size() - from + 1) / 2;
    const auto slice = slice_batch(batch.bytes, batch.zstd, from, count);
    REQUIRE(slice.ok());
    std::vector<Record> part;
    REQUIRE(decode_batch(slice.value().bytes, slice.value().zstd, part).ok());
    REQUIRE(part.size() == count);
    for (std::size_t i = 0; i < count; ++i) check_same(part[i], out[from + i]);
  }
  return out;
}

Record said(const char* device, const char* metric, std::int64_t time, Value value) {
  Record record;
  record.device = device;
  record.metric = metric;
  record.time = {time};
  record.value = std::move(value);
  return record;
}

std::vector<Value> values_of(const std::vector<Record>& records, const std::string& device,
                             const Tags& tags = {}) {
  std::vector<Value> out;
  for (const Record& record : records) {
    if (record.device == device && record.tags == tags) out.push_back(record.value);
  }
  return out;
}

}  // namespace

TEST_CASE("batch: what a device says one after the other is numbered so, however its metrics take turns") {
  // Two devices of one name under different tags, another, and one whose own times go back.
  std::vector<Record> in;
  std::map<std::string, std::vector<Value>> expected;
  for (int round = 0; round < 30; ++round) {
    const std::int64_t t = 1'700'000'000'000'000 + round * 1000;
    for (const char* line : {"l1", "l2"}) {
      for (const auto& [metric, value] : {std::pair<const char*, Value>{"cmd", std::string("start")},
                                          {"count", static_cast<double>(round)},
                                          {"cmd", std::string("stop")}}) {
        in.push_back(said("press", metric, t + static_cast<std::int64_t>(in.size()), value));
        in.back().tags = {{"line", line}};
        expected[line].push_back(value);
      }
    }
    in.push_back(said("late", "a", t - round * 5000, static_cast<double>(round)));
    in.push_back(said("late", "b", t - round * 5000, static_cast<double>(-round)));
  }
  const auto out = through_a_batch(in);
  CHECK(values_of(out, "press", {{"line", "l1"}}) == expected["l1"]);
  CHECK(values_of(out, "press", {{"line", "l2"}}) == expected["l2"]);
  // One whose own times go back spoils nobody else's order, and keeps its own within a metric.
  std::map<std::string, double> last;
  for (const Record& record : out) {
    if (record.device != "late") continue;
    const double value = std::abs(std::get<double>(record.value));
    CHECK(value >= last[record.metric]);
    last[record.metric] = value;
  }
}

TEST_CASE("batch: numbers keep every device's order, for any mixture of devices and metrics") {
  Rng rng(seed());
  for (int round = 0; round < 100 * effort(); ++round) {
    std::vector<Record> in;
    std::map<std::string, std::vector<Value>> expected;
    std::int64_t time = 1'700'000'000'000'000;
    for (std::uint64_t n = 1 + rng.below(200); n > 0; --n) {
      time += 1 + static_cast<std::int64_t>(rng.below(rng.chance(0.5) ? 2 : 100'000));
      const std::string device = "d" + std::to_string(rng.below(5)),
                        metric = "m" + std::to_string(rng.below(4));
      Value value = static_cast<double>(n);
      if (rng.chance(0.2)) value = static_cast<std::int64_t>(n);
      if (rng.chance(0.1)) value = std::to_string(n);
      in.push_back(said(device.c_str(), metric.c_str(), time, value));
      expected[device].push_back(value);
    }
    const auto out = through_a_batch(in);
    for (const auto& [device, values] : expected) CHECK(values_of(out, device) == values);
  }
}

TEST_CASE(
    "batch: a device of several sets of tags keeps its order in numbers within each, in times as a whole") {
  Rng rng(seed());
  for (int round = 0; round < 30 * effort(); ++round) {
    std::vector<Record> in;
    std::map<std::string, std::vector<double>> expected;
    for (std::uint64_t n = 1 + rng.below(200); n > 0; --n) {
      const std::string topic = "t" + std::to_string(rng.below(3));
      const auto value = static_cast<double>(in.size());
      in.push_back(said("press", "m", 1'700'000'000'000'000 + static_cast<std::int64_t>(in.size()), value));
      in.back().tags = {{"topic", topic}};
      expected[topic].push_back(value);
    }
    std::vector<Record> out = through_a_batch(in);
    std::map<std::string, std::vector<double>> numbered;
    for (const Record& record : out)
      numbered[record.tags.begin()->second].push_back(std::get<double>(record.value));
    CHECK(numbered == expected);
    std::stable_sort(out.begin(), out.end(),
                     [](const Record& a, const Record& b) { return a.time.us < b.time.us; });
    for (std::size_t i = 0; i < out.size(); ++i)
      CHECK(std::get<double>(out[i].value) == static_cast<double>(i));
  }
}

TEST_CASE("batch: a device's order costs a batch two bytes") {
  std::vector<Record> turns, alone;
  BatchBuilder by_turns, by_metric;
  for (int i = 0; i < 1000; ++i) {
    const char* metrics[] = {"a", "b", "c", "d"};
    by_turns.add(said("press", metrics[i % 4], 1'700'000'000'000'000 + i, static_cast<double>(i % 7)));
  }
  for (int m = 0; m < 4; ++m) {
    for (int i = m; i < 1000; i += 4) {
      const char* metrics[] = {"a", "b", "c", "d"};
      by_metric.add(said("press", metrics[m], 1'700'000'000'000'000 + i, static_cast<double>(i % 7)));
    }
  }
  const auto size = [](BatchBuilder& builder) {
    const EncodedBatch batch = builder.encode(0, 0);
    return open_batch(batch.bytes, batch.zstd).value().size();
  };
  CHECK(size(by_turns) == size(by_metric) + 2);
}

TEST_CASE("batch: names are told apart whatever they contain") {
  BatchBuilder builder;
  const auto add = [&](std::string device, Tags tags, std::string metric, std::string unit) {
    Record record;
    record.device = std::move(device);
    record.tags = std::move(tags);
    record.metric = std::move(metric);
    record.unit = std::move(unit);
    record.value = static_cast<double>(builder.count());
    builder.add(record);
  };
  add("x", {}, std::string("temp\0C", 6), "");
  add("boiler-1", {}, "temp", "C");
  add(std::string("a\0k\0v", 5), {}, "m", "");
  add("a", {{"k", "v"}}, "m", "");
  add("a", {{"k", std::string("v\0l\0w", 5)}}, "m", "");
  add("a", {{"k", "v"}, {"l", "w"}}, "m", "");
  const EncodedBatch batch = builder.encode(0, 0);
  std::vector<Record> out;
  REQUIRE(decode_batch(batch.bytes, batch.zstd, out).ok());
  std::set<std::tuple<std::string, Tags::List, std::string, std::string>> names;
  for (const Record& record : out) {
    names.emplace(record.device, Tags::List(record.tags.begin(), record.tags.end()), record.metric,
                  record.unit);
    if (std::get<double>(record.value) == 1) CHECK((record.metric == "temp" && record.unit == "C"));
  }
  CHECK(names.size() == 6);
}

TEST_CASE("batch: no text in it is ever anything but UTF-8, whatever the records say") {
  Rng rng(seed());
  const auto hostile = [&] {
    std::string out;
    for (std::uint64_t n = rng.below(12); n > 0; --n)
      out += static_cast<char>(rng.below(3) == 0 ? 'a' : rng.next());
    return out;
  };
  for (int round = 0; round < 300 * effort(); ++round) {
    BatchBuilder builder;
    for (int i = 0; i < 20; ++i) {
      Record record;
      record.device = hostile();
      record.metric = hostile();
      record.unit = hostile();
      record.tags = {{hostile(), hostile()}};
      record.value = hostile();
      if (rng.chance(0.5)) {
        auto detail = std::make_shared<Detail>();
        detail->gateway = hostile();
        DeadDetail dead{hostile(), hostile(), hostile(), to_bytes(hostile()), 0};
        dead.publisher = {hostile(), hostile(), hostile(), hostile(), {{hostile(), hostile()}}};
        if (rng.chance(0.5)) detail->body = dead;
        else detail->body = LossDetail{hostile(), hostile(), 1, 0, 0, {{hostile(), 1}}, 0};
        record.detail = detail;
      }
      builder.add(record);
    }
    const EncodedBatch batch = builder.encode(0, 0);
    std::vector<Record> out;
    REQUIRE(decode_batch(batch.bytes, batch.zstd, out).ok());
    REQUIRE(out.size() == 20);
    const auto good = [](const std::string& text) {
      return find_fault(text, Controls::all).kind == TextFault::ok;
    };
    for (const Record& record : out) {
      bool all = good(record.device) && good(record.metric) && good(record.unit) &&
                 good(std::get<std::string>(record.value));
      for (const auto& [name, value] : record.tags) all = all && good(name) && good(value);
      if (record.detail) {
        all = all && good(record.detail->gateway);
        if (const auto* dead = std::get_if<DeadDetail>(&record.detail->body)) {
          all = all && good(dead->consumer) && good(dead->reason) && good(dead->channel) &&
                good(dead->publisher.client_id) && good(dead->publisher.properties[0].second);
        }
      }
      CHECK(all);
      CHECK(good(record_as_json(1, Lane::raw, record)));
      CHECK(find_fault(record_as_csv(1, Lane::raw, record), Controls::line_breaks).kind == TextFault::ok);
    }
  }
}

TEST_CASE("record: the bytes of a blob and of a dead letter are theirs, not text") {
  Record record;
  record.value = Bytes{std::byte{0xFF}, std::byte{0}, std::byte{0xC3}};
  CHECK(same_value(decode_record(encode_record(record)).value().value, record.value));
  auto detail = std::make_shared<Detail>();
  detail->body = DeadDetail{"in", "bad", "a/b",
                            to_bytes("21.5 \xB0"
                                     "C"),
                            0};
  record.kind = Kind::dead;
  record.detail = detail;
  CHECK(text_of(std::get<DeadDetail>(decode_record(encode_record(record)).value().detail->body).payload) ==
        "21.5 \xB0"
        "C");
}

TEST_CASE(
    "record: a dead letter says when, by whom and to whom, and letters that did not are told apart by their number") {
  DeadDetail dead{"plant",
                  "no JSON",
                  "a/b",
                  to_bytes("{"),
                  0,
                  DeadDetail::Source::input,
                  {"press-1", "anna", "press", "application/json", {{"site", "north"}, {"site", "south"}}}};
  auto detail = std::make_shared<Detail>();
  detail->boot_id = 77;
  detail->monotonic_us = 5;
  detail->body = dead;
  Record record;
  record.kind = Kind::dead;
  record.time = {1'700'000'000'000'000};
  record.trust = TimeTrust::unsynced;
  record.detail = detail;
  const Record back = decode_record(encode_record(record)).value();
  const auto& letter = std::get<DeadDetail>(back.detail->body);
  CHECK(back.time == record.time);
  CHECK(back.trust == TimeTrust::unsynced);
  CHECK(back.detail->boot_id == 77);
  CHECK(back.detail->monotonic_us == 5);
  CHECK(letter.source == DeadDetail::Source::input);
  CHECK(letter.publisher.client_id == "press-1");
  CHECK(letter.publisher.username == "anna");
  CHECK(letter.publisher.subject == "press");
  CHECK(letter.publisher.content_type == "application/json");
  CHECK(letter.publisher.properties == dead.publisher.properties);
  CHECK(letter.whole_size == 0);
  CHECK_FALSE(letter.from_uplink());
  CHECK_FALSE(DeadDetail{"x", "", "", {}, 0}.from_uplink());
  CHECK(DeadDetail{"x", "", "", {}, 12}.from_uplink());
  CHECK_FALSE(DeadDetail{"x", "", "", {}, 12, DeadDetail::Source::input, {}}.from_uplink());
  CHECK(DeadDetail{"x", "", "", {}, 0, DeadDetail::Source::uplink, {}}.from_uplink());
}

TEST_CASE("batch: level 1 of zstd is its fast way, whatever the size: the core has no other") {
  std::set<ZSTD_strategy> ways{ZSTD_getCParams(1, ZSTD_CONTENTSIZE_UNKNOWN, 0).strategy};
  for (unsigned long long size = 0; size < 300'000; ++size) ways.insert(ZSTD_getCParams(1, size, 0).strategy);
  for (unsigned bits = 18; bits < 40; ++bits) {
    for (const int beside : {-1, 0, 1})
      ways.insert(ZSTD_getCParams(1, (1ULL << bits) + static_cast<unsigned long long>(beside), 0).strategy);
  }
  CHECK(ways == std::set{ZSTD_fast});
}

TEST_CASE(
    "batch: what is packed is one frame of zstd, whole: with nothing behind it, and none from before 0.8") {
  const EncodedBatch batch = close_batch(Bytes(1000, std::byte{7}));
  REQUIRE(batch.zstd);
  CHECK(open_batch(batch.bytes, true).ok());
  Bytes empty_frame(ZSTD_compressBound(0));
  empty_frame.resize(ZSTD_compress(empty_frame.data(), empty_frame.size(), "", 0, 1));
  Bytes followed = batch.bytes, cut = batch.bytes, old = batch.bytes;
  followed.insert(followed.end(), empty_frame.begin(), empty_frame.end());
  CHECK(open_batch(followed, true).status().code() == Code::corrupt);
  cut.pop_back();
  CHECK(open_batch(cut, true).status().code() == Code::corrupt);
  for (const int magic : {0x1E, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27}) {  // 0.1 to 0.7
    old.front() = static_cast<std::byte>(magic);
    const Status status = open_batch(old, true).status();
    CHECK(status.code() == Code::corrupt);
    CHECK(status.detail() == "batch: not one frame of zstd");
  }
}

TEST_CASE("batch: a slice keeps numbers and order") {
  Rng rng(seed());
  for (int round = 0; round < 50 * effort(); ++round) {
    BatchBuilder builder;
    const std::size_t count = 2 + rng.below(300);
    for (std::size_t i = 0; i < count; ++i) builder.add(random_reading(rng));
    const EncodedBatch batch = builder.encode(0, 0);
    std::vector<Record> whole;
    REQUIRE(decode_batch(batch.bytes, batch.zstd, whole).ok());
    const std::size_t from = rng.below(count), n = 1 + rng.below(count - from);
    auto slice = slice_batch(batch.bytes, batch.zstd, from, n);
    REQUIRE(slice.ok());
    std::vector<Record> part;
    REQUIRE(decode_batch(slice.value().bytes, slice.value().zstd, part).ok());
    REQUIRE(part.size() == n);
    for (std::size_t i = 0; i < n; ++i) check_same(part[i], whole[from + i]);
  }
}

TEST_CASE("batch: real readings take a few bytes each") {
  BatchBuilder builder;
  for (int i = 0; i < 1000; ++i) {
    Record record;
    record.device = "d" + std::to_string(i % 20);
    record.metric = "temperature";
    record.time = {1'700'000'000'000'000 + i / 20 * 1'000'000};
    record.value = std::round((20 + std::sin(i / 50.0)) * 100) / 100;
    builder.add(record);
  }
  CHECK(builder.encode(0, 0).bytes.size() < 1500);
}

TEST_CASE("batch: never worse than doubles by more than two in a hundred") {
  Rng rng(seed());
  for (int kind = 0; kind < 4; ++kind) {
    BatchBuilder builder;
    for (int i = 0; i < 1000; ++i) {
      Record record;
      record.device = "d";
      record.metric = "m";
      record.time = {1'700'000'000'000'000 + i * 1000};
      record.value = kind == 0   ? std::bit_cast<double>(rng.next() >> 2)
                     : kind == 1 ? static_cast<double>(static_cast<float>(rng.unit()))
                     : kind == 2 ? rng.unit()
                                 : 1e300 * rng.unit();
      builder.add(record);
    }
    CHECK(builder.encode(0, 0).bytes.size() < 8160 + 100);
  }
}

TEST_CASE("batch: hostile bytes cost neither memory nor the process") {
  Rng rng(seed());
  BatchBuilder builder;
  for (int i = 0; i < 200; ++i) builder.add(random_reading(rng));
  const EncodedBatch good = builder.encode(1, 2);
  const Bytes message = std::move(open_batch(good.bytes, good.zstd)).value();
  std::vector<Record> out;
  for (int round = 0; round < 5000 * effort(); ++round) {
    Bytes bad = message;
    for (std::uint64_t flips = 1 + rng.below(4); flips > 0; --flips)
      bad[rng.below(bad.size())] = static_cast<std::byte>(rng.next());
    if (rng.chance(0.3)) bad.resize(rng.below(bad.size()));
    out.clear();
    (void)decode_batch(bad, false, out);
    CHECK(out.size() <= batch_records_max);
  }
  // A run of 2^31 rows in a few bytes.
  Bytes bomb, block;
  wire::Writer inner(block);
  inner.uint_field(1, 1u << 31);
  inner.bytes_field(3,
                    Bytes{std::byte{0x80}, std::byte{0x80}, std::byte{0x80}, std::byte{0x80}, std::byte{8}});
  wire::Writer outer(bomb);
  outer.uint_field(2, 1u << 31);
  outer.bytes_field(3, block);
  CHECK_FALSE(decode_batch(bomb, false, out).ok());
  CHECK_FALSE(decode_batch(bytes_of("not zstd"), true, out).ok());
}

TEST_CASE("batch: one long name cannot be copied a million times") {
  // 100,000 rows of one device whose name has a megabyte, in a few bytes more than that.
  Bytes batch, block, column, device, metric;
  wire::Writer(column).uint_field(2, 5);  // INT, all of them 0
  wire::Writer in_block(block);
  in_block.uint_field(1, 100'000);
  in_block.bytes_field(3, Bytes{std::byte{0xA0}, std::byte{0x8D}, std::byte{0x06}});  // one run of 100,000
  in_block.bytes_field(8, column);
  wire::Writer(device).text_field(1, std::string(1 << 20, 'd'));
  wire::Writer(metric).text_field(1, "m");
  wire::Writer writer(batch);
  writer.uint_field(2, 100'000);
  writer.bytes_field(3, block);
  writer.bytes_field(4, device);
  writer.bytes_field(5, metric);
  std::vector<Record> out;
  const Status status = decode_batch(batch, false, out);
  CHECK(status.code() == Code::corrupt);
  CHECK(status.detail().find("names take more memory") != std::string::npos);
  CHECK(out.empty());
}

TEST_CASE("batch: on error nothing is appended") {
  std::vector<Record> out(1);
  CHECK_FALSE(decode_batch(bytes_of("\xff\xff\xff"), false, out).ok());
  CHECK(out.size() == 1);
}

TEST_CASE("record: every kind survives its proto form") {
  Record record;
  record.device = "press-1";
  record.metric = "temperature";
  record.unit = "C";
  record.tags = {{"line", "l1"}, {"empty", ""}};
  record.time = {-5};
  record.quality = Quality::bad;
  for (const Value& value :
       std::vector<Value>{std::monostate{}, 0.0, -0.0, std::int64_t{0}, std::int64_t{-1}, false, true,
                          std::string(), std::string("x"), Bytes{}, Bytes{std::byte{0}}}) {
    record.value = value;
    auto back = decode_record(encode_record(record));
    REQUIRE(back.ok());
    check_same(back.value(), record);
  }
  auto detail = std::make_shared<Detail>();
  detail->body = WindowDetail{"1min", 60, 5, 1.5, -1, 3, 2, 77, {{"stddev", 0.25}, {"last", 0}, {"", -1}}};
  detail->epoch = 9;
  detail->sequence = 10;
  detail->gateway = "gw";
  record.kind = Kind::window;
  record.detail = detail;
  auto back = decode_record(encode_record(record));
  REQUIRE(back.ok());
  const auto& window = std::get<WindowDetail>(back.value().detail->body);
  CHECK(window.name == "1min");
  CHECK(window.mean == 1.5);
  CHECK(window.ordinal == 77);
  CHECK(window.stats == std::vector<WindowStat>{{"stddev", 0.25}, {"last", 0}, {"", -1}});
  CHECK(record_as_json(1, Lane::window, back.value()).find(R"("max":3,"stddev":0.25,"last":0,)") !=
        std::string::npos);
  CHECK(back.value().detail->gateway == "gw");
  auto dead = std::make_shared<Detail>();
  dead->body = DeadDetail{"in", "bad", "a/b", to_bytes("{"), 3};
  record.kind = Kind::dead;
  record.detail = dead;
  back = decode_record(encode_record(record));
  REQUIRE(back.ok());
  CHECK(text_of(std::get<DeadDetail>(back.value().detail->body).payload) == "{");
  auto loss = std::make_shared<Detail>();
  loss->body = LossDetail{"up", "evicted", 5, 1, 5, {{"a", 3}, {"b", 1}}, 1};
  record.kind = Kind::loss;
  record.detail = loss;
  back = decode_record(encode_record(record));
  REQUIRE(back.ok());
  CHECK(std::get<LossDetail>(back.value().detail->body).last == 5);
  CHECK(std::get<LossDetail>(back.value().detail->body).devices ==
        std::map<std::string, std::uint64_t>{{"a", 3}, {"b", 1}});
  CHECK(std::get<LossDetail>(back.value().detail->body).other_devices == 1);
}

TEST_CASE("envelope: identity and batch survive") {
  const Envelope envelope{"gw", 5, 100, 3, Lane::window, true, true};
  auto opened = decode_envelope(encode_envelope(envelope, bytes_of("batch")));
  REQUIRE(opened.ok());
  CHECK(opened.value().envelope.gateway == "gw");
  CHECK(opened.value().envelope.first == 100);
  CHECK(opened.value().envelope.lane == Lane::window);
  CHECK(opened.value().envelope.replay);
  CHECK(text_of(opened.value().batch) == "batch");
  CHECK_FALSE(decode_envelope(bytes_of("\xff")).ok());
}

}  // namespace record_test
