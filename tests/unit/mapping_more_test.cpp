// Texts by regular expression, conditions, and lists beside each other.
#include <doctest/doctest.h>

#include "decode/condition.h"
#include "tests/support/decoding.h"

using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

RouteConfig text_route(const std::string& pattern, const std::string& per = "line") {
  return route_in(text("format = 'text'\npattern = '", pattern, "'\nper = '", per, "'\n"));
}

Decoded read(const RouteConfig& route, std::string_view payload, const ValueRuns& only = {}) {
  return decode(route, payload, "d1/up", only);
}

}  // namespace

TEST_CASE("text: groups of a pattern are members, a line is a message") {
  RouteConfig route = text_route("^(?<id>\\w+) t=(?<t>[-0-9.]+)(?: rh=(?<rh>\\d+))?");
  route.device = "{.id}";
  Decoded out = read(route, "a1 t=21.5 rh=40\r\nb2 t=-3\n\n");
  CHECK(out.status.ok());
  CHECK_FALSE(out.unread.any());
  CHECK(out.readings() == Readings{"t=21.5", "rh=40", "t=-3"});
  CHECK(out.records[0].device == "a1");
  CHECK(out.records[2].device == "b2");

  out = read(route, "a1 t=1\nnoise\nb2 t=2");
  CHECK(out.readings() == Readings{"t=1", "t=2"});
  CHECK(out.unread.reason() == "line 2: the pattern does not match: noise");
  // Once the route knows, it gives what was missing, and nothing else.
  RouteConfig mended = text_route("^(?<id>\\w+)(?: t=(?<t>[-0-9.]+))?");
  mended.metrics = {{"id", "id", ""}};
  CHECK(read(mended, "a1 t=1\nnoise\nb2 t=2", out.unread.missing).readings() == Readings{"id='noise'"});
  CHECK(read(route, "\r\n").unread.no_value == 1);
  CHECK(read(route, "a1 t=1\xB0 rh=2").unread.latin1);
}

TEST_CASE("text: the whole of a payload, with time and types") {
  RouteConfig route = text_route("T:(?<t>\\S+)\\n.*at (?<at>\\S+)$", "payload");
  route.time = "at";
  route.decimal = ",";
  Decoded out = read(route, "T:21,5\nmeasured at 2026-01-01T00:00:00Z\r\n");
  CHECK(out.readings() == Readings{"t=21.5"});
  CHECK(out.records.at(0).trust == TimeTrust::device);
  out = read(route, "T:x\nmeasured at soon");
  CHECK(out.unread.reason() == "not a time: \"soon\"");
  CHECK_FALSE(out.status.ok());
}

TEST_CASE("text: what makes no sense is said before anything comes") {
  for (const auto& [pattern, why] : {std::pair{"(\\d+)", "the pattern has no group with a name: (?<name>...)"},
           std::pair{"(?<a>", "the pattern '(?<a>': a ( that nothing closes (at character 6)"}}) {
    CHECK(Router::make({text_route(pattern)}).status().detail() == why);
  }
  RouteConfig route = text_route("(?<a>x)");
  route.time = "ts";
  CHECK(Router::make({route}).status().detail() == "the pattern has no group \"ts\"");
}

TEST_CASE("a metric's pattern finds the value and its unit in a text") {
  RouteConfig route;
  route.topic = "{device}/up";
  MetricConfig weight;
  weight.name = weight.path = "w";
  weight.pattern = "(?<value>[0-9.]+)\\s*(?<unit>kg|g)";
  route.metrics = {weight};
  Decoded out = read(route, R"({"w":"ST,GS,+ 12.345 kg;crc=7"})");
  CHECK(out.readings() == Readings{"w=12.345"});
  CHECK(out.records.at(0).unit == "kg");
  CHECK(read(route, R"({"w":12.5})").readings() == Readings{"w=12.5"});
  out = read(route, R"({"w":"overload"})");
  CHECK(out.unread.reason() == "\"w\" is not as its pattern says: overload");
  route.metrics[0].scale = 1000;
  route.metrics[0].unit = "g";
  out = read(route, R"({"w":"1.5 kg"})");
  CHECK(out.readings() == Readings{"w=1500"});
  CHECK(out.records.at(0).unit == "g");
  route.format = "plain";
  CHECK(read(route, "<w> 2 kg </w>").readings() == Readings{"w=2000"});
  route.metrics[0].pattern = "(?<v>x)";
  CHECK(Router::make({route}).status().detail() == "metric \"w\": its pattern has no group (?<value>...)");
}

TEST_CASE("conditions: signs, kinds and what is missing") {
  const auto holds = [](std::string_view condition, const Scalar& scalar) {
    auto parsed = parse_condition(condition);
    REQUIRE_MESSAGE(parsed.ok(), parsed.status().detail());
    REQUIRE(parsed.value().size() == 1);
    CHECK(parsed.value()[0].path == "a.'b c'");
    return parsed.value()[0].holds(scalar);
  };
  const Scalar five{Scalar::number, false, 0, "5"}, word{Scalar::string, false, 0, "T"}, digits{Scalar::string, false, 0, "5.0"},
      yes{Scalar::truth, true, 0, "true"}, none{}, null{Scalar::no_value, false, 0, {}};
  CHECK(holds("a.'b c' == 5", five));
  CHECK(holds("a.'b c'==5", digits));
  CHECK_FALSE(holds("a.'b c' == 5", word));
  CHECK(holds("a.'b c' != 5", word));
  CHECK(holds("a.'b c' >= 5", five));
  CHECK_FALSE(holds("a.'b c' > 5", five));
  CHECK(holds("a.'b c' < 5.5", five));
  CHECK(holds("a.'b c' == 'T'", word));
  CHECK(holds("a.'b c' ~ '^[ST]$'", word));
  CHECK_FALSE(holds("a.'b c' ~ '^S$'", word));
  CHECK(holds("a.'b c' == true", yes));
  CHECK_FALSE(holds("a.'b c' == false", yes));
  CHECK(holds("a.'b c' == null", none));
  CHECK(holds("a.'b c' == null", null));
  CHECK(holds("a.'b c' != null", five));
  CHECK(holds("a.'b c'", five));
  CHECK_FALSE(holds("a.'b c'", null));
  CHECK_FALSE(holds("a.'b c' < 5", none));
  CHECK(parse_condition("a == 'x and y' and b").value().size() == 2);
  for (const char* bad : {"", "== 5", "a = 5", "a == x", "a < 'x'", "a ~ 5", "a ~ '('", "a and ", "a == "}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_condition(bad).ok());
  }
}

TEST_CASE("a route with a condition takes its messages, and leaves the others to the next") {
  RouteConfig data, status, rest;
  data.topic = status.topic = rest.topic = "{device}/up";
  data.when = "type == 'data'";
  data.metrics = {{"t", "v", "C"}};
  status.when = "type == 'status' and code > 0";
  status.metrics = {{"code", "code", ""}};
  auto router = Router::make({data, status});
  REQUIRE(router.ok());
  const auto run = [&](std::string_view payload) {
    Arrival arrival;
    arrival.channel = "d1/up";
    arrival.bytes = bytes_of(payload);
    Decoded out;
    out.status = router.value().decode(arrival, out.records, out.unread);
    return out;
  };
  CHECK(run(R"({"type":"data","v":1})").readings() == Readings{"t=1"});
  CHECK(run(R"({"v":1,"type":"data"})").readings() == Readings{"t=1"});
  CHECK(run(R"({"type":"status","code":3})").readings() == Readings{"code=3"});
  Decoded out = run(R"({"type":"status","code":0})");
  CHECK(out.status.ok());
  CHECK(out.records.empty());
  CHECK(out.unread.ignored);
  // Of the wanted ones what is wrong is still told.
  out = run(R"({"type":"data","w":1})");
  CHECK(out.status.detail() == "none of the wanted values is in it");
  CHECK_FALSE(out.unread.ignored);
  CHECK_FALSE(run(R"({"type":"data",)").status.ok());
}

TEST_CASE("conditions in lists: elements that are not wanted cost nothing, and what they hold is not told") {
  RouteConfig route;
  route.topic = "{device}/up";
  route.each = "r[]";
  route.when = "k != 'x'";
  route.metrics = {{"v", "v", "", "number"}};
  Decoded out = read(route, R"({"r":[{"k":"a","v":1},{"k":"x","v":"bad"},{"k":"b","v":2}]})");
  CHECK(out.readings() == Readings{"v=1", "v=2"});
  CHECK_FALSE(out.unread.any());
  CHECK_FALSE(out.unread.ignored);
  route.when = "$.on == true";
  CHECK(read(route, R"({"r":[{"v":1}],"on":true})").readings() == Readings{"v=1"});
  out = read(route, R"({"r":[{"v":1},{"v":"bad"}],"on":false})");
  CHECK(out.records.empty());
  CHECK(out.unread.ignored);
  CHECK_FALSE(out.unread.any());
  route.when = "^.x == 1";
  CHECK(Router::make({route}).status().code() == Code::invalid);
}

TEST_CASE("a metric's condition: one member, two meanings") {
  RouteConfig route;
  route.topic = "{device}/up";
  MetricConfig warm, wet;
  warm.name = "temperature";
  wet.name = "humidity";
  warm.path = wet.path = "v";
  warm.when = "k == 1";
  wet.when = "k == 2";
  wet.if_missing = "0";
  route.metrics = {warm, wet};
  CHECK(read(route, R"({"k":1,"v":21.5})").readings() == Readings{"temperature=21.5"});
  CHECK(read(route, R"({"v":40,"k":2})").readings() == Readings{"humidity=40"});
  CHECK(read(route, R"({"k":2})").readings() == Readings{"humidity=0"});
  const Decoded out = read(route, R"({"k":3,"v":1})");
  CHECK(out.status.ok());
  CHECK(out.unread.ignored);
  route.metrics[1].when.clear();
  CHECK(Router::make({route}).status().detail() == "path \"v\" is wanted twice");
}

TEST_CASE("lists beside each other are columns") {
  RouteConfig route;
  route.topic = "{device}/up";
  route.transpose = true;
  route.time = "ts";
  Decoded out = read(route, R"({"ts":[1767225600,1767225660],"t":[20,21.5],"h":[40,null],"site":"a"})");
  CHECK(out.status.ok());
  CHECK(out.readings() == Readings{"t=20", "h=40", "site='a'", "t=21.5", "site='a'"});
  CHECK(out.records[0].time.us == 1'767'225'600'000'000);
  CHECK(out.records[3].time.us == 1'767'225'660'000'000);

  route.each = "data";
  route.metrics = {{"t", "t", "C"}};
  route.device = "{$.id}";
  out = read(route, R"({"data":{"ts":[1767225600,1767225660],"t":[20,"x"]},"id":"dev7"})");
  CHECK(out.readings() == Readings{"t=20", "t='x'"});
  CHECK(out.records[0].device == "dev7");
  route.metrics[0].type = "number";
  out = read(route, R"({"data":{"ts":[1767225600,1767225660,"soon"],"t":[20,"x",22]},"id":"dev7"})");
  CHECK(out.readings() == Readings{"t=20"});
  CHECK(out.unread.refusals == 2);
  // A retry: the values that did not enter, wherever they stand, and no others.
  route.metrics[0].type = "text";
  route.time.clear();
  CHECK(read(route, R"({"data":{"ts":[1767225600,1767225660,"soon"],"t":[20,"x",22]},"id":"dev7"})", out.unread.missing).readings() ==
        Readings{"t='x'", "t='22'"});
  // Of different lengths; cells that are no values; cut off.
  route.metrics[0].type = "";
  CHECK(read(route, R"({"data":{"t":[1,2,3],"ts":[1767225600]},"id":"d"})").readings() == Readings{"t=1", "t=2", "t=3"});
  out = read(route, R"({"data":{"t":[1,{"a":2},3]},"id":"d"})");
  CHECK(out.readings() == Readings{"t=1", "t=3"});
  CHECK(out.unread.reason() == "t: a cell of a column that is no bare value");
  CHECK_FALSE(read(route, R"({"id":"d","data":{"t":[1,2,)").status.ok());
  route.format = "cbor";
  CHECK(read(route, std::string_view("\xa2\x64""data\xa1\x61t\x82\x01\x02\x62id\x61""d", 18)).readings() == Readings{"t=1", "t=2"});
}

TEST_CASE("columns: what belongs to every row is bounded") {
  RouteConfig route;
  route.topic = "{device}/up";
  route.transpose = true;
  std::string rows = "[0", names;
  for (int i = 0; i < 5000; ++i) rows += ",1";
  for (int i = 0; i < 50; ++i) names += text(",\"n", i, "\":1");
  CHECK(read(route, text("{\"t\":", rows, "]", names, "}")).status.detail() == "columns: 50 values would belong to each of 5001 rows");
}
