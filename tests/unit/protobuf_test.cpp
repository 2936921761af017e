// Protocol Buffers by a descriptor set: types, presence, lists, maps, well-known types, bytes that lie. The
// set and the messages are put together here; a set of protoc's and messages of somebody else's encoder are
// in tests/integration/payloads_test.py.
#include <doctest/doctest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "base/rng.h"
#include "config/toml.h"
#include "decode/format_kind.h"
#include "decode/proto_types.h"
#include "record/varint.h"
#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace protobuf_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

struct Message {
  Bytes bytes = {};
  wire::Writer out{bytes};
  Message& number(std::uint32_t field, std::uint64_t v) {
    return out.tag(field, wire::varint), out.put_varint(v), *this;
  }
  Message& real(std::uint32_t field, double v) {
    return out.tag(field, wire::fixed64), out.put_fixed64(std::bit_cast<std::uint64_t>(v)), *this;
  }
  Message& single(std::uint32_t field, float v) {
    return out.tag(field, wire::fixed32), out.put_fixed32(std::bit_cast<std::uint32_t>(v)), *this;
  }
  Message& text(std::uint32_t field, std::string_view v) {
    return out.bytes_field(field, bytes_of(v)), *this;
  }
  Message& message(std::uint32_t field, const Message& v) { return out.bytes_field(field, v.bytes), *this; }
  std::string_view view() const { return text_of(bytes); }
};

Message field(const char* name, std::uint32_t number, ProtoField::Type type, const char* of = "",
              bool repeated = false, bool optional = false) {
  Message out;
  out.text(1, name).number(3, number).number(4, repeated ? 3 : 1).number(5, type);
  if (*of) out.text(6, of);
  if (optional) out.number(9, 0).number(17, 1);
  return out;
}

// package plant; syntax proto3: Telemetry with one of everything.
Bytes descriptor_set() {
  using F = ProtoField;
  Message entry, state, telemetry, sample, stamp, file, times, set;
  entry.text(1, "TagsEntry")
      .message(2, field("key", 1, F::string))
      .message(2, field("value", 2, F::real64))
      .message(7, Message().number(7, 1));
  state.text(1, "State")
      .message(2, Message().text(1, "IDLE").number(2, 0))
      .message(2, Message().text(1, "RUN").number(2, 1));
  sample.text(1, "Sample")
      .message(2, field("at", 1, F::message, ".google.protobuf.Timestamp"))
      .message(2, field("v", 2, F::real32));
  telemetry.text(1, "Telemetry").message(3, entry).message(4, state);
  telemetry.message(2, field("id", 1, F::string))
      .message(2, field("temperature", 2, F::real64))
      .message(2, field("count", 3, F::sint32));
  telemetry.message(2, field("big", 4, F::uint64))
      .message(2, field("on", 5, F::truth))
      .message(2, field("state", 6, F::enumeration, ".plant.Telemetry.State"));
  telemetry.message(2, field("samples", 7, F::message, ".plant.Sample", true))
      .message(2, field("codes", 8, F::int32, "", true));
  telemetry.message(2, field("tags", 9, F::message, ".plant.Telemetry.TagsEntry", true))
      .message(2, field("raw", 10, F::bytes));
  telemetry.message(2, field("maybe", 11, F::int32, "", false, true));
  file.text(1, "plant.proto").text(2, "plant").message(4, telemetry).message(4, sample).text(12, "proto3");
  stamp.text(1, "Timestamp")
      .message(2, field("seconds", 1, F::int64))
      .message(2, field("nanos", 2, F::int32));
  times.text(1, "t.proto").text(2, "google.protobuf").message(4, stamp).text(12, "proto3");
  return set.message(1, times).message(1, file).bytes;
}

// A route as its file says it; `errors`: what was wrong with it.
RouteConfig route_of(const std::string& keys, std::vector<ConfigError>& errors) {
  const auto file =
      TomlFile::parse("topic = \"{device}/up\"\nformat = \"protobuf\"\n" + keys, "test", errors);
  RouteConfig route;
  REQUIRE(file);
  Section section = file->root();
  read_keys(section, topic_route_shape, &route);
  return route;
}

struct SetFile {
  std::string path =
      (std::filesystem::temp_directory_path() / text("millrace-", ::getpid(), ".desc")).string();
  explicit SetFile(const Bytes& bytes) { write(bytes); }
  ~SetFile() { std::filesystem::remove(path); }
  void write(const Bytes& bytes) const {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  std::string keys(const std::string& more = "message = \"plant.Telemetry\"\n") const {
    return text("descriptor_set = \"", path, "\"\n", more);
  }
};

RouteConfig protobuf(const std::string& more = "") {
  const SetFile file(descriptor_set());
  std::vector<ConfigError> errors;
  RouteConfig route = route_of(file.keys() + more, errors);
  for (const ConfigError& error : errors) FAIL(error.message);
  return route;
}

Decoded read(const RouteConfig& route, std::string_view payload, const ValueRuns& only = {}) {
  return decode(route, payload, "d1/up", only);
}

Message sample(std::int64_t seconds, float v) {
  return Message()
      .message(1, Message().number(1, static_cast<std::uint64_t>(seconds)).number(2, 500'000'000))
      .single(2, v);
}

}  // namespace

TEST_CASE("protobuf: scalars by their names, and what proto3 leaves out is 0") {
  const RouteConfig route = protobuf();
  Message one;
  one.text(1, "p1")
      .real(2, 21.5)
      .number(3, wire::zigzag(-3))
      .number(4, 1ull << 60)
      .number(5, 1)
      .number(6, 1)
      .text(10, "\x01\xff")
      .number(11, static_cast<std::uint64_t>(-7));
  CHECK(read(route, one.view()).readings() == Readings{"id='p1'", "temperature=21.5", "count=-3",
                                                       "big=1152921504606846976i", "on=true", "state='RUN'",
                                                       "raw='01ff'", "maybe=-7"});
  // A number that is left out is 0; what has a presence of its own is missing, and so are bytes.
  CHECK(read(route, Message().text(1, "p").view()).readings() ==
        Readings{"id='p'", "temperature=0", "count=0", "big=0", "on=false", "state='IDLE'"});
  // Of one that comes twice the last counts; what the set does not know is passed over; an unknown enumerator
  // is its number.
  Message odd;
  odd.real(2, 1).text(1, "a").text(99, "x").real(2, 2).number(6, 7);
  CHECK(read(route, odd.view()).readings() ==
        Readings{"temperature=2", "id='a'", "state=7", "count=0", "big=0", "on=false"});
  CHECK(read(protobuf("enums = \"numbers\"\nmetrics = { s = \"state\" }"), odd.view()).readings() ==
        Readings{"s=7"});
  // nan is no value, and text that is none costs itself.
  const Decoded out = read(route, Message().text(1, "\xff").real(2, std::nan("")).view());
  CHECK(out.unread.no_value == 1);
  CHECK(out.unread.reason() == "\"id\" is no value: \\xff");
}

TEST_CASE("protobuf: lists, maps, times, and each") {
  Message one;
  one.text(1, "p1").message(7, sample(1'767'225'600, 20)).message(7, sample(1'767'225'660, 21.5f));
  one.text(8, "\x01\x02")
      .number(8, 3)
      .message(9, Message().text(1, "hall").real(2, 7))
      .message(9, Message().text(1, "attic"));
  RouteConfig route = protobuf(
      "metrics = { c = \"codes[2]\", hall = \"tags.hall\", attic = \"tags.attic\", at = \"samples[1].at\" }");
  CHECK(read(route, one.view()).readings() == Readings{"at=1767225660500000", "attic=0", "c=3", "hall=7"});
  route = protobuf("each = \"samples[]\"\ntime = \"at\"\ndevice = \"{$.id}\"\nmetrics = { v = \"v\" }");
  const Decoded out = read(route, one.view());
  CHECK(out.readings() == Readings{"v=20", "v=21.5"});
  CHECK(out.records.at(1).device == "p1");
  CHECK(out.records.at(1).time.us == 1'767'225'660'500'000);
  // A sample of another time is refused alone, and a retry gives it, and nothing else.
  one.message(7, Message().message(1, Message().number(1, 1ull << 62)).single(2, 22));
  const Decoded partly = read(route, one.view());
  CHECK(partly.readings() == Readings{"v=20", "v=21.5"});
  CHECK(partly.unread.refusals > 0);
}

TEST_CASE("protobuf: the unit of a Timestamp is known, and nobody guesses it by its size") {
  // A clock that counts from 1970: 1500 s are no day of 2017.
  const RouteConfig listed =
      protobuf("each = \"samples[]\"\ntime = \"at\"\ndevice = \"d\"\nmetrics = { v = \"v\" }");
  for (const std::int64_t seconds : {0, 1'500, 1'500'000, 99'999'999}) {
    CAPTURE(seconds);
    const Decoded out = read(listed, Message().message(7, sample(seconds, 20)).view());
    CHECK(out.readings() ==
          Readings{"v=20", text("device_time=", static_cast<double>(seconds * 1'000'000 + 500'000))});
    CHECK(out.records.at(0).trust == TimeTrust::gateway);
  }
  const Decoded one = read(protobuf("time = \"samples[0].at\"\nmetrics = { t = \"temperature\" }"),
                           Message().real(2, 21).message(7, sample(1'500, 20)).view());
  CHECK(one.readings() == Readings{"t=21", "device_time=1500500000"});
  const auto why = [](const std::string& keys) {
    const auto made = Router::make({protobuf(keys)});
    return made.ok() ? std::string() : made.status().detail();
  };
  CHECK(why("each = \"samples[]\"\ntime = \"at\"\ntime_format = \"s\"\n")
            .ends_with("time_format = \"s\": \"at\" is a Timestamp, whose unit is known"));
  CHECK(
      why("metrics = { t = \"temprature\" }").ends_with("plant.Telemetry has no field \"temprature\" there"));
  CHECK(why("each = \"samples[]\"\nmetrics = { t = \"w\" }").ends_with("has no field \"w\" there"));
  CHECK(why("metrics = { t = \"tags.anything\", u = \"id.in_a_text\" }").empty());
}

TEST_CASE("protobuf: a message that is said in pieces is merged, not told twice") {
  Message one;
  one.message(7, Message()
                     .message(1, Message().number(1, 1'767'225'600))
                     .single(2, 20)
                     .message(1, Message().number(2, 500'000'000)));
  const RouteConfig route = protobuf("each = \"samples[]\"\ntime = \"at\"\nmetrics = { v = \"v\" }");
  const Decoded out = read(route, one.view());
  CHECK(out.readings() == Readings{"v=20"});
  REQUIRE(out.records.size() == 1);
  CHECK(out.records[0].time.us == 1'767'225'600'500'000);
  CHECK(read(protobuf(), one.view()).readings() == Readings{"samples[0].at=1767225600500000",
                                                            "samples[0].v=20", "id=''", "temperature=0",
                                                            "count=0", "big=0", "on=false", "state='IDLE'"});
}

TEST_CASE("protobuf: a text of a list that is none moves no other, and one that nobody wants costs nothing") {
  const RouteConfig all = protobuf(), one = protobuf("metrics = { t = \"temperature\" }");
  Message tagged;
  tagged.text(1, "\xff").real(2, 1);
  CHECK(read(one, tagged.view()).readings() == Readings{"t=1"});
  CHECK_FALSE(read(one, tagged.view()).unread.any());
  CHECK(read(all, tagged.view()).unread.refusals == 1);
}

TEST_CASE("protobuf: several in a payload, and bytes that are none") {
  const RouteConfig several = protobuf("delimited = true\nmetrics = { t = \"temperature\" }");
  Message two;
  two.out.put_varint(9);
  two.real(2, 1).out.put_varint(9);
  two.real(2, 2);
  CHECK(read(several, two.view()).readings() == Readings{"t=1", "t=2"});
  CHECK(read(several, two.view().substr(0, 15)).status.detail() ==
        "the payload ends in the middle of a message");
  const RouteConfig route = protobuf();
  CHECK(read(route, "{\"a\":1}").status.detail().starts_with("no plant.Telemetry: "));
  CHECK(read(route, Message().number(2, 5).view()).status.detail() ==
        "no plant.Telemetry: \"temperature\" is of another type there");
  Rng rng(seed());
  Message good;
  good.text(1, "p1")
      .real(2, 21.5)
      .message(7, sample(1'767'225'600, 20))
      .message(9, Message().text(1, "hall").real(2, 7));
  for (int round = 0; round < 5000 * effort(); ++round) {
    std::string bad(good.view());
    for (std::uint64_t flips = 1 + rng.below(3); flips > 0; --flips)
      bad[rng.below(bad.size())] = static_cast<char>(rng.next());
    const Decoded out = read(route, bad);
    if (!out.status.ok()) CHECK(out.records.empty());
  }
}

TEST_CASE("protobuf: sets that are none, types that are not there, a set that has changed") {
  const SetFile file(descriptor_set());
  std::vector<ConfigError> errors;
  const RouteConfig before = route_of(file.keys(), errors);
  CHECK(errors.empty());
  (void)route_of(file.keys("message = \"plant.Telemetri\"\n"), errors);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].message.find("there is no message \"plant.Telemetri\" in " + file.path +
                               "; plant.Telemetry?") != std::string::npos);
  errors.clear();
  Bytes set = descriptor_set();
  set.insert(set.end(), {std::byte{0x12}, std::byte{0}});  // of no meaning to us
  file.write(set);
  CHECK_FALSE(same_values(topic_route_shape, &before, [&] {
    static RouteConfig now;
    now = route_of(file.keys(), errors);
    return &now;
  }()));
  CHECK(errors.empty());
  file.write(to_bytes("no set"));
  (void)route_of(file.keys(), errors);
  CHECK(errors.size() == 1);
  errors.clear();
  std::filesystem::remove(file.path);
  (void)route_of(file.keys(), errors);
  CHECK(errors.size() == 1);
  errors.clear();
  (void)route_of("message = \"x\"\n", errors);
  CHECK(errors.size() == 1);
  // A set without what its messages are made of.
  Message lacking;
  lacking.message(
      1, Message()
             .text(1, "x.proto")
             .message(4, Message().text(1, "M").message(2, field("f", 1, ProtoField::message, ".other.T"))));
  CHECK(ProtoTypes::read(lacking.bytes).status().detail() == "it lacks .other.T (protoc --include_imports)");
  Rng rng(seed());
  const Bytes good = descriptor_set();
  for (int round = 0; round < 5000 * effort(); ++round) {
    Bytes bad = good;
    for (std::uint64_t flips = 1 + rng.below(3); flips > 0; --flips)
      bad[rng.below(bad.size())] = static_cast<std::byte>(rng.next());
    (void)ProtoTypes::read(bad);
  }
}

TEST_CASE("protobuf: many values, many that are left out, and time that does not grow with their square") {
  const RouteConfig route = protobuf("metrics = { id = \"id\" }");
  Message packed;
  packed.text(8, std::string(2 << 20, '\x01'));
  CHECK(read(route, packed.view()).status.detail() == "more than 100000 values");
  Message many;
  for (int i = 0; i < 60'000; ++i) many.text(7, "");
  CHECK(read(route, many.view()).status.detail() == "more than 100000 values");
  Message again;
  again.text(8, std::string(45'000, '\x01')).text(1, "p0");
  for (int i = 0; i < 45'000; ++i) again.text(1, "p1");
  const std::clock_t before = std::clock();
  CHECK(read(route, again.view()).readings() == Readings{"id='p1'"});
  CHECK(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC < 3);
}

TEST_CASE("protobuf: a message whose values are all 0 has no bytes") {
  // A broker says so, too, that a retained value is gone, to those who are subscribed when it goes: with
  // retain = 0.
  const Decoded gone = read(protobuf(), "");
  CHECK(gone.records.empty());
  CHECK(gone.status.detail().find("no bytes: a retained value that is gone") == 0);
  const RouteConfig route = protobuf("empty = 'zeros'");
  const Readings zeros{"id=''", "temperature=0", "count=0", "big=0", "on=false", "state='IDLE'"};
  CHECK(read(route, "").readings() == zeros);
  CHECK(read(protobuf("delimited = true"), "").unread.no_value == 1);
  // Retained it says that a value is gone.
  auto router = Router::make({route});
  REQUIRE(router.ok());
  Arrival arrival;
  arrival.channel = "d1/up";
  arrival.retained = true;
  Decoded out;
  out.status = router.value().decode(arrival, out.records, out.unread);
  CHECK(out.records.empty());
  CHECK(out.unread.no_value == 1);
}

}  // namespace protobuf_test
