// Which member becomes which reading of which device.
#include <doctest/doctest.h>

#include "base/rng.h"
#include "decode/json_path.h"
#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace json_mapping_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

// "device/metric=value" each.
Readings named(const Decoded& got) {
  Readings all = got.readings();
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = got.records[i].device + "/" + all[i];
  return all;
}

}  // namespace

TEST_CASE("mapping: without metrics every value has a name of its own, which is its path") {
  CHECK(decode(json_route(), R"({"temps":[20.1,20.2],"v":1})").readings() ==
        Readings{"temps[0]=20.1", "temps[1]=20.2", "v=1"});
  CHECK(decode(json_route(), R"({"s":[{"v":1},{"v":2}]})").readings() == Readings{"s[0].v=1", "s[1].v=2"});
  CHECK(decode(json_route(), R"({"a.b":1,"a":{"b":2,"c":[[3]]}})").readings() ==
        Readings{"'a.b'=1", "a.b=2", "a.c[0][0]=3"});
  CHECK(decode(json_route(), R"([{"v":1},2])").readings() == Readings{"[0].v=1", "[1]=2"});
  CHECK(decode(json_route(), R"({"x y":1,"a/b":2,"it's.":3,"@timestamp":4,"*":5,"a[0]":6,"a":[7]})")
            .readings() ==
        Readings{"x y=1", "a/b=2", "\"it's.\"=3", "@timestamp=4", "'*'=5", "'a[0]'=6", "a[0]=7"});
  // Told twice: the later one counts. A value that cannot be read does not take the place of one that could.
  CHECK(decode(json_route(), R"({"a":1,"b":2,"a":3,"b":1e999})").readings() == Readings{"a=3", "b=2"});
}

TEST_CASE("mapping: names are told twice in large messages, too") {
  std::string payload = "{";
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 500; ++i) payload += text("\"m", i, "\":", i + round, ",");
  }
  const auto got = decode(json_route(), payload + "\"end\":0}");
  REQUIRE(got.records.size() == 501);
  CHECK(std::get<double>(got.records[7].value) == 8);
}

TEST_CASE("mapping: what a reading is called without metrics is where a route finds it") {
  Rng rng(seed());
  const std::string_view letters("ab.[]'\"*@$^ /\\0", 15);
  for (int round = 0; round < 300 * effort(); ++round) {
    std::string path;
    for (std::uint64_t depth = 1 + rng.below(3); depth > 0; --depth) {
      std::string name;
      for (std::uint64_t n = 1 + rng.below(4); n > 0; --n) name += letters[rng.below(letters.size())];
      if (rng.below(4) == 0 && !path.empty()) append_index(path, static_cast<std::int64_t>(rng.below(3)));
      else append_step(path, name);
    }
    const auto parsed = parse_json_path(path);
    CAPTURE(path);
    REQUIRE(parsed.ok());
    std::string again;
    for (const PathStep& step : parsed.value().steps) {
      REQUIRE((step.kind == PathStep::name || step.kind == PathStep::index));
      if (step.kind == PathStep::index) append_index(again, step.number);
      else append_step(again, step.text);
    }
    CHECK(again == path);
    CHECK(parsed.value().from == JsonPath::message);
  }
}

TEST_CASE("mapping: a path says what is wrong with it") {
  for (const char* bad : {"", "a..b", "a[", "a[x]", "a.", "'a", "\"a", "'a'b", "$.", "^.x.", "a.[0"}) {
    INFO(bad);
    CHECK_FALSE(parse_json_path(bad).ok());
  }
  CHECK(parse_json_path("a..b").status().detail() ==
        "path \"a..b\" has an empty name (a name with a dot stands in quotes: 'a.b')");
}

TEST_CASE("mapping: keys with dots by the quoting rule") {
  auto route = json_route();
  route.metrics = {{"t", "data.'temp.in'", ""}, {"u", "\"a[0]\"", ""}, {"v", "x y/z", ""}};
  CHECK(decode(route, R"({"data":{"temp.in":1,"temp":{"in":9}},"a[0]":2,"a":[9],"x y/z":3})").readings() ==
        Readings{"t=1", "u=2", "v=3"});
}

TEST_CASE("mapping: each over bare values, lists of lists, maps") {
  auto route = json_route();
  route.each = "temps[]";
  route.metrics = {{"t", "@", ""}};
  CHECK(decode(route, R"({"temps":[1,null,"x",2]})").readings() == Readings{"t=1", "t='x'", "t=2"});
  route.metrics.clear();
  CHECK(decode(route, R"({"temps":[1,2]})").readings() == Readings{"temps[0]=1", "temps[1]=2"});
  route.each = "rows[]";
  route.time = "[0]";
  route.metrics = {{"t", "[1]", ""}, {"h", "[2]", ""}};
  const auto rows = decode(route, R"({"rows":[[1700000000,21,40],[1700000001,22,null]]})");
  CHECK(rows.readings() == Readings{"t=21", "h=40", "t=22"});
  CHECK(rows.records[2].time.us == 1'700'000'001'000'000);
  route.columns = {"ts", "temp", "hum"};
  route.time = "ts";
  route.metrics = {{"t", "temp", ""}};
  CHECK(decode(route, R"({"rows":[[1700000000,21,40],[1700000001,22,null]]})").readings() ==
        Readings{"t=21", "t=22"});
  route.metrics.clear();
  CHECK(decode(route, R"({"rows":[[1700000000,21,40,7]]})").readings() ==
        Readings{"temp=21", "hum=40", "[3]=7"});
  route.columns.clear();
  route.each = "sensors.*";
  route.time = "";
  route.device = "{@key}";
  route.metrics = {{"t", "t", ""}};
  CHECK(named(decode(route, R"({"sensors":{"a":{"t":1},"b":{"t":2}},"other":{"t":3}})")) ==
        Readings{"a/t=1", "b/t=2"});
  route.metrics = {{"{@key}", "@", ""}};
  route.device = "{device}";
  CHECK(named(decode(route, R"({"sensors":{"a":1,"b":2}})")) == Readings{"press-1/a=1", "press-1/b=2"});
  route.each = "[]";
  route.device = "{device}-{@key}";
  route.metrics = {{"v", "@", ""}};
  CHECK(named(decode(route, R"([5,6])")) == Readings{"press-1-0/v=5", "press-1-1/v=6"});
}

TEST_CASE("mapping: root members and what stands beside the list") {
  auto route = json_route();
  route.each = "r[]";
  route.time = "t";
  route.metrics = {{"v", "v", ""}, {"firmware", "$.fw", ""}};
  const auto got = decode(route, R"({"fw":"1.2","r":[{"t":1700000000,"v":1},{"t":1700000001,"v":2}]})");
  CHECK(got.readings() == Readings{"v=1", "v=2", "firmware='1.2'"});
  CHECK(got.records[2].trust == TimeTrust::gateway);
  CHECK(decode(route, R"({"r":[],"fw":"1.2"})").readings() == Readings{"firmware='1.2'"});
  route = json_route();
  route.each = "devices[].r[]";
  route.device = "{$.gw}-{^.id}";
  route.fixed_tags = {{"room", "{^.room}"}, {"kind", "fixed"}};
  route.metrics = {{"v", "v", ""}};
  const auto nested = decode(
      route,
      R"({"devices":[{"id":"a","r":[{"v":1},{"v":2}],"room":"x"},{"r":[{"v":3}],"id":"b"},{"r":[{"v":4}]}],"gw":"g7"})");
  CHECK(named(nested) == Readings{"g7-a/v=1", "g7-a/v=2", "g7-b/v=3"});
  CHECK(nested.records[1].tags == Tags{{"kind", "fixed"}, {"line", "l1"}, {"room", "x"}});
  CHECK(nested.records[2].tags == Tags{{"kind", "fixed"}, {"line", "l1"}, {"room", ""}});
  CHECK(nested.unread.reason() == "\"^.id\", which names the device, is missing");
  // A second document knows nothing of the first.
  CHECK(decode(route,
               R"({"devices":[{"id":"a","r":[{"v":1}]}],"gw":"g7"}{"devices":[{"id":"a","r":[{"v":1}]}]})")
            .records.size() == 1);
}

TEST_CASE("mapping: names of device, tags and metrics from members and levels") {
  RouteConfig route;
  route.topic = "rtl_433/events";
  route.device = "{.model}-{.id}";
  route.fixed_tags = {{"channel", "{.channel}"}};
  route.time = "time";
  const auto got = decode(
      route,
      R"({"time":"2024-07-01 14:00:00","model":"Acurite-Tower","id":1234,"temperature_C":21.3,"battery_ok":true})",
      "rtl_433/events");
  CHECK(named(got) ==
        Readings{"Acurite-Tower-1234/temperature_C=21.3", "Acurite-Tower-1234/battery_ok=true"});
  CHECK(got.records[0].tags == Tags{{"channel", ""}});
  CHECK_FALSE(decode(route, R"({"model":"x","t":1})", "rtl_433/events").status.ok());
  route = json_route();
  route.each = "[]";
  route.metrics = {{"{.name}", "value", ""}};
  CHECK(decode(route, R"([{"name":"t","value":1},{"value":2,"name":"h"},{"value":3}])").readings() ==
        Readings{"t=1", "h=2"});
  route = {};
  route.topic = "esp/{device}/sensor/{metric}/state";
  route.format = "plain";
  route.metrics = {{"{metric}", "", ""}};
  CHECK(named(decode(route, "21.5 C", "esp/kitchen/sensor/temperature/state")) ==
        Readings{"kitchen/temperature=21.5"});
  route.device = "{.id}";
  CHECK_FALSE(Router::make({route}).ok());  // a plain payload has no members
  route.metrics = {{"{level}", "", ""}};
  route.device = "{device}";
  CHECK_FALSE(Router::make({route}).ok());  // no such level
}

TEST_CASE("mapping: types, also from texts, with scale, range and default") {
  auto route = json_route();
  route.metrics = {
      {"n", "n", "", "number"}, {"i", "i", "", "integer"}, {"b", "b", "", "bool"}, {"t", "t", "", "text"}};
  const auto reading = [&](const char* json) {
    const auto got = decode(route, json);
    return got.records.empty() ? got.unread.reason() : got.readings()[0];
  };
  CHECK(reading(R"({"n":"21.5"})") == "n=21.5");
  CHECK(reading(R"({"n":" -21.5 C "})") == "n=-21.5");
  CHECK(reading(R"({"n":"1e3"})") == "n=1000");
  CHECK(reading(R"({"n":true})") == "n=1");
  CHECK(reading(R"({"n":"on"})") == "n=1");
  CHECK(reading(R"({"n":"12:30"})") == "\"n\" is not a number: 12:30");
  CHECK(reading(R"({"n":"2024-07-01"})") == "\"n\" is not a number: 2024-07-01");
  CHECK(reading(R"({"n":"21,5"})") == "\"n\" is not a number: 21,5");
  CHECK(reading(R"({"i":"42"})") == "i=42i");
  CHECK(reading(R"({"i":21.0})") == "i=21i");
  CHECK(reading(R"({"i":"0x1F"})") == "i=31i");
  CHECK(reading(R"({"i":true})") == "i=1i");
  CHECK(reading(R"({"i":9007199254740993})") == "i=9007199254740993i");
  CHECK(reading(R"({"i":21.5})") == "\"i\" is not a whole number of 64 bits: 21.5");
  CHECK(reading(R"({"b":"Off"})") == "b=false");
  CHECK(reading(R"({"b":1})") == "b=true");
  CHECK(reading(R"({"b":"2"})") == "\"b\" is neither 0 nor 1: 2");
  CHECK(reading(R"({"t":21.50})") == "t='21.50'");
  CHECK(reading(R"({"t":false})") == "t='false'");
  CHECK(decode(route, R"({"n":""})").unread.no_value == 1);
  CHECK(decode(route, R"({"n":"21.5 C"})").records.at(0).unit == "C");
  route.decimal = ",";
  CHECK(reading(R"({"n":"21,5"})") == "n=21.5");
  route.metrics = {{"x", "x", "C", "", 0.1, -40, "7", -50, 60}};
  CHECK(reading(R"({"x":615})") == "x=21.5");
  CHECK(reading(R"({"x":"615"})") == "x=21.5");
  CHECK(reading(R"({"x":1001})") == "\"x\" is above its range, which ends at 60: 1001");
  CHECK(reading(R"({"x":null})") == "x=7");
  CHECK(reading(R"({"y":1})") == "x=7");
  // What is scaled is what decimals say: 3 * 0.1 is 0.3.
  route.metrics = {{"x", "x", "", "", 0.1}};
  CHECK(reading(R"({"x":3})") == "x=0.3");
}

TEST_CASE("mapping: quality in the words of the trade") {
  auto route = json_route();
  route.quality = "q";
  const auto quality = [&](std::string_view q) {
    return std::string(quality_name(decode(route, text(R"({"q":)", q, R"(,"v":1})")).records.at(0).quality));
  };
  for (const char* good : {"\"good\"", "\"Good\"", "\"OK\"", "true", "192", "216", "\"GoodClamped\"", "null",
                           "\"\"", "\"  \""}) {
    INFO(good);
    CHECK(quality(good) == "good");
  }
  for (const char* uncertain : {"\"Uncertain\"", "\"UncertainLastUsableValue\"", "64", "0", "1", "8", "1024",
                                "1073741824", "\"who knows\""}) {
    INFO(uncertain);
    CHECK(quality(uncertain) == "uncertain");
  }
  for (const char* bad : {"\"Bad\"", "\"BAD\"", "\"BadSensorFailure\"", "false", "2147483648",
                          "\"0x80310000\"", "2150891520"}) {
    INFO(bad);
    CHECK(quality(bad) == "bad");
  }
  // As gateways write them: through an int32, through a double, in either case.
  for (const char* bad : {"-2147155968", "\"-2147155968\"", "-2.147155968e9", "2147811328.0", "2.147811328e9",
                          "\"2147811328.0\"", "\"0X80050000\"", "\"0x80050000\""}) {
    INFO(bad);
    CHECK(quality(bad) == "bad");
  }
  CHECK(quality("1.92e2") == "good");
  CHECK(quality("\"192.0\"") == "good");
  CHECK(quality("\"12 good\"") == "uncertain");
  CHECK(quality("\"infected\"") == "uncertain");
  for (const char* none : {"1.5", "192.05", "4294967296", "-2147483649", "1e300"}) {
    INFO(none);
    CHECK(decode(route, text(R"({"q":)", none, R"(,"v":1})")).status.detail().starts_with("not a quality"));
  }
  route.quality_format = "opcua";
  CHECK(quality("0") == "good");
  CHECK(quality("192") == "good");
  CHECK(quality("1e2") == "good");
  CHECK(quality("-2147155968") == "bad");
  CHECK(quality("1073741824.0") == "uncertain");
  route.quality_format = "opcda";
  CHECK(quality("0") == "bad");
  CHECK_FALSE(decode(route, R"({"q":-1,"v":1})").status.ok());
}

}  // namespace json_mapping_test
