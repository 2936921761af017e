#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <map>

#include "base/rng.h"
#include "record/batch.h"
#include "record/record_proto.h"
#include "record/varint.h"
#include "tests/support/records.h"
#include "tests/support/seed.h"

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
  record.time = {1'700'000'000'000'000 + static_cast<std::int64_t>(rng.below(1'000'000'000)) * (rng.chance(0.5) ? 1 : 1000)};
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
    REQUIRE_MESSAGE(status.ok(), status.to_string());
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
      record.value = kind == 0 ? std::bit_cast<double>(rng.next() >> 2) : kind == 1 ? static_cast<double>(static_cast<float>(rng.unit())) : kind == 2 ? rng.unit() : 1e300 * rng.unit();
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
    for (std::uint64_t flips = 1 + rng.below(4); flips > 0; --flips) bad[rng.below(bad.size())] = static_cast<std::byte>(rng.next());
    if (rng.chance(0.3)) bad.resize(rng.below(bad.size()));
    out.clear();
    (void)decode_batch(bad, false, out);
    CHECK(out.size() <= batch_records_max);
  }
  // A run of 2^31 rows in a few bytes.
  Bytes bomb, block;
  wire::Writer inner(block);
  inner.uint_field(1, 1u << 31);
  inner.bytes_field(3, Bytes{std::byte{0x80}, std::byte{0x80}, std::byte{0x80}, std::byte{0x80}, std::byte{8}});
  wire::Writer outer(bomb);
  outer.uint_field(2, 1u << 31);
  outer.bytes_field(3, block);
  CHECK_FALSE(decode_batch(bomb, false, out).ok());
  CHECK_FALSE(decode_batch(bytes_of("not zstd"), true, out).ok());
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
  for (const Value& value : std::vector<Value>{std::monostate{}, 0.0, -0.0, std::int64_t{0}, std::int64_t{-1}, false, true, std::string(), std::string("x"), Bytes{}, Bytes{std::byte{0}}}) {
    record.value = value;
    auto back = decode_record(encode_record(record));
    REQUIRE(back.ok());
    check_same(back.value(), record);
  }
  auto detail = std::make_shared<Detail>();
  detail->body = WindowDetail{"1min", 60, 5, 1.5, -1, 3, 2, 77};
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
  CHECK(std::get<LossDetail>(back.value().detail->body).devices == std::map<std::string, std::uint64_t>{{"a", 3}, {"b", 1}});
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
