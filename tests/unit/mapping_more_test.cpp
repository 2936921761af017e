// Texts by regular expression, conditions, and lists beside each other.
#include <doctest/doctest.h>

#include <ctime>

#include "decode/condition.h"
#include "tests/support/decoding.h"

namespace mapping_more_test {
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

TEST_CASE("names of the payload: what is refused is called by where it was looked for, not by the template") {
  const RouteConfig route = route_in(
      "each = 'r[]'\nmetrics = { '{.n}' = { path = 'v', type = 'number', min = 5, unit = '{.u}' } }\n");
  const Decoded out = read(
      route,
      R"({"r":[{"n":"a","v":"x"},{"v":1,"n":"b"},{"v":7},{"v":8,"n":""},{"v":9,"n":{"id":1}},{"v":6,"n":"c"}]})");
  CHECK(out.readings() == Readings{"c=6"});
  CHECK(out.unread.reason() ==
        "r[0].v: \"v\" is not a number: x; r[1].v: \"v\" is below its range, which begins at 5: 1; "
        "r[2]: \"n\", which names the metric, is missing; r[3]: the metric's name of \"n\" \"\" is empty; "
        "r[4]: \"n\", which names the metric, is no value: an object or list");
  RouteConfig topic = route_in("metrics = { '{device}' = { path = 'v', type = 'number' } }\n");
  CHECK(read(topic, R"({"v":"x"})").unread.reason() == "\"v\" is not a number: x");
}

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
  for (const auto& [pattern, why] :
       {std::pair{"(\\d+)", "the pattern has no group with a name: (?<name>...)"},
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
    std::uint64_t steps = payload_steps_max;
    return parsed.value()[0].holds(scalar, steps);
  };
  const Scalar five{Scalar::number, false, 0, "5"}, word{Scalar::string, false, 0, "T"},
      digits{Scalar::string, false, 0, "5.0"}, yes{Scalar::truth, true, 0, "true"}, none{},
      null{Scalar::no_value, false, 0, {}};
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
  CHECK(out.unread.ignored);  // of one of them no route wanted anything
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
  CHECK(read(route, R"({"data":{"ts":[1767225600,1767225660,"soon"],"t":[20,"x",22]},"id":"dev7"})",
             out.unread.missing)
            .readings() == Readings{"t='x'", "t='22'"});
  // Of different lengths; cells that are no values; cut off.
  route.metrics[0].type = "";
  CHECK(read(route, R"({"data":{"t":[1,2,3],"ts":[1767225600]},"id":"d"})").readings() ==
        Readings{"t=1", "t=2", "t=3"});
  out = read(route, R"({"data":{"t":[1,{"a":2},3]},"id":"d"})");
  CHECK(out.readings() == Readings{"t=1", "t=3"});
  CHECK(out.unread.reason() == "t: a cell of a column that is no bare value");
  CHECK_FALSE(read(route, R"({"id":"d","data":{"t":[1,2,)").status.ok());
  route.format = "cbor";
  CHECK(read(route, std::string_view("\xa2\x64"
                                     "data\xa1\x61t\x82\x01\x02\x62id\x61"
                                     "d",
                                     18))
            .readings() == Readings{"t=1", "t=2"});
}

TEST_CASE("columns: what belongs to every row is bounded") {
  RouteConfig route;
  route.topic = "{device}/up";
  route.transpose = true;
  std::string rows = "[0", names;
  for (int i = 0; i < 5000; ++i) rows += ",1";
  for (int i = 0; i < 50; ++i) names += text(",\"n", i, "\":1");
  CHECK(read(route, text("{\"t\":", rows, "]", names, "}")).status.detail() ==
        "columns: 50 values would belong to each of 5001 rows");
}

namespace {

// What the routes make of a payload together.
Decoded read_by(const std::vector<RouteConfig>& routes, std::string_view payload,
                const ValueRuns& only = {}) {
  auto router = Router::make(routes);
  REQUIRE_MESSAGE(router.ok(), router.status().detail());
  Arrival arrival;
  arrival.channel = "d1/up";
  arrival.bytes = bytes_of(payload);
  arrival.received = {arrived_us};
  arrival.clock_trusted = true;
  arrival.only = only;
  arrival.again = !only.empty();
  Decoded out;
  out.status = router.value().decode(arrival, out.records, out.unread);
  return out;
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace

TEST_CASE("conditions in lists: an element goes to the first route that wants it, and enters once") {
  const RouteConfig a =
      route_in("each = '[]'\nwhen = \"type == 'a'\"\nmetrics = { a = { path = 'v', type = 'number' } }");
  const RouteConfig b = route_in(
      "each = '[]'\nwhen = \"type == 'b'\"\nmetrics = { b = { path = 'v', type = 'number' }, d = { path = 'w', default = 7 } }");
  const RouteConfig rest = route_in("each = '[]'\nmetrics = { rest = 'v' }");
  constexpr std::string_view all =
      R"([{"type":"a","v":1},{"type":"b","v":2},{"type":"c","v":3},{"v":4,"type":"a"},{"type":"b","v":5,"w":6}])";
  Decoded out = read_by({a, b}, all);
  CHECK(out.status.ok());
  CHECK(out.readings() == Readings{"a=1", "a=4", "b=2", "d=7", "b=5", "d=6"});
  CHECK(out.unread.ignored);
  CHECK_FALSE(out.unread.any());
  CHECK(out.unread.left.empty());
  out = read_by({a, b, rest}, all);
  CHECK(out.readings() == Readings{"a=1", "a=4", "b=2", "d=7", "b=5", "d=6", "rest=3"});
  CHECK_FALSE(out.unread.ignored);
  // What one of them could not read is missing, and a second try gives it by the same route.
  constexpr std::string_view bad =
      R"([{"type":"a","v":1},{"type":"b","v":"x"},{"type":"c","v":3},{"type":"a","v":"y"}])";
  out = read_by({a, b, rest}, bad);
  CHECK(out.readings() == Readings{"a=1", "d=7", "rest=3"});
  CHECK(out.unread.reason() == "[3].v: \"a\" is not a number: y; [1].v: \"b\" is not a number: x");
  RouteConfig wide_a = a, wide_b = b;
  wide_a.metrics[0].type = wide_b.metrics[0].type = "text";
  CHECK(read_by({wide_a, wide_b, rest}, bad, out.unread.missing).readings() == Readings{"a='y'", "b='x'"});
  // A route that takes payloads whole or not at all; one of another format, which counts otherwise; ignore.
  RouteConfig whole = b;
  whole.keep_good = false;
  CHECK_FALSE(read_by({a, whole, rest}, bad).status.ok());
  RouteConfig plain = route_in("format = 'plain'\nmetrics = { p = { type = 'text' } }");
  CHECK(read_by({a, plain, b}, all).readings() == Readings{"a=1", "a=4", "b=2", "d=7", "b=5", "d=6"});
  RouteConfig ignored = route_in("ignore = true");
  out = read_by({a, ignored, b}, all);
  CHECK(out.readings() == Readings{"a=1", "a=4"});
  CHECK(out.unread.ignored);
  // A device that the next route finds nowhere.
  RouteConfig nameless = rest;
  nameless.device = "{.id}";
  out = read_by({a, nameless}, all);
  CHECK(out.readings() == Readings{"a=1", "a=4"});
  CHECK(out.unread.refusals == 3);
}

TEST_CASE("conditions in lists: of lines, columns, documents and metrics the rest goes on, too") {
  const RouteConfig warm = route_in("metrics = { t = { path = 'v', when = \"k == 't'\" } }");
  const RouteConfig wet = route_in("metrics = { h = { path = 'v', when = \"k == 'h'\" }, n = '$.n' }");
  CHECK(read_by({warm, wet}, "{\"k\":\"t\",\"v\":1,\"n\":8}\n{\"k\":\"h\",\"v\":2,\"n\":9}").readings() ==
        Readings{"t=1", "h=2", "n=9"});
  const std::string csv = "format = 'csv'\n";
  CHECK(read_by({route_in(csv + "when = \"k == 't'\"\nmetrics = { t = 'v' }"),
                 route_in(csv + "metrics = { h = 'v' }")},
                "k,v\nh,1\nt,2\nh,3\n")
            .readings() == Readings{"t=2", "h=1", "h=3"});
  const std::string lines = "format = 'text'\npattern = '(?<k>[a-z]) (?<v>\\d+)'\n";
  Decoded out = read_by({route_in(lines + "when = \"k == 't'\"\nmetrics = { t = 'v' }"),
                         route_in(lines + "metrics = { h = 'v' }")},
                        "h 1\n???\nt 2\nh 3\n");
  CHECK(out.readings() == Readings{"t=2", "h=1", "h=3"});
  CHECK(out.unread.refusals == 1);
  const std::string columns = "transpose = true\n";
  CHECK(read_by({route_in(columns + "when = 't > 20'\nmetrics = { warm = 't', s = 'site' }"),
                 route_in(columns + "metrics = { cold = 't', s = 'site' }")},
                R"({"t":[20,21,19],"site":"a"})")
            .readings() == Readings{"s='a'", "warm=21", "cold=20", "s='a'", "cold=19", "s='a'"});
  CHECK(read_by({route_in("each = 'r[]'\nwhen = '$.on == true'\nmetrics = { on = 'v' }"),
                 route_in("each = 'r[]'\nmetrics = { off = 'v' }")},
                "{\"r\":[{\"v\":1}],\"on\":false}\n{\"r\":[{\"v\":2}],\"on\":true}")
            .readings() == Readings{"on=2", "off=1"});
}

TEST_CASE("a member that a condition asks for is a reading as any other") {
  CHECK(read(route_in("when = 'port == 2'"), R"({"port":2,"v":1})").readings() == Readings{"port=2", "v=1"});
  CHECK(read(route_in("when = 'port == 2'\ndevice = '{.port}'"), R"({"port":2,"v":1})").readings() ==
        Readings{"v=1"});
}

TEST_CASE("columns: without a list it is one row, and a row costs what it has") {
  RouteConfig route = route_in("transpose = true");
  CHECK(read(route, R"({"t":20,"h":40})").readings() == Readings{"t=20", "h=40"});
  route.each = "data";
  CHECK(read(route, R"({"data":{"t":20,"h":40}})").readings() == Readings{"t=20", "h=40"});
  route.each.clear();
  CHECK(read(route, R"({"t":[1,2,3],"h":[4],"x":[],"s":"a"})").readings() ==
        Readings{"t=1", "h=4", "s='a'", "t=2", "s='a'", "t=3", "s='a'"});
  std::string rows = "{\"t\":[0";
  for (int i = 0; i < 9000; ++i) rows += ",1";
  rows += "]";
  for (int i = 0; i < 100'000; ++i) rows += text(",\"n", i, "\":[]");
  const double before = cpu_seconds();
  CHECK(read(route, rows + "}").records.size() == 9001);
  CHECK(cpu_seconds() - before < 3);  // it took as many steps as rows times columns
}

TEST_CASE("patterns: what they cost is bounded for a payload, not for a value") {
  std::string rows = "{\"v\":[0";
  for (int i = 0; i < 5000; ++i) rows += ",1";
  rows += "],\"s\":\"" + std::string(4000, 'a') + "\"}";
  CHECK(read(route_in("transpose = true\nwhen = \"s ~ '(a|b)*c'\"\nmetrics = { v = 'v' }"), rows)
            .status.detail() == "its patterns cost more than 20000000 steps");
  const Decoded out =
      read(route_in("transpose = true\nmetrics = { v = 'v', s = { path = 's', pattern = '(?<value>a+)b' } }"),
           rows);
  CHECK(out.unread.refusals == 5001);
  // A text that is longer than patterns look at matches nothing.
  CHECK(read(route_in("when = \"s ~ 'a'\"\nmetrics = { v = 'v' }"),
             "{\"v\":1,\"s\":\"" + std::string(5000, 'a') + "\"}")
            .unread.ignored);
}

TEST_CASE("text: once a pattern has cost too much the rest is refused as one") {
  std::string lines;
  for (int i = 0; i < 1500; ++i) lines += std::string(2000, 'x') + "\n";
  const Decoded out = read(text_route("(?<a>(x|xx|xxx|xxxx|xxxxx)*y)"), lines);
  CHECK_FALSE(out.status.ok());
  CHECK(out.unread.refusals < 1500);
  CHECK(out.unread.missing.back().to == lines.size() - 1);
}

}  // namespace mapping_more_test
