// Sparkplug B as a host application hears it. The payloads in hex are of an independent encoder (npm
// sparkplug-payload 1.0.3); the others are written here, field by field.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <charconv>

#include "base/rng.h"
#include "base/text.h"
#include "decode/formats/sparkplug/inflate.h"
#include "decode/formats/sparkplug/memory.h"
#include "decode/formats/sparkplug/payload.h"
#include "decode/formats/sparkplug/turn.h"
#include "decode/router.h"
#include "pipeline/input_memory.h"
#include "record/varint.h"
#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace sparkplug_test {
using namespace millrace;

namespace {

// Everything there is: bdSeq, Node Control/Rebirth, i8 to u64, f, d (engUnit, Quality), b, s, dt, set, pump,
// bytes, nothing.
constexpr std::string_view birth_hex =
    "0880d095ffbc3112120a0562645365711880d095ffbc312004580312210a144e6f646520436f6e74726f6c2f52656269"
    "7274681880d095ffbc31200b700012150a02693810011880d095ffbc31200150fbffffff0f12160a0369313610021880"
    "d095ffbc31200250d095feff0f12160a0369333210031880d095ffbc3120035080d8a9c608121b0a0369363410041880"
    "d095ffbc31200458fbffffffffffffffff0112120a02753810051880d095ffbc31200550c80112160a03753332100618"
    "80d095ffbc3120075880d0acf30e12120a0375363410071880d095ffbc312008580512130a016610081880d095ffbc31"
    "2009650000ac4112390a016410091880d095ffbc31200a4a200a07656e67556e69740a075175616c6974791205080c42"
    "01431205080318c001699a9999999999b93f12100a0162100a1880d095ffbc31200b700112120a0173100b1880d095ff"
    "bc31200c7a026f6e12160a026474100c1880d095ffbc31200d5880d095ffbc3112420a03736574100d1880d095ffbc31"
    "20108a012f080212017412026f6b180a180b220f0a0921000000000000f83f0a022801220f0a09210000000000000440"
    "0a022800123b0a0470756d70100e1880d095ffbc3120139201270a0131120a0a0372706d200350aa0b1a0e0a06736572"
    "69616c100c42027831220450756d70280012180a056279746573100f1880d095ffbc31201182010301020312160a076e"
    "6f7468696e6710101880d095ffbc31200338011800";
constexpr std::string_view data_hex =
    "08e8d795ffbc31120d100118e8d795ffbc31200150071214100918e8d795ffbc31200a699a9999999999c93f1801";

std::string of_hex(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    std::uint8_t byte = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
    out.push_back(static_cast<char>(byte));
  }
  return out;
}

constexpr std::uint64_t at_ms = 1'700'000'000'000;

// A metric with a whole number; an empty name: by its alias alone.
Bytes metric(std::string_view name, std::uint64_t alias, std::uint64_t type, std::uint64_t value) {
  Bytes out;
  wire::Writer writer(out);
  writer.text_field(1, name);
  if (alias > 0) writer.uint_field(2, alias);
  writer.uint_field(4, type);
  writer.tag(type == 4 || type == 8 ? 11 : 10, wire::varint);
  writer.put_varint(value);
  return out;
}

std::string message(std::int64_t seq, const std::vector<Bytes>& metrics) {
  Bytes out;
  wire::Writer writer(out);
  writer.uint_field(1, at_ms);
  for (const Bytes& one : metrics) writer.bytes_field(2, one);
  if (seq >= 0) {
    writer.tag(3, wire::varint);
    writer.put_varint(static_cast<std::uint64_t>(seq));
  }
  return std::string(text_of(out));
}

// A host that hears one message after the other.
struct Host {
  RouteConfig route = [] {
    RouteConfig r;
    r.topic = "spBv1.0/#";
    r.format = "sparkplug";
    return r;
  }();
  Remembered remembered;
  std::optional<Router> router;
  std::int64_t seconds = 1;
  std::vector<Record> records;
  Unread unread;
  Status status;

  std::vector<std::string> hear(std::string_view topic, std::string_view payload, bool again = false,
                                const ValueRuns& only = {}) {
    if (!router) {
      auto made = Router::make({route});
      if (!made.ok()) FAIL(made.status().detail());
      router = std::move(made).value();
      (void)router->add_memories(remembered);
    }
    Arrival arrival;
    arrival.input = "in";
    arrival.channel = topic;
    arrival.bytes = bytes_of(payload);
    arrival.received = {1'767'225'600'000'000 + seconds * 1'000'000};
    arrival.received_monotonic = {seconds * 1'000'000'000};
    arrival.clock_trusted = true;
    arrival.again = again;
    arrival.only = only;
    records.clear();
    unread.clear();
    remembered.beside = {};
    status = router->decode(arrival, records, unread, &remembered);
    return readings_of(records);
  }
  bool noted(std::string_view what) const {
    return std::ranges::find(remembered.beside.noted, what) != remembered.beside.noted.end();
  }
  std::vector<std::string> events() const {
    std::vector<std::string> all;
    for (const Record& event : remembered.beside.events)
      all.push_back(text(event.device, " ", std::get<bool>(event.value) ? "comes" : "goes"));
    return all;
  }
  // Another process: what was saved, and nothing else.
  void restart() {
    std::vector<FormatMemory::Piece> pieces;
    remembered.memories.at("sparkplug")->save(pieces);
    for (FormatMemory::Piece& piece : pieces) {
      if (piece.bytes.empty()) saved.erase(piece.name);
      else saved[piece.name] = std::move(piece.bytes);
    }
    remembered = {};
    (void)router->add_memories(remembered);
    for (const auto& [name, bytes] : saved) remembered.memories.at("sparkplug")->load(name, bytes);
  }
  std::map<std::string, Bytes> saved;
};

using Words = std::vector<std::string>;
constexpr const char *nbirth = "spBv1.0/g/NBIRTH/n", *ndata = "spBv1.0/g/NDATA/n",
                     *ndeath = "spBv1.0/g/NDEATH/n", *dbirth = "spBv1.0/g/DBIRTH/n/d",
                     *ddata = "spBv1.0/g/DDATA/n/d", *ddeath = "spBv1.0/g/DDEATH/n/d";

}  // namespace

TEST_CASE(
    "sparkplug: a birth of an independent encoder gives every type exactly, and names what its data has by alias") {
  Host host;
  CHECK(host.hear(nbirth, of_hex(birth_hex)) ==
        Words{"i8=-5i", "i16=-30000i", "i32=-2000000000i", "i64=-5i", "u8=200i", "u32=4000000000i", "u64=5i",
              "f=21.5", "d=0.1", "b=true", "s='on'", "dt=1700000000000i", "set[0]/t=1.5", "set[0]/ok=true",
              "set[1]/t=2.5", "set[1]/ok=false", "pump/Parameters/serial='x1'", "pump/rpm=1450i",
              "bytes=3 bytes"});
  CHECK(host.status.ok());
  CHECK_FALSE(host.unread.any());
  CHECK(host.unread.no_value == 1);
  CHECK(host.records[8].unit == "C");
  CHECK(host.records[0].device == "g/n");
  CHECK(host.records[0].time.us == static_cast<std::int64_t>(at_ms) * 1000);
  CHECK(host.records[0].trust == TimeTrust::device);
  CHECK(host.events() == Words{"g/n comes"});
  CHECK(host.hear(ndata, of_hex(data_hex)) == Words{"i8=7i", "d=0.2"});
  CHECK(host.records[1].unit == "C");  // the birth said it
  CHECK(host.records[1].quality == Quality::good);
  CHECK(host.events().empty());
  CHECK(host.remembered.beside.replies.empty());
}

TEST_CASE(
    "sparkplug: small negative numbers come in their own width, in 32 or in 64 bits; what fits none is refused") {
  Host host;
  const auto read = [&](std::uint64_t type, std::uint64_t value) {
    const auto got = host.hear(nbirth, message(0, {metric("m", 1, type, value)}));
    return got.empty() ? std::string("refused") : got[0];
  };
  CHECK(read(1, 0xFB) == "m=-5i");
  CHECK(read(1, 0xFFFF'FFFB) == "m=-5i");
  CHECK(read(1, 300) == "refused");
  CHECK(read(2, 0x8000) == "m=-32768i");
  CHECK(read(3, 0xFFFF'FFFF) == "m=-1i");
  CHECK(read(4, UINT64_MAX) == "m=-1i");
  CHECK(read(5, 256) == "refused");
  CHECK(read(8, std::uint64_t{1} << 63) == "m=9223372036854775808");
  CHECK(read(8, UINT64_MAX) == "refused");
  CHECK(read(11, 1) == "m=true");
  CHECK(read(11, 2) == "refused");
  CHECK(read(99, 1) == "refused");
}

TEST_CASE(
    "sparkplug: data before a birth goes to the dead lane, a rebirth is asked for, and a retry gives it once the birth has come") {
  Host host;
  const std::string data = message(7, {metric("", 4, 3, 42)});
  CHECK(host.hear(ndata, data).empty());
  CHECK_FALSE(host.status.ok());
  CHECK(host.status.detail().find("alias 4: no birth said what this alias means") != std::string::npos);
  REQUIRE(host.remembered.beside.replies.size() == 1);
  CHECK(host.remembered.beside.replies[0].topic == "spBv1.0/g/NCMD/n");
  CHECK(text_of(host.remembered.beside.replies[0].payload).find("Node Control/Rebirth") !=
        std::string_view::npos);
  CHECK(host.noted("rebirth_asked"));
  // Not again for a while; then ever more rarely.
  std::size_t asked = 0;
  for (int i = 0; i < 3600; ++i) {
    ++host.seconds;
    (void)host.hear(ndata, data);
    asked += host.remembered.beside.replies.size();
  }
  CHECK(asked > 5);
  CHECK(asked < 15);
  (void)host.hear(nbirth, message(0, {metric("level", 4, 3, 41)}));
  CHECK(host.hear(ndata, data, true) == Words{"level=42i"});
  CHECK(host.remembered.beside.replies.empty());
  // the retry moved no sequence
  CHECK(host.hear(ndata, message(1, {metric("", 4, 3, 43)})) == Words{"level=43i"});
  CHECK_FALSE(host.noted("sequence_gap"));
}

namespace {

std::string said(bool good, const sparkplug::Metric& metric) {
  if (!good) return "none";
  const sparkplug::Value& value = metric.value;
  return text(metric.name, " ", metric.alias ? text(*metric.alias) : "-", " ",
              metric.timestamp ? text(*metric.timestamp) : "-", " ", metric.type, " ", metric.historical,
              metric.transient, metric.null, " ", to_hex(metric.properties), " ",
              static_cast<int>(value.field), value.narrow, value.flag, " ", value.number, " ",
              to_hex(bytes_of(text(std::bit_cast<std::uint64_t>(value.decimal)))), " ", to_hex(value.view));
}

}  // namespace

// With a field that is not known in front everything is read by the library, without by the short way.
TEST_CASE("sparkplug: a payload is read alike the short way and the library's, whatever is damaged in it") {
  const std::string unknown("\x98\x01\x00", 3), birth = of_hex(birth_hex);
  Rng rng(seed());
  sparkplug::Payload payload;
  REQUIRE(sparkplug::read_payload(bytes_of(birth), payload).ok());
  std::vector<std::string> metrics;
  for (const BytesView one : payload.metrics) metrics.emplace_back(text_of(one));
  std::size_t good = 0, bad = 0;
  for (int round = 0; round < 20'000 * effort(); ++round) {
    std::string one = metrics[rng.below(metrics.size())];
    if (rng.below(4) == 0) one += metrics[rng.below(metrics.size())];
    for (std::uint64_t n = rng.below(4); n > 0 && !one.empty(); --n) {
      const std::size_t at = rng.below(one.size());
      if (rng.below(4) == 0) one.insert(at, 1, static_cast<char>(0x80 | rng.below(128)));
      else if (rng.below(8) == 0) one.resize(at);
      else one[at] = static_cast<char>(rng.below(2) ? rng.below(256) : rng.below(4));
    }
    const std::string longer = unknown + one;
    sparkplug::Metric left, right;
    const bool is_one = sparkplug::read_metric(bytes_of(one), left);
    const std::string shorter = said(is_one, left);
    const bool is_too = sparkplug::read_metric(bytes_of(longer), right);
    CAPTURE(to_hex(bytes_of(one)));
    REQUIRE(shorter == said(is_too, right));
    ++(is_one ? good : bad);
    std::string all = birth;
    all[rng.below(all.size())] = static_cast<char>(rng.below(256));
    if (rng.below(4) == 0) all.resize(rng.below(all.size()));
    const std::string longer_all = unknown + all;
    sparkplug::Payload plain, library;
    const Status status = sparkplug::read_payload(bytes_of(all), plain);
    REQUIRE(status.detail() == sparkplug::read_payload(bytes_of(longer_all), library).detail());
    if (!status.ok()) continue;
    CHECK(plain.timestamp == library.timestamp);
    CHECK(plain.seq == library.seq);
    CHECK(plain.uuid == library.uuid);
    CHECK(text_of(plain.body) == text_of(library.body));
    REQUIRE(std::ranges::equal(plain.metrics, library.metrics, {}, text_of, text_of));
  }
  CHECK(good > 1000);
  CHECK(bad > 1000);
}

TEST_CASE("sparkplug: one unknown alias costs no neighbour, and a retry gives it alone") {
  Host host;
  (void)host.hear(nbirth, message(0, {metric("a", 1, 3, 1)}));
  const std::string data = message(1, {metric("", 1, 3, 2), metric("", 9, 3, 5)});
  CHECK(host.hear(ndata, data) == Words{"a=2i"});
  CHECK(host.status.ok());
  CHECK(host.unread.missing == ValueRuns{{1, 2}});
  CHECK(host.remembered.beside.replies.size() == 1);
  (void)host.hear(nbirth, message(0, {metric("a", 1, 3, 1), metric("b", 9, 3, 1)}));
  CHECK(host.hear(ndata, data, true, {{1, 2}}) == Words{"b=5i"});
}

TEST_CASE("sparkplug: a gap in the sequence asks for a rebirth, and until it comes aliases are in doubt") {
  Host host;
  (void)host.hear(nbirth, message(0, {metric("a", 1, 3, 1)}));
  for (int seq = 1; seq <= 600; ++seq) {
    CHECK(host.hear(ndata, message(seq % 256, {metric("", 1, 3, 2)})).size() == 1);
    CHECK(host.remembered.beside.replies.empty());
  }
  CHECK(host.hear(ndata, message(200, {metric("", 1, 3, 2), metric("a", 0, 3, 3)})) == Words{"a=2i", "a=3i"});
  CHECK(host.noted("sequence_gap"));
  CHECK(host.remembered.beside.replies.size() == 1);
  CHECK(host.records[0].quality == Quality::uncertain);
  CHECK(host.records[1].quality == Quality::good);  // it said its name
  (void)host.hear(nbirth, message(0, {metric("a", 1, 3, 1)}));
  (void)host.hear(ndata, message(1, {metric("", 1, 3, 2)}));
  CHECK(host.records[0].quality == Quality::good);
}

TEST_CASE("sparkplug: deaths make stale and are events; the will of an earlier session is not believed") {
  Host host;
  const auto session = [](std::uint64_t number) { return metric("bdSeq", 0, 4, number); };
  (void)host.hear(nbirth, message(0, {session(1), metric("a", 1, 3, 1)}));
  (void)host.hear(dbirth, message(1, {metric("t", 2, 3, 20)}));
  CHECK(host.events() == Words{"g/n/d comes"});
  CHECK(host.hear(ddata, message(2, {metric("", 2, 3, 21)})) == Words{"t=21i"});
  CHECK(host.records[0].device == "g/n/d");
  CHECK(host.hear(ddeath, message(3, {})) == Words{"t=21i"});
  CHECK(host.records[0].quality == Quality::bad);
  CHECK(host.events() == Words{"g/n/d goes"});
  CHECK(host.hear(ddata, message(4, {metric("", 2, 3, 22)})).empty());
  CHECK(host.noted("data_before_birth"));
  (void)host.hear(dbirth, message(5, {metric("t", 2, 3, 23)}));
  CHECK(host.hear(ndeath, message(-1, {session(0)})).empty());
  CHECK(host.noted("death_of_earlier_session"));
  CHECK(host.hear(ndeath, message(-1, {session(1)})) == Words{"a=1i", "t=23i"});
  CHECK(host.events() == Words{"g/n goes", "g/n/d goes"});
  CHECK(host.hear(ndeath, message(-1, {session(1)})).empty());
  CHECK(host.events().empty());
  // It comes back with other aliases.
  (void)host.hear(nbirth, message(0, {session(2), metric("a", 7, 3, 5)}));
  CHECK(host.events() == Words{"g/n comes"});
  CHECK(host.hear(ndata, message(1, {metric("", 7, 3, 6)})) == Words{"a=6i"});
  CHECK(host.hear(ndata, message(2, {metric("", 1, 3, 6)})).empty());
}

TEST_CASE("sparkplug: after a restart aliases are known as they were saved, and the sequence goes on") {
  Host host;
  (void)host.hear(nbirth, message(0, {metric("bdSeq", 0, 4, 300), metric("a", 1, 3, 1)}));
  (void)host.hear(dbirth, message(1, {metric("t", 2, 3, 20)}));
  (void)host.hear(ddata, message(2, {metric("", 2, 3, 21)}));
  host.restart();
  CHECK(host.hear(ddata, message(3, {metric("", 2, 0, 22)})) == Words{"t=22i"});
  CHECK_FALSE(host.noted("sequence_gap"));
  host.restart();
  (void)host.hear(ndata, message(9, {metric("", 1, 0, 22)}));
  CHECK(host.noted("sequence_gap"));
  host.restart();
  (void)host.hear(ndata, message(10, {metric("", 1, 0, 22)}));
  CHECK(host.records[0].quality == Quality::uncertain);
  // what t last said, this process did not hear
  CHECK(host.hear(ndeath, message(-1, {metric("bdSeq", 0, 4, 300)})) == Words{"a=22i"});
  host.restart();
  CHECK(host.hear(ndata, message(11, {metric("", 1, 0, 22)})).empty());
  CHECK(host.saved.size() == 2);  // the births: who died has no sequence
}

TEST_CASE("sparkplug: compressed payloads, bounded") {
  const std::string plain = message(0, {metric("a", 1, 3, 1)});
  // Of node's zlib: deflateSync, deflateRawSync, gzipSync.
  for (const char* hex :
       {"789ce368b830f5ff1e43214e2ec644014605e60046090600485b04fe",
        "e368b830f5ff1e43214e2ec644014605e60046090600",
        "1f8b0800000000000003e368b830f5ff1e43214e2ec644014605e60046090600fcb2c74a14000000"}) {
    Host host;
    Bytes out;
    wire::Writer writer(out);
    writer.text_field(4, "SPBV1.0_COMPRESSED");
    writer.bytes_field(5, bytes_of(of_hex(hex)));
    CHECK(host.hear(nbirth, text_of(out)) == Words{"a=1i"});
    CHECK(host.hear(nbirth, text_of(out).substr(0, out.size() - 9)).empty());
    CHECK_FALSE(host.status.ok());
  }
  Bytes large;
  // 100,000 zeros.
  constexpr std::string_view zeros =
      "789cedc13101000000c2a0f54f6d0d0fa000000000000000000000000000000000000000000000000000000000000000"
      "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
      "000000000000000000000000000000000080570386af0001";
  CHECK(sparkplug::inflate_body(bytes_of(of_hex(zeros)), 100'000, large).ok());
  CHECK(large.size() == 100'000);
  CHECK(sparkplug::inflate_body(bytes_of(of_hex(zeros)), 99'999, large).detail().find("inflated_max") !=
        std::string::npos);
}

TEST_CASE("sparkplug: what it remembers is bounded, and what finds no room is told") {
  sparkplug::Memory memory;
  const sparkplug::Memory::Limits limits{2, 3};
  CHECK(memory.find_or_add("g/a", {1}, limits) != nullptr);
  sparkplug::Node* b = memory.find_or_add("g/b", {2}, limits);
  b->own.alive = true;
  CHECK(memory.find_or_add("g/c", {3}, limits) != nullptr);  // a is dead
  CHECK(memory.find("g/a") == nullptr);
  memory.find("g/c")->own.alive = true;
  CHECK(memory.find_or_add("g/d", {4}, limits) == nullptr);  // both live
  // an hour of silence
  CHECK(memory.find_or_add("g/d", {std::int64_t{3600} * 1'000'000'000 + 10}, limits) != nullptr);
  CHECK(memory.find("g/b") == nullptr);
  sparkplug::Place& place = memory.find("g/c")->own;
  for (const char* name : {"x", "y", "z"}) CHECK(memory.learn(place, {name, {}, 3, "", {}}, limits));
  CHECK_FALSE(memory.learn(place, {"w", {}, 3, "", {}}, limits));
  CHECK(memory.learn(place, {"x", 5, 3, "", {}}, limits));
  CHECK(memory.device(*memory.find("g/c"), "d", limits) == nullptr);
  memory.forget(place);
  CHECK(memory.learn(place, {"w", {}, 3, "", {}}, limits));
}

// A BooleanArray of so many.
Bytes flags(std::string_view name, std::uint32_t count) {
  std::string packed;
  for (int shift = 0; shift < 32; shift += 8) packed.push_back(static_cast<char>(count >> shift & 0xFF));
  packed.append((count + 7) / 8, '\x55');
  Bytes out;
  wire::Writer writer(out);
  writer.text_field(1, name);
  writer.uint_field(4, 32);
  writer.bytes_field(16, bytes_of(packed));
  return out;
}

TEST_CASE(
    "sparkplug: a payload gives ten thousand values at most; a metric that has more is refused whole and told, its name learned") {
  Host host;
  CHECK(host.hear(nbirth,
                  message(0, {flags("a", 6000), flags("b", 6000), metric("c", 1, 3, 1), flags("d", 3999)}))
            .size() == 10'000);
  CHECK(host.status.ok());
  CHECK(host.unread.missing == ValueRuns{{1, 2}});
  CHECK(host.unread.told[0] == "b: more values than the 10000 a payload may have");
  CHECK(host.hear(nbirth, message(0, {flags("a", 6000), flags("b", 6000)}), true, {{1, 2}}).size() == 6000);
  // One that is too large by itself costs no neighbour, however many of it there are.
  std::vector<Bytes> many(2000, flags("huge", 10'001));
  many.push_back(metric("c", 1, 3, 1));
  CHECK(host.hear(nbirth, message(0, many)) == Words{"c=1i"});
  CHECK(host.unread.refusals == 2000);
  // Scalars, too; their names are known nevertheless.
  std::vector<Bytes> scalars;
  for (std::uint64_t i = 1; i <= 10'001; ++i) scalars.push_back(metric(text("m", i), i, 3, i));
  CHECK(host.hear(nbirth, message(0, scalars)).size() == 10'000);
  CHECK(host.hear(ndata, message(1, {metric("", 10'001, 3, 7)})) == Words{"m10001=7i"});
}

TEST_CASE(
    "sparkplug: a number where a text or a message is due is refused: nothing is a view of what is gone") {
  const auto number = [](std::uint32_t field, wire::Type type) {
    Bytes out;
    wire::Writer writer(out);
    writer.tag(field, type);
    if (type == wire::varint) writer.put_varint(7);
    else writer.put_fixed64(7);
    return out;
  };
  for (const auto type : {wire::varint, wire::fixed64}) {
    // name, properties, string, bytes, DataSet, Template
    for (const std::uint32_t field : {1, 9, 15, 16, 17, 18}) {
      sparkplug::Metric metric;
      CHECK_FALSE(sparkplug::read_metric(number(field, type), metric));
    }
    for (const std::uint32_t field : {2, 4, 5}) {  // metrics, uuid, body
      sparkplug::Payload payload;
      CHECK_FALSE(sparkplug::read_payload(number(field, type), payload).ok());
    }
    sparkplug::DataSet set;
    for (const std::uint32_t field : {2, 4}) CHECK_FALSE(sparkplug::read_data_set(number(field, type), set));
    sparkplug::Template group;
    for (const std::uint32_t field : {2, 3})
      CHECK_FALSE(sparkplug::read_template(number(field, type), group));
    for (const std::uint32_t field : {1, 2}) {
      std::vector<sparkplug::Property> properties;
      CHECK_FALSE(sparkplug::read_properties(number(field, type), properties));
    }
  }
}

TEST_CASE("sparkplug: two sites behind bridges have nodes of their own, also after a restart") {
  Host host;
  host.route.topic = "+/#";
  (void)host.hear("a/spBv1.0/g/NBIRTH/n", message(0, {metric("x", 1, 3, 1)}));
  (void)host.hear("b/spBv1.0/g/NBIRTH/n", message(0, {metric("y", 1, 3, 1)}));
  (void)host.hear("b/spBv1.0/g/DBIRTH/n/d", message(1, {metric("z", 2, 3, 1)}));
  CHECK(host.hear("a/spBv1.0/g/NDATA/n", message(1, {metric("", 1, 3, 2)})) == Words{"x=2i"});
  host.restart();
  CHECK(host.hear("b/spBv1.0/g/NDATA/n", message(2, {metric("", 1, 3, 3)})) == Words{"y=3i"});
  CHECK(host.hear("b/spBv1.0/g/DDATA/n/d", message(3, {metric("", 2, 3, 4)})) == Words{"z=4i"});
  CHECK_FALSE(host.noted("sequence_gap"));
  CHECK(host.hear("a/spBv1.0/g/DDATA/n/d", message(2, {metric("", 2, 3, 4)})).empty());
}

TEST_CASE("sparkplug: a rebirth that does not come is asked for again while a gap leaves aliases in doubt") {
  Host host;
  (void)host.hear(nbirth, message(0, {metric("a", 1, 3, 1)}));
  (void)host.hear(ndata, message(5, {metric("", 1, 3, 2)}));
  CHECK(host.remembered.beside.replies.size() == 1);
  (void)host.hear(ndata, message(6, {metric("", 1, 3, 2)}));
  CHECK(host.remembered.beside.replies.empty());
  host.seconds += 11;
  (void)host.hear(ndata, message(7, {metric("", 1, 3, 2)}));
  CHECK_FALSE(host.noted("sequence_gap"));
  CHECK(host.remembered.beside.replies.size() == 1);
}

TEST_CASE("sparkplug: deaths of what nobody knows give no event and no memory, and long levels are refused") {
  Host host;
  CHECK(host.hear("spBv1.0/g/NDEATH/nobody", message(-1, {})).empty());
  CHECK(host.noted("death_of_unknown"));
  CHECK(host.events().empty());
  (void)host.hear(nbirth, message(0, {metric("a", 1, 3, 1)}));
  const auto held = [&] { return host.remembered.memories.at("sparkplug")->figures(); };
  const auto before = held();
  (void)host.hear("spBv1.0/g/DDEATH/n/nobody", message(1, {}));
  CHECK(host.noted("death_of_unknown"));
  CHECK(host.events().empty());
  CHECK(held() == before);
  const std::string longest(257, 'x');
  for (const std::string& topic :
       {text("spBv1.0/", longest, "/NBIRTH/n"), text("spBv1.0/g/NBIRTH/", longest),
        text("spBv1.0/g/DBIRTH/n/", longest), text(longest, "/spBv1.0/g/NBIRTH/n")}) {
    host.seconds++;
    sparkplug::Topic parsed;
    CHECK_FALSE(sparkplug::parse_topic(topic, parsed));
  }
}

TEST_CASE("sparkplug: a member of a template replaces no metric, and an alias of two metrics is none's") {
  Host host;
  Bytes member, group, whole;
  wire::Writer(member).text_field(1, "b");
  wire::Writer(member).uint_field(4, 11);
  wire::Writer(member).uint_field(14, 1);
  wire::Writer(group).bytes_field(2, member);
  wire::Writer(whole).text_field(1, "a");
  wire::Writer(whole).uint_field(4, 19);
  wire::Writer(whole).bytes_field(18, group);
  CHECK(host.hear(nbirth, message(0, {metric("a/b", 1, 3, 5), whole})) == Words{"a/b=5i", "a/b=true"});
  CHECK(host.hear(ndata, message(1, {metric("", 1, 0, 6)})) == Words{"a/b=6i"});
  (void)host.hear(nbirth, message(0, {metric("x", 1, 3, 5), metric("y", 1, 3, 5), metric("z", 2, 3, 5)}));
  for (int seq = 1; seq <= 2; ++seq) {
    CHECK(host.hear(ndata, message(seq, {metric("", 1, 3, 6), metric("", 2, 3, 6)})) == Words{"z=6i"});
    CHECK(host.noted("alias_unknown"));
    host.restart();
  }
}

TEST_CASE("sparkplug: a node of an earlier run has an hour to be heard before another takes its room") {
  sparkplug::Memory first, next;
  const sparkplug::Memory::Limits limits{2, 10};
  for (const char* name : {"g/a", "g/b"}) {
    sparkplug::Node* node = first.find_or_add(name, {1}, limits);
    node->own.alive = true;
    first.touch(node->own);
  }
  std::vector<FormatMemory::Piece> pieces;
  first.save(pieces);
  for (const auto& piece : pieces) next.load(piece.name, piece.bytes);
  const std::int64_t hour = std::int64_t{3600} * 1'000'000'000;
  CHECK(next.find_or_add("g/c", {100 * hour}, limits) == nullptr);
  CHECK(next.find("g/a") != nullptr);
  CHECK(next.find_or_add("g/c", {101 * hour + 1}, limits) != nullptr);
}

TEST_CASE("sparkplug: what a message saves does not grow with the nodes there are") {
  Host host;
  const auto topic = [](const char* type, int node) {
    return text("spBv1.0/plant-number-seven/", type, "/edge-node-", node);
  };
  constexpr int nodes = 1000;
  for (int i = 0; i < nodes; ++i) (void)host.hear(topic("NBIRTH", i), message(0, {metric("t", 1, 3, 1)}));
  host.restart();
  std::size_t all = 0, saved = 0;
  for (const auto& [name, bytes] : host.saved) all += name.starts_with("seq") ? bytes.size() : 0;
  (void)host.hear(topic("NDATA", 77), message(1, {metric("", 1, 3, 2)}));
  std::vector<FormatMemory::Piece> pieces;
  host.remembered.memories.at("sparkplug")->save(pieces);
  for (FormatMemory::Piece& piece : pieces) {
    saved += piece.bytes.size();
    host.saved[piece.name] = std::move(piece.bytes);
  }
  CHECK(all > nodes * 30);
  CHECK(saved > 0);
  CHECK(saved < all / 16);
  host.restart();
  for (int i = 0; i < nodes; ++i) {
    CHECK(host.hear(topic("NDATA", i), message(i == 77 ? 2 : 1, {metric("", 1, 3, 3)})).size() == 1);
    CHECK_FALSE(host.noted("sequence_gap"));
  }
}

TEST_CASE("sparkplug: sequences that an earlier version saved in one piece go on, and lie in several") {
  Host host;
  for (const char* node : {"a", "b"})
    (void)host.hear(text("spBv1.0/g/NBIRTH/", node), message(0, {metric("t", 1, 3, 1)}));
  host.restart();
  std::erase_if(host.saved, [](const auto& one) { return one.first.starts_with("seq"); });
  Bytes once;
  wire::Writer writer(once);
  writer.put_varint(1);
  for (const std::string_view node : {"g/a", "g/b"}) {
    writer.put_varint(node.size());
    writer.append(node.data(), node.size());
    writer.put_varint(7);
  }
  host.saved["seq"] = once;
  host.remembered = {};
  (void)host.router->add_memories(host.remembered);
  for (const auto& [name, bytes] : host.saved) host.remembered.memories.at("sparkplug")->load(name, bytes);
  host.restart();
  CHECK_FALSE(host.saved.contains("seq"));
  (void)host.hear("spBv1.0/g/NDATA/a", message(7, {metric("", 1, 3, 3)}));
  CHECK_FALSE(host.noted("sequence_gap"));
  (void)host.hear("spBv1.0/g/NDATA/b", message(8, {metric("", 1, 3, 3)}));
  CHECK(host.noted("sequence_gap"));
}

TEST_CASE("sparkplug: a birth of another session makes stale what its devices said last") {
  Host host;
  const auto session = [](std::uint64_t number) { return metric("bdSeq", 0, 4, number); };
  (void)host.hear(nbirth, message(0, {session(1), metric("a", 1, 3, 1)}));
  (void)host.hear(dbirth, message(1, {metric("t", 2, 3, 20)}));
  CHECK(host.hear(nbirth, message(0, {session(1), metric("a", 1, 3, 2)})) == Words{"a=2i"});  // a rebirth
  CHECK(host.events().empty());
  (void)host.hear(dbirth, message(1, {metric("t", 2, 3, 21)}));
  CHECK(host.hear(nbirth, message(0, {session(2), metric("a", 1, 3, 3)})) == Words{"t=21i", "a=3i"});
  CHECK(host.records[0].device == "g/n/d");
  CHECK(host.records[0].quality == Quality::bad);
  CHECK(host.records[0].time.us == static_cast<std::int64_t>(at_ms) * 1000);
  CHECK(host.events() == Words{"g/n/d goes"});
}

TEST_CASE("sparkplug: topics, commands and routes") {
  Host host;
  CHECK(host.hear("spBv1.0/g/NCMD/n", "x").empty());
  CHECK(host.unread.ignored);
  CHECK(host.hear("spBv1.0/STATE/host", "{}").empty());
  CHECK(host.unread.ignored);
  for (const char* bad : {"spBv1.0/g/NBIRTH", "spBv1.0/g/NBIRTH/n/d", "spBv1.0/g/DBIRTH/n",
                          "spBv1.0/g/WHAT/n", "spBv1.0//NDATA/n"}) {
    CHECK(host.hear(bad, message(0, {})).empty());
    CHECK_FALSE(host.status.ok());
  }
  CHECK(host.hear(ndata, "no protobuf").empty());
  CHECK_FALSE(host.status.ok());
  Host bridged;
  bridged.route.topic = "site/+/#";
  bridged.route.device = "{device_id}@{edge_node_id}";
  MetricConfig wanted;
  wanted.name = "temperature";
  wanted.path = "Inlet/T";
  wanted.unit = "C";
  wanted.scale = 0.1;
  bridged.route.metrics = {wanted};
  CHECK(bridged.hear("site/9/spBv1.0/g/DDATA/n/d",
                     message(0, {metric("Inlet/T", 0, 3, 215), metric("other", 0, 3, 1)})) ==
        Words{"temperature=21.5"});
  CHECK(bridged.records[0].device == "d@n");
  CHECK(bridged.records[0].unit == "C");
  REQUIRE(bridged.remembered.beside.replies.size() == 1);
  CHECK(bridged.remembered.beside.replies[0].topic == "site/9/spBv1.0/g/NCMD/n");
  CHECK(bridged.hear("site/9/spBv1.0/g/NBIRTH/n", message(0, {metric("Inlet/T", 1, 3, 200)})) ==
        Words{"temperature=20"});
  CHECK(bridged.records[0].device == "@n");
  RouteConfig route = host.route;
  route.device = "{nobody}";
  CHECK_FALSE(Router::make({route}).ok());
}

}  // namespace sparkplug_test
