// Bytes by a layout: types, orders, bits, what is cut; hex and base64; bytes inside of JSON, as LoRaWAN
// servers send them.
#include <doctest/doctest.h>

#include "decode/blob_text.h"
#include "decode/format_kind.h"
#include "decode/layout.h"
#include "tests/support/decoding.h"

namespace layout_test {
using namespace millrace;
using Readings = std::vector<std::string>;
using namespace std::string_view_literals;

namespace {

struct Words {
  std::string inside, encoding = "auto", byte_order = "big";
  std::int64_t skip = 0, repeat = 0;
};

FieldConfig field(const char* name, const char* type, std::int64_t at) {
  FieldConfig out;
  out.name = name;
  out.type = type;
  out.at = at;
  return out;
}
FieldConfig bits(const char* name, std::int64_t at, std::int64_t bit, std::int64_t count,
                 const char* type = "bits", std::int64_t length = 0) {
  FieldConfig out = field(name, type, at);
  out.bit = bit;
  out.bits = count;
  out.length = length;
  return out;
}

RouteConfig binary(const std::vector<FieldConfig>& fields, const Words& words = {}) {
  RouteConfig route;
  route.topic = "{device}/up";
  route.format = "binary";
  route.format_chosen = choose(built_formats(), "binary");
  for (const Key& key : *route.format_chosen.kind->shape) {
    void* member = key.at(route.format_chosen.values.get());
    const std::string_view name = key.name;
    if (name == "inside") *static_cast<std::string*>(member) = words.inside;
    if (name == "encoding") *static_cast<std::string*>(member) = words.encoding;
    if (name == "byte_order") *static_cast<std::string*>(member) = words.byte_order;
    if (name == "skip") *static_cast<std::int64_t*>(member) = words.skip;
    if (name == "repeat") *static_cast<std::int64_t*>(member) = words.repeat;
    if (name == "fields") *static_cast<std::vector<FieldConfig>*>(member) = fields;
  }
  return route;
}

Decoded read(const RouteConfig& route, std::string_view payload, const ValueRuns& only = {}) {
  return decode(route, payload, "d1/up", only);
}

}  // namespace

TEST_CASE("binary: every type, in each order") {
  const auto one = [](FieldConfig field, std::string_view bytes) {
    const Decoded out = read(binary({field}), bytes);
    return out.records.empty() ? out.status.detail() : out.readings()[0];
  };
  CHECK(one(field("v", "u8", 0), "\xff"sv) == "v=255");
  CHECK(one(field("v", "i8", 0), "\xff"sv) == "v=-1");
  CHECK(one(field("v", "u16", 0), "\x01\x02"sv) == "v=258");
  CHECK(one(field("v", "i16", 0), "\xff\xfe"sv) == "v=-2");
  CHECK(one(field("v", "u24", 0), "\x01\x00\x00"sv) == "v=65536");
  CHECK(one(field("v", "i24", 0), "\x80\x00\x00"sv) == "v=-8388608");
  CHECK(one(field("v", "u32", 0), "\xff\xff\xff\xff"sv) == "v=4294967295");
  CHECK(one(field("v", "i64", 0), "\x80\x00\x00\x00\x00\x00\x00\x01"sv) == "v=-9223372036854775807i");
  CHECK(one(field("v", "u64", 0), "\x7f\xff\xff\xff\xff\xff\xff\xff"sv) == "v=9223372036854775807i");
  CHECK(one(field("v", "f32", 0), "\x41\xac\x00\x00"sv) == "v=21.5");
  CHECK(one(field("v", "f32", 0), "\x3d\xcc\xcc\xcd"sv) == "v=0.1");
  CHECK(one(field("v", "f64", 0), "\x40\x35\x80\x00\x00\x00\x00\x00"sv) == "v=21.5");
  FieldConfig text = field("v", "string", 1), hex = field("v", "hex", 0), bcd = field("v", "bcd", 0);
  text.length = 4;
  hex.length = 2;
  bcd.length = 3;
  CHECK(one(text,
            "\x00"
            "ab\0x"sv) == "v='ab'");
  CHECK(one(hex, "\x0a\xb0"sv) == "v='0ab0'");
  CHECK(one(bcd, "\x12\x34\x56"sv) == "v=123456");
  CHECK(one(bcd, "\x12\x3a\x56"sv) == "v: a digit above 9 in a BCD number");
  for (const auto& [order, bytes] :
       {std::pair{"big", "\x01\x02\x03\x04"sv}, std::pair{"little", "\x04\x03\x02\x01"sv},
        std::pair{"BADC", "\x02\x01\x04\x03"sv}, std::pair{"CDAB", "\x03\x04\x01\x02"sv}}) {
    CAPTURE(order);
    FieldConfig word = field("v", "u32", 0);
    word.byte_order = order;
    CHECK(one(word, bytes) == "v=16909060");
  }
  CHECK(one(bits("v", 0, 7, 1), "\x80"sv) == "v=true");
  CHECK(one(bits("v", 0, 4, 3), "\x50"sv) == "v=5");
  CHECK(one(bits("v", 0, 0, 12), "\x0f\xff"sv) == "v=4095");
  CHECK(one(bits("v", 0, 0, 12, "sbits"), "\x0f\xff"sv) == "v=-1");
  CHECK(one(bits("v", 0, 30, 2, "bits", 4), "\xc0\x00\x00\x00"sv) == "v=3");
  CHECK(one(field("v", "u8", -1), "\x01\x02\x03"sv) == "v=3");
}

TEST_CASE("binary: scale, no value, what is cut, what is not there") {
  FieldConfig t = field("t", "i16", 0), h = field("h", "u8", 2), late = field("late", "u32", 3);
  t.scale = 0.01;
  t.unit = "C";
  t.no_value = -32768;
  h.offset = -40;
  const RouteConfig route = binary({t, h, late, bits("alarm", 2, 7, 1)});
  Decoded out = read(route, "\x08\x66\xa8"sv);
  CHECK(out.readings() == Readings{"t=21.5", "h=128", "alarm=true"});
  CHECK(out.records[0].unit == "C");
  CHECK_FALSE(out.unread.any());
  out = read(route, "\x80\x00\x28\x01\x02"sv);
  CHECK(out.readings() == Readings{"h=0", "alarm=false"});
  CHECK(out.unread.no_value == 1);
  CHECK(out.unread.reason() == "late: the bytes end in the middle of it: there are 5");
  // The layout was wrong: the retry gives what was missing, by where it stands.
  RouteConfig mended = binary({t, h, field("late", "u16", 3), bits("alarm", 2, 7, 1)});
  CHECK(read(mended, "\x80\x00\x28\x01\x02"sv, out.unread.missing).readings() == Readings{"late=258"});
  CHECK(read(route, ""sv).unread.no_value == 1);
}

TEST_CASE("binary: of two fields at the same place the one that is missing comes with a retry, alone") {
  FieldConfig raw = field("raw", "hex", 0), bcd = field("b", "bcd", 1);
  raw.length = 4;
  bcd.length = 1;
  const std::vector<FieldConfig> fields = {field("a", "u8", 0), bcd, field("c", "u8", 1), raw};
  const Decoded out = read(binary(fields), "\x01\x0a\x02"sv);
  CHECK(out.readings() == Readings{"a=1", "c=10"});
  CHECK(out.unread.refusals == 2);
  CHECK(read(binary(fields), "\x01\x0a\x02"sv, out.unread.missing).records.empty());
  raw.length = 3;
  bcd.type = "i8";
  bcd.length = 0;
  CHECK(
      read(binary({field("a", "u8", 0), bcd, field("c", "u8", 1), raw}), "\x01\x0a\x02"sv, out.unread.missing)
          .readings() == Readings{"b=10", "raw='010a02'"});
}

TEST_CASE("binary: time, names and conditions by field") {
  RouteConfig route =
      binary({field("ts", "u32", 0), field("kind", "u8", 4), field("id", "u8", 5), field("v", "u8", 6)});
  route.time = "ts";
  route.device = "node-{.id}";
  route.when = "kind == 2";
  const Decoded out = read(route, "\x69\x55\xb9\x00\x02\x07\x2a"sv);
  CHECK(out.readings() == Readings{"kind=2", "v=42"});
  CHECK(out.records[0].device == "node-7");
  CHECK(out.records[0].time.us == 1'767'225'600'000'000);
  CHECK(read(route, "\x69\x55\xb9\x00\x01\x07\x2a"sv).unread.ignored);
}

TEST_CASE("binary: records in a row") {
  Words words;
  words.repeat = 2;
  words.skip = 1;
  const RouteConfig route = binary({field("v", "u16", 0)}, words);
  Decoded out = read(route, "\x99\x00\x01\x00\x02\x07"sv);
  CHECK(out.readings() == Readings{"v=1", "v=2"});
  CHECK(out.unread.reason() == "1 bytes are left, of 2");
}

TEST_CASE("binary: as hex and as base64") {
  Words words;
  words.encoding = "hex";
  CHECK(read(binary({field("v", "u16", 0)}, words), " 0x01 02\n").readings() == Readings{"v=258"});
  CHECK(read(binary({field("v", "u16", 0)}, words), "0102x").status.detail() == "the payload is no hex");
  words.encoding = "base64";
  CHECK(read(binary({field("v", "u16", 0)}, words), "AQI=").readings() == Readings{"v=258"});
  Bytes out;
  CHECK(bytes_of_base64("-_8", out));
  CHECK(to_hex(out) == "fbff");
  for (const char* bad : {"A", "AQI==", "AQ=I", "AR==", "A?==", "AQI===="}) {
    CAPTURE(bad);
    CHECK_FALSE(bytes_of_base64(bad, out));
  }
  for (const char* bad : {"0", "0 1", "0g"}) CHECK_FALSE(bytes_of_hex(bad, out));
}

TEST_CASE("binary: inside of JSON, as LoRaWAN's servers send it") {
  Words words;
  words.inside = "uplink_message.frm_payload";
  FieldConfig t = field("temperature", "i16", 0);
  t.scale = 0.1;
  RouteConfig route = binary({t, field("battery", "u8", 2)}, words);
  route.device = "{.end_device_ids.device_id}";
  route.time = "received_at";
  constexpr std::string_view up =
      R"({"end_device_ids":{"device_id":"hall-3"},"received_at":"2026-01-01T00:00:00Z","uplink_message":{"f_port":2,"frm_payload":"ANdk"}})";
  Decoded out = read(route, up);
  CHECK(out.status.ok());
  CHECK(out.readings() == Readings{"temperature=21.5", "battery=100"});
  CHECK(out.records[0].device == "hall-3");
  CHECK(out.records[0].time.us == 1'767'225'600'000'000);
  // What is chosen, with what stands around it.
  RouteConfig some = route;
  some.metrics = {{"t", "uplink_message.frm_payload.temperature", "C"},
                  {"port", "uplink_message.f_port", ""}};
  CHECK(read(some, up).readings() == Readings{"t=21.5", "port=2"});
  some.when = "uplink_message.f_port == 3";
  CHECK(read(some, up).unread.ignored);

  out = read(route, R"({"end_device_ids":{"device_id":"a"},"uplink_message":{"frm_payload":"A?"}})");
  CHECK(out.status.detail() == "no base64: A?");
  // A message whose time cannot be read: with its blob, and the retry has it all.
  constexpr std::string_view timeless =
      R"({"end_device_ids":{"device_id":"a"},"received_at":"x","uplink_message":{"frm_payload":"ANdk"}})";
  out = read(route, timeless);
  CHECK_FALSE(out.status.ok());
  route.time.clear();
  CHECK(read(route, timeless, out.unread.missing).readings() == Readings{"temperature=21.5", "battery=100"});
}

TEST_CASE("binary: a device without anything to say has no value inside of JSON, either") {
  Words words;
  words.inside = "data";
  RouteConfig route = binary({field("v", "u8", 0)}, words);
  for (const char* none : {R"({"port":2,"data":""})", R"({"port":2,"data":null})"}) {
    INFO(none);
    const Decoded out = read(route, none);
    CHECK(out.status.ok());
    CHECK(out.readings().empty());
    CHECK(out.unread.no_value == 1);
    CHECK_FALSE(out.unread.any());
  }
  // A condition tells it from bytes, and these from bytes that are none.
  route.when = "data != null";
  CHECK(read(route, R"({"port":2,"data":""})").unread.ignored);
  CHECK(read(route, R"({"port":2,"data":null})").unread.ignored);
  CHECK(read(route, R"({"port":2})").unread.ignored);
  CHECK(read(route, R"({"port":2,"data":"Bw=="})").readings() == Readings{"v=7"});
  CHECK(read(route, R"({"port":2,"data":"?"})").unread.reason() == "no base64: ?");
}

TEST_CASE("binary: a list of blobs, each a message") {
  Words words;
  words.inside = "d";
  words.encoding = "hex";
  RouteConfig route = binary({field("v", "u8", 0)}, words);
  route.each = "up[]";
  route.time = "ts";
  const Decoded out =
      read(route, R"({"up":[{"ts":1767225600,"d":"01"},{"ts":"x","d":"02"},{"ts":1767225602,"d":"03"}]})");
  CHECK(out.readings() == Readings{"v=1", "v=3"});
  route.time.clear();
  CHECK(read(route, R"({"up":[{"ts":1767225600,"d":"01"},{"ts":"x","d":"02"},{"ts":1767225602,"d":"03"}]})",
             out.unread.missing)
            .readings() == Readings{"v=2"});
}

TEST_CASE("binary: a layout that makes no sense is said") {
  const auto why = [](const RouteConfig& route) { return Router::make({route}).status().detail(); };
  CHECK(why(binary({})).starts_with("there are no fields"));
  CHECK(why(binary({field("v", "string", 0)})) == "field \"v\": it needs a length");
  CHECK(why(binary({bits("v", 0, 4, 8, "bits", 1)})) == "field \"v\": bits 4 to 11 are not in 1 bytes");
  FieldConfig odd = field("v", "u24", 0);
  odd.byte_order = "CDAB";
  CHECK(why(binary({odd})) == "field \"v\": byte_order = \"CDAB\" is of whole words of 16 bits");
  Words words;
  words.inside = "d";
  words.repeat = 2;
  CHECK(why(binary({field("v", "u8", 0)}, words)) ==
        "repeat is of payloads that are bytes, not of those inside of JSON");
}

TEST_CASE("binary: what scaled is beyond a double is refused") {
  FieldConfig real = field("r", "f64", 0), whole = field("w", "u64", 0);
  real.scale = 1000;
  whole.scale = 1e300;
  const Decoded out = read(binary({real, whole, field("ok", "u8", 7)}), "\x7f\xe0\x00\x00\x00\x00\x00\x01"sv);
  CHECK(out.readings() == Readings{"ok=1"});
  CHECK(out.unread.reason() == "r: scaled it does not fit a double; w: scaled it does not fit a double");
}

TEST_CASE("binary: a blob that cannot be read comes with a retry, and its neighbours keep their places") {
  Words hex, base64;
  hex.inside = base64.inside = "d[1]";
  hex.encoding = "hex";
  constexpr std::string_view one = R"({"d":["00","AQI=","03"]})";
  RouteConfig route = binary({field("v", "u8", 0)}, hex);
  Decoded out = read(route, one);
  CHECK(out.unread.reason() == "no hex: AQI=");
  route = binary({field("v", "u8", 0)}, base64);
  CHECK(read(route, one, out.unread.missing).readings() == Readings{"v=1"});
  // Of several: the second is bad, the third is where it was.
  Words words;
  words.inside = "d";
  words.encoding = "hex";
  route = binary({field("v", "u8", 0)}, words);
  route.each = "up[]";
  constexpr std::string_view three = R"({"up":[{"d":"01"},{"d":"AQ=="},{"d":"03"}]})";
  out = read(route, three);
  CHECK(out.readings() == Readings{"v=1", "v=3"});
  words.encoding = "base64";
  RouteConfig mended = binary({field("v", "u8", 0)}, words);
  mended.each = "up[]";
  CHECK(read(mended, three, out.unread.missing).readings() == Readings{"v=1"});
  // An element that is refused is an element.
  RouteConfig beside = binary({field("v", "u8", 0)}, hex);
  beside.metrics = {{"v", "d[1].v", ""}, {"after", "d[2]", ""}};
  CHECK(read(beside, R"({"d":[7,"x",9]})").readings() == Readings{"after=9"});
}

}  // namespace layout_test
