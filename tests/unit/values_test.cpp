// Values and times that payloads do not have: none is invented from a text, none is rounded, and no reading
// is lost because a clock is wrong.
#include <doctest/doctest.h>

#include "decode/condition.h"
#include "decode/time_rule.h"
#include "tests/support/decoding.h"

namespace values_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

RouteConfig plain(const char* type = "", const char* decimal = ".") {
  RouteConfig route = json_route();
  route.format = "plain";
  route.metrics = {{"v", "", ""}};
  route.metrics[0].type = type;
  route.decimal = decimal;
  return route;
}

// The one reading; empty: it was refused.
std::string reading(const RouteConfig& route, std::string_view payload) {
  const Decoded got = decode(route, payload);
  return got.records.size() == 1 ? got.readings()[0] : std::string();
}

// Why a route is none.
std::string why(const std::string& keys) {
  const auto made = Router::make({route_in(keys)});
  return made.ok() ? std::string() : made.status().detail();
}

bool has(std::string_view text, std::string_view words) { return text.find(words) != std::string_view::npos; }

// A payload of a topic "d/up".
Decoded by(const std::string& keys, std::string_view payload) {
  return decode(route_in(keys), payload, "d/up");
}

}  // namespace

TEST_CASE("texts: the tail of a list, a date, a time of day or a decimal comma is no number") {
  for (const char* text :
       {"ST,GS,  12,345kg", "ST,GS,-  12,345kg", "Temp 21,5", "Temp -21,5", "T21,5", "T,21,H,45",
        "rgb,255,120,0", "Tue 12:30", "T12:30", "Jan 5, 2024", "Halle 1,2", "Pump 3, 12", "5 Jan",
        "Mon, 5 Jan", "12 PM", "Time 12:30:15", "2024-07-01", "12:30", "10.0.0.1"}) {
    CAPTURE(text);
    for (const char* type : {"", "number", "integer"}) CHECK(reading(plain(type), text) == "");
    RouteConfig route = json_route();
    route.metrics = {{"v", "v", "", "number"}};
    CHECK(decode(route, millrace::text("{\"v\":\"", text, "\"}")).records.empty());
  }
  for (const char* text : {"Tue 12:30", "T12:30", "T,21,5"}) CHECK(reading(plain("number", ","), text) == "");
  for (const char* text :
       {"ST,GS,+  21.5kg", "T1 = 21.5", "Sensor 1: 21.5", "T1=21.5", "temp: 21.5 C", "US,NT,21.5"})
    CHECK(reading(plain("number"), text) == "v=21.5");
  CHECK(reading(plain("number", ","), "Temp: 21,5 C") == "v=21.5");
}

TEST_CASE("cells: a text that ends with a number is a text") {
  CHECK(by("format = 'csv'\nseparator = ';'\ncolumns = ['a', 'b', 'c', 'd']",
           "Halle 1,2;Pump 3, 12;Werk, 7;12.5")
            .readings() == Readings{"a='Halle 1,2'", "b='Pump 3, 12'", "c='Werk, 7'", "d=12.5"});
}

TEST_CASE("integers: one that no double holds is kept or refused with a range, too") {
  const auto read = [](std::optional<double> min, std::optional<double> max, std::optional<double> none,
                       std::string_view number, const char* type = "") {
    RouteConfig route = json_route();
    route.metrics = {{"v", "v", "", type}};
    route.metrics[0].min = min;
    route.metrics[0].max = max;
    route.metrics[0].no_value = none;
    return decode(route, text("{\"v\":", number, "}")).readings();
  };
  for (const char* number : {"9007199254740993", "9007199254740995", "9223372036854775807"}) {
    CAPTURE(number);
    const Readings exact = {text("v=", number, "i")};
    CHECK(read(0, {}, {}, number) == exact);
    CHECK(read({}, 0x1p63, {}, number) == exact);
    CHECK(read({}, {}, 0x1p53, number) == exact);
    CHECK(read(-5, 1e19, -127, number, "integer") == exact);
    CHECK(read({}, 0x1p53, {}, number).empty());
    CHECK(read(0x1p63, {}, {}, number).empty());
  }
  CHECK(read({}, 0x1p53 + 2, {}, "9007199254740993") == Readings{"v=9007199254740993i"});
  CHECK(read({}, 0x1p53 + 2, {}, "9007199254740995").empty());
  CHECK(read({}, {}, 0x1p53, "9007199254740992", "integer").empty());
  CHECK(read(0, {}, {}, "9007199254740992").size() == 1);
  CHECK(by("metrics = { v = { path = 'v', scale = 2 } }", R"({"v":9007199254740993})").records.empty());
  CHECK(by("metrics = { v = { path = 'v', type = 'bool' } }", R"({"v":9007199254740993})").records.empty());
}

TEST_CASE("times: of a century that nobody believes the readings enter, with the device's own") {
  const auto enters = [](const char* format, const char* ts, const char* kept) {
    CAPTURE(ts);
    RouteConfig route = json_route();
    route.time = "ts";
    route.time_format = format;
    const Decoded got = decode(route, text("{\"ts\":", ts, ",\"v\":1}"));
    CHECK(got.readings() == Readings{"v=1", text("device_time=", kept)});
    CHECK_FALSE(got.unread.any());
    REQUIRE_FALSE(got.records.empty());
    CHECK(got.records[0].time.us == arrived_us);
    route.time_needed = true;
    CHECK(has(decode(route, text("{\"ts\":", ts, ",\"v\":1}")).status.detail(), "cannot be believed"));
  };
  for (const char* text : {"0001-01-01T00:00:00Z", "1601-01-01T00:00:00Z", "1899-12-30",
                           "9999-12-31T23:59:59Z", "2262-04-12T00:00:00.5+01:00"})
    enters("auto", millrace::text('"', text, '"').c_str(), millrace::text("'", text, "'").c_str());
  enters("filetime", "0", "0");
  enters("ticks", "0", "0");
  enters("excel", "0", "0");
  enters("excel", "-1.5", "-1.5");
  enters("s2000", "-9000000000", "-9e+09");
  enters("auto", "18446744073709551615", "'18446744073709551615'");
  enters("ns", "18446744073709551615", "'18446744073709551615'");
  enters("s", "-99999999999999999999999", "'-99999999999999999999999'");
  enters("s", "1e300", "1e+300");
  RouteConfig route = json_route();
  route.time = "ts";
  for (const char* none : {"\"9999-13-31\"", "\"soon\"", "20240701"})
    CHECK(has(decode(route, text("{\"ts\":", none, ",\"v\":1}")).status.detail(), "not a time"));
  route.past_limit = "0001-01-01";
  CHECK_FALSE(Router::make({route}).ok());
  CHECK(parse_time_number("-1", TimeFormat::s2000)->us == 946'684'799'000'000);
}

TEST_CASE("times: sentences and packs keep what nobody believes, too") {
  RouteConfig nmea = json_route();
  nmea.format = "nmea";
  const Decoded wrapped = decode(nmea, "$GPRMC,123519,A,4807.038,N,01131.000,E,,,230406,,*11");
  REQUIRE(wrapped.records.size() == 3);
  CHECK(wrapped.records[0].time.us == arrived_us);
  CHECK(wrapped.readings()[1] == "device_time='2006-04-23T12:35:19.000000Z'");
  RouteConfig pack = json_route();
  pack.format = "senml";
  const Decoded old = decode(
      pack,
      R"([{"bn":"d/","bt":1000000000,"n":"a","v":1},{"n":"b","v":2},{"n":"c","t":1,"v":3},{"n":"d","t":1e30,"v":4}])");
  CHECK(old.readings() == Readings{"a=1", "b=2", "c=3", "d=4", "device_time=1e+09", "device_time=1000000001",
                                   "device_time=1e+30"});
  CHECK(old.records[0].time.us == arrived_us);
  CHECK(decode(pack, R"([{"bt":1000000000,"n":"a","v":1}])", "plant/l1/press-1/telemetry", {{2, 3}})
            .readings() == Readings{"a=1"});
}

TEST_CASE("senml: each pack of a payload has its own base, and what must be understood may be anything") {
  RouteConfig route = json_route();
  route.format = "senml";
  const Decoded two = decode(
      route,
      "[{\"bn\":\"a:\",\"bt\":1700000000,\"bv\":10,\"bu\":\"Cel\",\"n\":\"t\",\"v\":1}]\n[{\"n\":\"t\",\"v\":2}]");
  CHECK(two.readings() == Readings{"t=11", "t=2"});
  CHECK(two.records.at(1).unit.empty());
  CHECK(two.records.at(1).time.us == arrived_us);
  for (const char* value : {"{\"k\":2}", "[1]", "[]", "{}", "null", "1"}) {
    CAPTURE(value);
    const Decoded got =
        decode(route, text("[{\"n\":\"t\",\"v\":1,\"corr_\":", value, "},{\"n\":\"u\",\"v\":2}]"));
    CHECK(got.readings() == Readings{"u=2"});
    CHECK(has(got.unread.reason(), "\"corr_\" must be understood"));
  }
  for (const char* keys : {"time_missing = 'refuse'", "time_format = 'ms'", "time_zone = 'local'",
                           "quality_format = 'opcda'", "decimal = ','"}) {
    CAPTURE(keys);
    CHECK(has(why(text("format = 'senml'\n", keys)), "is not for format = \"senml\""));
  }
}

TEST_CASE("conditions: what would hold for nothing is none") {
  for (const char* bad :
       {"type == 'a' or type == 'b'", "type == 'a' OR type == 'b'", "a AND b == 1", "a && b == 1", "a || b",
        "type == 'it''s'", "not x", "NOT x == 1", "!x", "(x == 1) and y", "x or y", "x\tand\ty", "x is null",
        "x and", "name ~ 'it's'", "not(x)"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_condition(bad).ok());
  }
  for (const char* joined : {"a == 1 or b == 2", "a == 1 || b", "a > 1 AND b > 2", "a == x y", "not a"}) {
    CAPTURE(joined);
    CHECK(parse_condition(joined).status().detail().find("comparisons are joined by ` and `") !=
          std::string::npos);
  }
  CHECK(parse_condition("a == x").status().detail() ==
        "when = \"a == x\": \"x\" is neither a number, true, false, null nor a text in quotes");
  for (const char* good : {"type == \"it's\"", "'a or b' == 1", "data.'not x'", "or == 1", "Total Power > 5",
                           "x == 'a or b'", "Power (W) > 5", "x != null and y == 'a and b'"}) {
    CAPTURE(good);
    CHECK(parse_condition(good).ok());
  }
}

TEST_CASE("routes: what cannot work is said before anything comes") {
  CHECK(has(why("format = 'csv'\ncolumns = ['a', 'b']\nmetrics = { v = 'c' }"), "`columns` has no \"c\""));
  CHECK(has(why("format = 'csv'\ncolumns = ['a', 'b']\ntime = 'ts'"), "`columns` has no \"ts\""));
  CHECK(why("format = 'csv'\ncolumns = ['a', 'b']\nmetrics = { v = 'b' }\ntime = 'a'").empty());
  const std::string binary =
      "format = 'binary'\nfields = { t = { at = 0, type = 'i16' }, n = { at = 2, type = 'u8' } }\n";
  CHECK(has(why(binary + "metrics = { v = 'temp' }"), "`fields` has no \"temp\""));
  CHECK(has(why(binary + "time = 'ts'"), "`fields` has no \"ts\""));
  CHECK(why(binary + "metrics = { v = 't' }\nwhen = 'n == 1'").empty());
  for (const char* keys : {"time_missing = 'refuse'", "quality_format = 'opcda'", "time_format = 'ms'"}) {
    CAPTURE(keys);
    CHECK(has(why(keys), "does nothing without"));
    std::vector<ConfigError> errors;
    const auto file =
        TomlFile::parse(text("topic = 'a'\nformat = 'plain'\nmetrics = { v = {} }\n", keys), "test", errors);
    RouteConfig route;
    Section section = file->root();
    read_keys(section, topic_route_shape, &route);
    CHECK(errors.size() == 1);
  }
}

TEST_CASE("each: messages that are bare values are called by member or place, and an object is one message") {
  const char* codec = R"({"object":{"t":{"1":21.5,"2":22},"open":true},"f":7,"dev":"d1"})";
  CHECK(by("each = 'object.*'", R"({"object":{"a":1,"b":2}})").readings() == Readings{"a=1", "b=2"});
  CHECK(by("each = 'temps[]'", R"({"temps":[1,2]})").readings() == Readings{"temps[0]=1", "temps[1]=2"});
  CHECK(by("each = '*[]'", R"({"a":[1,2],"b":[3]})").readings() == Readings{"a[0]=1", "a[1]=2", "b[0]=3"});
  const Decoded one = by("each = 'object{}'\ndevice = '{$.dev}'\nwhen = '$.object != null'", codec);
  CHECK(one.readings() == Readings{"t.1=21.5", "t.2=22", "open=true"});
  CHECK(one.records.at(0).device == "d1");
  CHECK(by("each = 'object{}'\nmetrics = { a = 't.1', f = '$.f' }", codec).readings() ==
        Readings{"a=21.5", "f=7"});
  CHECK_FALSE(why("each = '{}'").empty());
  CHECK_FALSE(why("each = 'a{}'\ntranspose = true").empty());
}

TEST_CASE("each: an object without anything in it has no value, which is told, and a condition sees it") {
  for (const char* empty : {"{}", R"({"a":{}})", R"({"a":[]})"}) {
    INFO(empty);
    const Decoded out = by("", empty);
    CHECK(out.readings().empty());
    CHECK(out.unread.no_value == 1);
    CHECK_FALSE(out.unread.any());
  }
  CHECK(by("each = 'object{}'", R"({"object":{},"f":7})").unread.no_value == 1);
  CHECK(by("", "{}\n{\"v\":1}\n{}").unread.no_value == 2);
  for (const char* condition : {"$.object != null", "$.object"}) {
    const std::string keys = text("each = 'object{}'\nwhen = '", condition, "'");
    for (const char* none : {R"({"object":{},"f":7})", R"({"object":null,"f":7})", R"({"f":7})"}) {
      INFO(none);
      const Decoded out = by(keys, none);
      CHECK(out.unread.ignored);
      CHECK(out.unread.no_value == 0);
    }
    CHECK(by(keys, R"({"object":{"t":1},"f":7})").readings() == Readings{"t=1"});
  }
  CHECK(by("when = 'l == null'\nmetrics = { f = 'f' }", R"({"l":[],"f":7})").readings() == Readings{"f=7"});
  CHECK(by("when = 'l == null'\nmetrics = { f = 'f' }", R"({"l":[1],"f":7})").unread.ignored);
}

TEST_CASE("metrics: two values out of one text by two patterns") {
  CHECK(by("[metrics]\nt = { path = 'v', pattern = '^(?<value>[0-9.]+);' }\n"
           "h = { path = 'v', pattern = ';(?<value>[0-9.]+);' }",
           R"({"v":"20.4;48.2;1"})")
            .readings() == Readings{"h=48.2", "t=20.4"});
  CHECK(has(why("metrics = { t = { path = 'v' }, h = { path = 'v', unit = 'C' } }"), "is wanted twice"));
}

TEST_CASE("text and hex: a byte order mark and the NUL of a C string are no fault") {
  CHECK(by("format = 'text'\npattern = '^(?<v>[0-9.]+) C'",
           "\xEF\xBB\xBF"
           "21.5 C\n")
            .readings() == Readings{"v=21.5"});
  const std::string hex =
      "format = 'binary'\nencoding = 'hex'\nfields = { t = { at = 0, type = 'i16', scale = 0.1 } }";
  CHECK(by(hex, std::string_view("\xEF\xBB\xBF"
                                 "00D7\n\0",
                                 9))
            .readings() == Readings{"t=21.5"});
  const std::string base64 =
      "format = 'binary'\nencoding = 'base64'\nfields = { t = { at = 0, type = 'i16', scale = 0.1 } }";
  CHECK(by(base64, std::string_view("ANc=\r\n\0\0", 8)).readings() == Readings{"t=21.5"});
}

}  // namespace values_test
