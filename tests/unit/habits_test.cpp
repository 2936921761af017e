// Habits of devices that take more than a path: JSON in a text, units in members, times in two halves, what
// stands for nothing.
#include <doctest/doctest.h>

#include "base/utf16.h"
#include "decode/condition.h"
#include "decode/json_path.h"
#include "decode/timestamps.h"
#include "tests/support/decoding.h"

namespace habits_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

Decoded by(const std::string& keys, std::string_view payload, const ValueRuns& only = {}) {
  return decode(route_in(keys), payload, "d1/up", only);
}

std::vector<std::string> errors_of(const std::string& keys) {
  std::vector<ConfigError> errors;
  const auto file = TomlFile::parse("topic = '{device}/up'\n" + keys, "test", errors);
  RouteConfig route;
  Section section = file->root();
  read_keys(section, topic_route_shape, &route);
  std::vector<std::string> said;
  for (const ConfigError& error : errors) said.push_back(error.message);
  return said;
}

}  // namespace

TEST_CASE("JSON in a text: opened where a path leads on into it, and nowhere else") {
  const char* payload = R"({"n":1,"body":"{\"t\":21.5,\"l\":[1,{\"u\":true}]}","v":2})";
  CHECK(by("metrics = { t = 'body.t', u = 'body.l[1].u', v = 'v' }", payload).readings() ==
        Readings{"t=21.5", "u=true", "v=2"});
  CHECK(by("metrics = { raw = 'body', t = 'body.t' }", R"({"body":"{\"t\":1}"})").readings() ==
        Readings{"raw='{\"t\":1}'", "t=1"});
  CHECK(by("", payload).readings()[1] == R"(body='{"t":21.5,"l":[1,{"u":true}]}')");
  CHECK(by("", R"("{\"t\":1,\"h\":2}")").readings() == Readings{"t=1", "h=2"});
  CHECK(by("each = 'm[]'\nmetrics = { t = 't' }", R"({"m":["{\"t\":1}",{"t":2},"{\"t\":3}"]})").readings() ==
        Readings{"t=1", "t=2", "t=3"});
  CHECK(
      by("each = 'b.m[]'\nmetrics = { t = 't', h = '$.h' }", R"({"b":"{\"m\":[{\"t\":1},{\"t\":2}]}","h":3})")
          .readings() == Readings{"t=1", "t=2", "h=3"});
  CHECK(by("device = '{.body.id}'\ntime = 'body.ts'\nmetrics = { t = 'body.t' }",
           R"({"body":"{\"id\":\"x\",\"ts\":1767225600,\"t\":1}"})")
            .records.at(0)
            .device == "x");
  CHECK(by("format = 'cbor'\nmetrics = { t = 'b.t' }", "\xa1\x61\x62\x67{\"t\":1}").readings() ==
        Readings{"t=1"});
  // Behind blanks, and as sloppy as a payload may be, unless the route is strict.
  const char* sloppy = R"({"b":" \r\n{\"t\":21.5,\"n\":nan,\"x\":--,}\u0000"})";
  CHECK(by("metrics = { t = 'b.t', n = 'b.n', x = 'b.x' }", sloppy).readings() == Readings{"t=21.5"});
  CHECK(by("metrics = { t = 'b.t', n = 'b.n', x = 'b.x' }", sloppy).unread.told.size() == 1);
  CHECK(by("strict = true\nmetrics = { t = 'b.t' }", R"({"b":"{\"t\":1,}"})").records.empty());
  CHECK(by("strict = true\nmetrics = { t = 'b.t' }", R"({"b":" {\"t\":1}"})").readings() == Readings{"t=1"});
  for (const char* text :
       {"[WARN] pump 2", "[WARN]", "{device} is hot", "{\\\"t\\\":1} {\\\"t\\\":2}", "{\\\"t\\\":1"}) {
    CAPTURE(text);
    CHECK(by("metrics = { t = 'b.t', b = 'b' }", "{\"b\":\"" + std::string(text) + "\"}").records.size() ==
          1);
  }
  // What is none stays a text, and a text in it is not opened again.
  CHECK(by("metrics = { t = 'b.t' }", R"({"b":"{\"t\":1"})").status.detail() ==
        "none of the wanted values is in it");
  CHECK(by("metrics = { t = 'b.c.t', c = 'b.c' }", R"({"b":"{\"c\":\"{\\\"t\\\":1}\"}"})").readings() ==
        Readings{"c='{\"t\":1}'"});
  std::string many = R"({"b":"[0)";
  for (int i = 0; i < 1024; ++i) many += ",0";
  CHECK(by("metrics = { t = 'b[0]' }", many + "]\"}").records.empty());
  std::string deep(31, '[');
  CHECK(by("metrics = { t = 'b[0]' }", R"({"b":")" + deep + std::string(31, ']') + R"("})")
            .unread.told.size() == 1);
  CHECK_FALSE(
      by("metrics = { t = 'b[0]', v = 'v' }", R"({"b":")" + deep + "[" + std::string(32, ']') + R"(","v":1})")
          .records.empty());
}

TEST_CASE("JSON in a text: a second try gives what is missing, each once") {
  const char* payload = R"({"n":1,"body":"{\"t\":21.5,\"u\":\"x\"}","v":"y"})";
  const std::string numbers =
      "metrics = { t = 'body.t', u = { path = 'body.u', type = 'number' }, v = { path = 'v', type = 'number' } }";
  const Decoded first = by(numbers, payload);
  CHECK(first.readings() == Readings{"t=21.5"});
  CHECK(first.unread.refusals == 2);
  CHECK(by("metrics = { n = 'n', t = 'body.t', u = 'body.u', v = 'v' }", payload, first.unread.missing)
            .readings() == Readings{"u='x'", "v='y'"});
  CHECK(by("metrics = { n = 'n', v = 'v' }", payload, first.unread.missing).readings() == Readings{"v='y'"});
  // A message that was refused whole, with what texts in it hold.
  const Decoded undated = by("time = 'ts'\n" + numbers, R"({"ts":"soon","body":"{\"t\":21.5}"})");
  CHECK(undated.records.empty());
  CHECK(by(numbers, R"({"ts":"soon","body":"{\"t\":21.5}"})", undated.unread.missing).readings() ==
        Readings{"t=21.5"});
}

TEST_CASE("JSON in a text: conditions ask into it, and what they leave goes to the next route") {
  auto router = Router::make(
      {route_in("when = \"b.kind == 'a'\"\nmetrics = { t = 'b.t' }"), route_in("metrics = { h = 'b.h' }")});
  REQUIRE(router.ok());
  const auto take = [&](std::string_view payload) {
    Arrival arrival;
    arrival.channel = "d1/up";
    arrival.bytes = bytes_of(payload);
    Decoded out;
    out.status = router.value().decode(arrival, out.records, out.unread);
    return out.readings();
  };
  CHECK(take(R"({"b":"{\"kind\":\"a\",\"t\":1,\"h\":2}"})") == Readings{"t=1"});
  CHECK(take(R"({"b":"{\"kind\":\"b\",\"t\":1,\"h\":2}"})") == Readings{"h=2"});
  // Lines: one for each.
  CHECK(
      take(
          "{\"b\":\"{\\\"kind\\\":\\\"a\\\",\\\"t\\\":1}\"}\n{\"b\":\"{\\\"kind\\\":\\\"b\\\",\\\"h\\\":2}\"}") ==
      Readings{"t=1", "h=2"});
}

TEST_CASE("numbers as PLCs write them, and what only looks like a number with a unit") {
  const std::string number = "metrics = { n = { path = 'n', type = 'number' } }";
  const auto read = [&](const char* said) { return by(number, text(R"({"n":")", said, "\"}")).readings(); };
  CHECK(read("16#FF") == Readings{"n=255"});
  CHECK(read("16#ff_ff") == Readings{"n=65535"});
  CHECK(read("8#17") == Readings{"n=15"});
  CHECK(read("2#1010_0001") == Readings{"n=161"});
  CHECK(read("-16#10") == Readings{"n=-16"});
  CHECK(
      by("metrics = { n = { path = 'n', type = 'integer' } }", R"({"n":"16#7FFFFFFFFFFFFFFF"})").readings() ==
      Readings{"n=9223372036854775807i"});
  for (const char* none : {"16#", "16#G", "2#12", "8#8", "10#5", "16#_FF", "16#FF_", "16#F__F", "16#FF kg",
                           "#FF", "1Fh", "12FFh", "7bh", "16#10000000000000000"})
    CHECK(read(none).empty());
  CHECK(read("5Ah") == Readings{"n=5"});
  CHECK(read("5 kWh") == Readings{"n=5"});
  CHECK(read("5h") == Readings{"n=5"});
  // Cells are numbers where they are asked for, as with hex.
  CHECK(by("format = 'csv'", "a,b\n16#FF,1\n").readings() == Readings{"a='16#FF'", "b=1"});
  CHECK(by("format = 'csv'\n" + number, "n\n16#FF\n").readings() == Readings{"n=255"});
}

TEST_CASE("units of the payload: a member, or none") {
  const Decoded both = by("each = '[]'\nmetrics = { t = { path = 'v', unit = '{.u}' } }",
                          R"([{"v":1,"u":"C"},{"v":2},{"v":"3 K","u":""},{"u":"F","v":4}])");
  REQUIRE(both.records.size() == 4);
  CHECK(both.records[0].unit == "C");
  CHECK(both.records[1].unit == "");
  CHECK(both.records[3].unit == "F");
  CHECK(by("metrics = { t = { path = 'v', unit = '{count}' } }", R"({"v":1})").records.at(0).unit ==
        "{count}");
  CHECK(errors_of("format = 'plain'\nmetrics = { t = { unit = '{.u}' } }").size() == 1);
  CHECK(errors_of("format = 'plain'\nmetrics = { t = {} }\ntime_of_day = 'x'").size() == 2);
  CHECK(errors_of("time_of_day = 'x'").size() == 1);
}

TEST_CASE("what says that there is none is looked at before it is scaled") {
  const std::string keys = "metrics = { t = { path = 't', no_value = 65535, scale = 0.1, offset = -40 } }";
  CHECK(by(keys, R"({"t":65535})").unread.no_value == 1);
  CHECK(by(keys, R"({"t":"65535"})").unread.no_value == 1);
  CHECK(by(keys, R"({"t":615})").readings() == Readings{"t=21.5"});
  CHECK(by(keys + "\n", R"({"t":[]})").unread.no_value == 1);
  CHECK(by(keys, R"({"t":{}})").unread.no_value == 1);
  for (const char* display : {"--", "--.-", "- - -", "-.--"})  // the segments of a display without a value
    CHECK(by(keys, text(R"({"t":")", display, "\"}")).unread.no_value == 1);
  for (const char* none : {".", ":", "-x-"})
    CHECK(by(keys, text(R"({"t":")", none, "\"}")).unread.refusals == 1);
  CHECK(by(keys, R"({"t":[1]})").unread.refusals == 1);
  CHECK(errors_of("metrics = { t = { path = 't', type = 'text', no_value = 1 } }").size() == 1);
  // An offset of whole steps is added before it is divided.
  CHECK(by("metrics = { t = { path = 't', scale = 0.001, offset = 1.6 } }", R"({"t":1377})").readings() ==
        Readings{"t=2.977"});
}

TEST_CASE("half a time is none, and both halves are one") {
  const std::string keys = "time = 'd'\ntime_of_day = 'c'\n";
  CHECK(by(keys, R"({"d":"2026-01-01","c":"12:00:00.5","t":1})").records.at(0).time.us ==
        1'767'268'800'500'000);
  CHECK(by(keys, R"({"c":"12:00:00","d":"2026-01-01","t":1})").readings() == Readings{"t=1"});
  CHECK(by(keys, R"({"d":"2026-01-01","t":1})").records.at(0).trust == TimeTrust::gateway);
  CHECK(by(keys, R"({"d":"2026-01-01","c":"","t":1})").records.at(0).trust == TimeTrust::gateway);
  CHECK(by(keys, R"({"d":"2026-01-01","c":"noon","t":1})").status.detail() ==
        "not a time: \"2026-01-01 noon\"");
  CHECK(by(keys + "time_format = '%Y%m%d %H%M%S'\n", R"({"d":20260101,"c":"120000","t":1})")
            .records.at(0)
            .time.us == 1'767'268'800'000'000);
}

TEST_CASE("seconds, and nanoseconds beside them") {
  const std::string keys =
      "time = 'at.s'\ntime_of_day = 'at.n'\ntime_format = 's+ns'\nmetrics = { t = 't' }\n";
  const auto at = [&](const char* json) {
    const Decoded out = by(keys, text(R"({"t":1,"at":)", json, "}"));
    return out.records.empty()                         ? out.status.detail()
           : out.records[0].trust == TimeTrust::device ? text(out.records[0].time.us)
                                                       : "arrival";
  };
  CHECK(at(R"({"s":1767225600,"n":250001999})") == "1767225600250001");
  CHECK(at(R"({"n":"250000000","s":"1767225600"})") == "1767225600250000");
  // SiteWise leaves the nanoseconds out, protobuf's JSON what is 0.
  CHECK(at(R"({"s":1767225600})") == "1767225600000000");
  CHECK(at(R"({"s":1767225600,"n":null})") == "1767225600000000");
  CHECK(at(R"({"n":250000000})") == "arrival");
  CHECK(at(R"({"s":1767225600,"n":1000000000})").starts_with("not a time"));
  CHECK(at(R"({"s":1767225600,"n":-1})").starts_with("not a time"));
  CHECK(at(R"({"s":0,"n":5})") == "arrival");
  CHECK(parse_seconds_and_nanos("99999999999999999999 1").has_value());
}

TEST_CASE("numbers of other clocks") {
  const auto at = [](const char* format, const char* number) {
    return parse_time_number(number, *time_format_of(format));
  };
  CHECK(at("filetime", "134117424000000000")->us == 1'767'268'800'000'000);
  CHECK(at("ticks", "639028656000000000")->us == 1'767'268'800'000'000);
  CHECK(at("excel", "46023.5")->us == 1'767'268'800'000'000);
  CHECK(at("excel", "46023")->us == 1'767'225'600'000'000);
  CHECK(at("excel", "109575")->us == 7'258'118'400'000'000);  // 2200-01-01
  // Times all the same, of which nobody believes any.
  CHECK_FALSE(is_within_bounds(*at("excel", "99999999")));
  CHECK_FALSE(is_within_bounds(*at("ticks", "-1")));
  CHECK(parse_time_text("/Date(1767268800000)/")->us == 1'767'268'800'000'000);
  CHECK(parse_time_text("/Date(-1000+0200)/")->us == -1'000'000);
  CHECK_FALSE(parse_time_text("/Date(x)/"));
  CHECK_FALSE(parse_time_text("/Date()/"));
}

TEST_CASE("UTF-16 with its mark, whole or not at all") {
  std::string out = "as it was";
  CHECK_FALSE(read_utf16("abc", out));
  CHECK_FALSE(
      read_utf16("\xff\xfe"
                 "a",
                 out));
  CHECK_FALSE(read_utf16(std::string("\xff\xfe\x3d\xd8", 4), out));          // half a pair
  CHECK_FALSE(read_utf16(std::string("\xff\xfe\x00\xdc\x61\x00", 6), out));  // the other half
  CHECK(out == "as it was");
  REQUIRE(read_utf16(std::string("\xff\xfe\x3d\xd8\x00\xde\xb0\x00", 8), out));
  CHECK(out == "\xf0\x9f\x98\x80\xc2\xb0");
  REQUIRE(read_utf16(std::string("\xfe\xff\x20\xac", 4), out));
  CHECK(out == "\xe2\x82\xac");
}

TEST_CASE(
    "a wanted member is missed once a message, however often that is read, and not by who passes it on") {
  const auto misses = [](const std::string& keys, std::string_view payload, int times) {
    auto router = Router::make({route_in(keys), route_in("")});
    REQUIRE(router.ok());
    int lines = 0;
    router.value().listen({[](std::string_view) {}, [&](const std::string&) { ++lines; }});
    for (int i = 0; i < times; ++i) {
      Arrival arrival;
      arrival.channel = "d1/up";
      arrival.bytes = bytes_of(payload);
      Decoded out;
      out.status = router.value().decode(arrival, out.records, out.unread);
    }
    return std::pair{router.value().absent(), lines};
  };
  // The first document is JSON, the second is not: both are read twice.
  CHECK(misses("metrics = { a = 'a', b = 'b' }", "{\"a\":1}\n{\"a\":2,}", 49) ==
        std::pair<std::size_t, int>{1, 0});
  CHECK(misses("metrics = { a = 'a', b = 'b' }", "{\"a\":1}\n{\"a\":2,}", 50) ==
        std::pair<std::size_t, int>{1, 1});
  // Somebody else's document, by its root: nothing of it is missed, and nothing of it has come.
  const std::string mine = "each = 'r[]'\nwhen = '$.mine == true'\nmetrics = { a = 'a', b = 'b' }";
  CHECK(misses(mine, R"({"r":[{"a":1}],"mine":false})", 200) == std::pair<std::size_t, int>{0, 0});
  CHECK(misses(mine, R"({"r":[{"a":1}],"mine":true})", 100) == std::pair<std::size_t, int>{1, 1});
  // Likewise by the conditions of its metrics, or with a metric of the root.
  const std::string some = "metrics = { a = 'a', v = { path = 'v', when = 'k == 1' } }";
  CHECK(misses(some, R"({"x":5})", 200) == std::pair<std::size_t, int>{0, 0});
  const std::string rooted = "each = 'r[]'\nmetrics = { b = '$.b', v = { path = 'v', when = 'k == 1' } }";
  CHECK(misses(rooted, R"({"r":[{"x":5}]})", 200) == std::pair<std::size_t, int>{0, 0});
}

TEST_CASE("what was refused and had no values is not all of the payload for a second try") {
  const Decoded first = by("", R"({"\ud83d":[],"t":1})");
  CHECK(first.readings() == Readings{"t=1"});
  REQUIRE(first.unread.any());
  REQUIRE_FALSE(first.unread.missing.empty());
  CHECK(by("", R"({"\ud83d":[],"t":1})", first.unread.missing).records.empty());
  // What lies under a name that is empty is not the root's.
  CHECK(by("", R"({"":[1,{"a":2}]})").readings() == Readings{"''[0]=1", "''[1].a=2"});
  CHECK(by("metrics = { x = \"''[1].a\" }", R"({"":[1,{"a":2}]})").readings() == Readings{"x=2"});
}

TEST_CASE("columns: what is repeated has places of its own in every document of a payload") {
  const char* payload = "{\"ts\":[1],\"a\":\"x\"}\n{\"ts\":[2],\"b\":\"1\"}";
  const Decoded first =
      by("transpose = true\nmetrics = { a = { path = 'a', type = 'number' }, b = 'b' }", payload);
  CHECK(first.readings() == Readings{"b='1'"});
  CHECK(by("transpose = true\nmetrics = { a = 'a', b = 'b' }", payload, first.unread.missing).readings() ==
        Readings{"a='x'"});
}

TEST_CASE("each: a place that another path names is an element as the others are") {
  const char* list = R"({"r":[{"id":"a","v":1},{"id":"b","v":2}]})";
  CHECK(by("each = 'r[]'\nmetrics = { v = 'v', first = '$.r[0].v' }", list).readings() ==
        Readings{"v=1", "v=2", "first=1"});
  Decoded out = by("each = 'r[]'\ndevice = '{$.r[1].id}'\nmetrics = { v = 'v' }", list);
  CHECK(out.readings() == Readings{"v=1", "v=2"});
  CHECK(out.records.at(0).device == "b");
  CHECK(by("each = 'r[]'\nfixed_tags = { first = '{^.r[0].id}' }\nmetrics = { v = 'v' }", list).readings() ==
        Readings{"v=1", "v=2"});
  CHECK(by("each = 'r[]'\nwhen = \"$.r[0].id == 'a'\"\nmetrics = { v = 'v' }", list).readings() ==
        Readings{"v=1", "v=2"});
  CHECK(by("each = 'r[]'\nwhen = '$.r[0] > 0'", R"({"r":[5,6]})").readings() == Readings{"r[0]=5", "r[1]=6"});
  // Of members, of lists in them, of lists in lists.
  const char* members = R"({"sys":{"v":0},"a":{"v":1},"b":{"v":2}})";
  CHECK(by("each = '*'\nmetrics = { '{@key}' = 'v', fw = '$.sys.v' }", members).readings() ==
        Readings{"sys=0", "a=1", "b=2", "fw=0"});
  CHECK(by("each = '*[]'\nmetrics = { v = 'v', x = '$.a[0].v' }", R"({"a":[{"v":1},{"v":2}],"b":[{"v":3}]})")
            .readings() == Readings{"v=1", "v=2", "v=3", "x=1"});
  CHECK(by("each = 'r[].s[]'\nfixed_tags = { q = '{^.s[0].id}' }\nmetrics = { v = 'v' }",
           R"({"r":[{"s":[{"v":1,"id":"i"},{"v":2}]},{"s":[{"v":3}]}]})")
            .readings() == Readings{"v=1", "v=2", "v=3"});
  CHECK(by("format = 'cbor'\neach = '[]'\nmetrics = { v = 'v', first = '$[0].v' }",
           "\x82\xa1\x61v\x01\xa1\x61v\x02")
            .readings() == Readings{"v=1", "v=2", "first=1"});
}

TEST_CASE("each: what a path names is a header where it has nothing else, and a bare value is what it says") {
  Decoded out = by("each = '[]'\ndevice = '{$[0].id}'\nmetrics = { '{.n}' = { path = 'v', default = '0' } }",
                   R"([{"id":"x","w":5},{"n":"t","v":1}])");
  CHECK(out.readings() == Readings{"t=1"});
  CHECK_FALSE(out.unread.any());
  out = by("each = '*'\ndevice = '{$.sys.id}'", R"({"sys":{"id":"x","up":7},"a":{"v":1}})");
  CHECK(out.readings() == Readings{"up=7", "v=1"});
  CHECK_FALSE(by("each = '*'\ndevice = '{$.sys.id}'", R"({"sys":{"id":"x"},"a":{"v":1}})").unread.any());
  out = by("each = '*'\nwhen = \"$.mode == 'auto'\"\ntime = '$.ts'\nmetrics = { v = 'v' }",
           R"({"mode":"auto","ts":1767225600,"a":{"v":1}})");
  CHECK(out.readings() == Readings{"v=1"});
  CHECK_FALSE(out.unread.any());
  // On the way to the elements, too; what has another form than both of them is told.
  const std::string meta = "each = '*[]'\nfixed_tags = { fw = '{$.meta.fw}' }\nmetrics = { v = 'v' }";
  CHECK_FALSE(by(meta, R"({"meta":{"fw":"1"},"a":[{"v":1}]})").unread.any());
  CHECK(by(meta, R"({"meta":[{"v":2}],"a":[{"v":1}]})").readings() == Readings{"v=2", "v=1"});
  CHECK(by(meta, R"({"meta":"1.2","a":[{"v":1}]})").unread.any());
  // An element that cannot be read is told as the others are.
  CHECK(by("each = 'r[]'\ndevice = '{$.r[0].id}'\nmetrics = { v = { path = 'v', type = 'number' } }",
           R"({"r":[{"id":"x","v":"x"},{"v":2}]})")
            .unread.reason() == "r[0].v: \"v\" is not a number: x");
}

TEST_CASE("no value: what was to hold it is null or empty, or its quality is bad") {
  for (const char* nothing : {"null", "{}", "[]", "\"\""}) {
    CAPTURE(nothing);
    const Decoded out =
        by("metrics = { v = 'data.v', w = 'data.w' }", text("{\"n\":5,\"data\":", nothing, "}"));
    CHECK(out.status.ok());
    CHECK(out.readings().empty());
    CHECK(out.unread.no_value == 1);
  }
  const std::string opc =
      "each = '[]'\nquality = 'S.Code'\nquality_format = 'opcua'\nmetrics = { '{.n}' = 'V.V' }";
  Decoded out = by(opc, R"([{"n":"a","V":{"V":1}},{"n":"b","S":{"Code":2150891520}},{"n":"c","V":null}])");
  CHECK(out.readings() == Readings{"a=1"});
  CHECK_FALSE(out.unread.any());
  CHECK(out.unread.no_value == 2);
  // Rows and bytes that have something else are told.
  CHECK(by("transpose = true\nmetrics = { v = 'v' }", R"({"ts":[1,2],"w":[5,6]})").unread.refusals == 2);
  CHECK(
      by("format = 'binary'\ninside = 'data'\nfields = { v = { at = 2, type = 'u8' } }", R"({"data":"AQ=="})")
          .unread.refusals == 1);
  // Something else is there, and the quality says nothing against it: the path is wrong.
  CHECK(by("metrics = { v = 'data.v' }", R"({"data":{"w":5}})").unread.any());
  CHECK(by("metrics = { v = 'data.v' }", R"({"tags":{},"data":{"w":5}})").unread.any());
  CHECK(by("metrics = { v = 'data.v' }", R"({"data":"offline"})").unread.any());
  // Of two that were to hold them one is null: what the other has instead is told.
  const char* holders = "metrics = { lat = 'gps.lat', v = 'data.v', w = 'data.x.w' }";
  CHECK(by(holders, R"({"gps":null,"data":{"vv":5}})").unread.any());
  CHECK(by(holders, R"({"data":{"vv":5},"gps":{}})").unread.any());
  for (const char* none :
       {R"({"n":5,"gps":null,"data":{}})", R"({"n":5,"gps":{},"data":{"x":null,"y":""}})"}) {
    CAPTURE(none);
    CHECK_FALSE(by(holders, none).unread.any());
    CHECK(by(holders, none).unread.no_value == 1);
  }
  CHECK(by(opc, R"([{"n":"b","S":{"Code":0},"V":{"W":5}}])").unread.any());
  CHECK(by(opc, R"([{"n":"b","S":{"Code":1073741824},"V":{"W":5}}])").unread.any());
}

TEST_CASE("names of the payload: a metric that a message has not is not missed there") {
  const Decoded out =
      by("each = 'r[]'\nmetrics = { t = '$.t', 'rssi_{.g}' = { path = 'rssi', unit = '{.u}' } }",
         R"({"t":21.5,"r":[{"g":"a","rssi":-36,"u":"dB"},{"rssi":-90}]})");
  CHECK(out.readings() == Readings{"rssi_a=-36", "t=21.5"});
  CHECK(out.unread.refusals == 1);
  CHECK(out.unread.reason() == "r[1]: \"g\", which names the metric, is missing");
}

TEST_CASE("a word that is neither true nor false is told as that") {
  CHECK(by("metrics = { a = { path = 'a', type = 'bool' } }", R"({"a":"open"})").status.detail() ==
        "\"a\" is neither true nor false: open");
}

TEST_CASE("bare values that a condition asks for are readings") {
  const Decoded out = by("each = 'temps[]'\nwhen = '@ > 3'", R"({"temps":[1,5,null]})");
  CHECK(out.status.ok());
  CHECK(out.readings() == Readings{"temps[1]=5"});
}

TEST_CASE("an apostrophe in a name is part of it, in conditions as in paths, and in what is proposed") {
  CHECK(by("when = \"it's == 1 and o'clock == 'x and y'\"\nmetrics = { v = 'v' }",
           R"({"it's":1,"o'clock":"x and y","v":2})")
            .readings() == Readings{"v=2"});
  CHECK_FALSE(parse_condition("it's or b").ok());
  CHECK(parse_json_path("a[it's]").status().detail() ==
        "path \"a[it's]\": [it's] is no index; a name with brackets stands in quotes: \"[it's]\"");
  CHECK(parse_json_path("a.\"[it's]\"").ok());
  CHECK(parse_json_path("a[b c]").status().detail().ends_with("in quotes: '[b c]'"));
}

}  // namespace habits_test
