// A payload is decoded as far as it is good: one bad value never costs its neighbours, and a second try gives
// what is missing.
#include <doctest/doctest.h>

#include "base/rng.h"
#include "record/record_proto.h"
#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace decode_good_test {
using namespace millrace;
using Readings = std::vector<std::string>;

TEST_CASE("as far as it is good: what has no value is counted, and its neighbours enter") {
  for (const char* none : {"null", "nan", "NaN", "-nan", "NAN", "inf", "-Inf", "Infinity", "+infinity",
                           "-nan(ind)", "1.#QNAN", "-1.#IND", "undefined", "None"}) {
    INFO(none);
    const auto got = decode(json_route(), text(R"({"t":)", none, R"(,"h":45.1})"));
    CHECK(got.status.ok());
    CHECK(got.readings() == Readings{"h=45.1"});
    CHECK(got.unread.no_value == 1);
    CHECK_FALSE(got.unread.any());
    CHECK(decode(json_route(), text(R"({"t":)", none, "}")).status.ok());  // and it alone is no fault
  }
}

TEST_CASE("as far as it is good: a number that a double cannot hold is told, one too small is 0") {
  const auto got =
      decode(json_route(),
             R"({"a":1e400,"b":2,"c":1e-400,"d":-1e-400,"e":18446744073709551616,"f":18446744073709551617})");
  CHECK(got.status.ok());
  CHECK(got.readings() == Readings{"b=2", "c=0", "d=-0", "e=18446744073709551616"});
  CHECK(got.unread.refusals == 2);
  CHECK(got.unread.missing == ValueRuns{{0, 1}, {5, 6}});
  CHECK(got.unread.reason() ==
        "\"a\" does not fit a double: 1e400; \"f\" is too large to be kept exactly: 18446744073709551617");
}

TEST_CASE("as far as it is good: of a list every good element enters") {
  auto route = json_route();
  route.each = "r[]";
  route.time = "t";
  route.metrics = {{"v", "v", "", "number"}};
  const auto got = decode(
      route,
      R"({"r":[{"t":1700000000,"v":1},{"t":"soon","v":2},{"t":1700000002,"v":null},{"t":1700000003,"v":"x"},7,{"t":1700000005,"v":6}]})");
  CHECK(got.status.ok());
  CHECK(got.readings() == Readings{"v=1", "v=6"});
  CHECK(got.unread.no_value == 1);
  CHECK(
      got.unread.reason() ==
      "r[1]: not a time: \"soon\"; r[3].v: \"v\" is not a number: x; r[4]: a bare value has no name: the path \"@\" gives it one, or format = \"plain\"");
  // With on_error = "refuse" none does, and the words are the same.
  route.keep_good = false;
  const auto refused = decode(route, R"({"r":[{"t":1700000000,"v":1},{"t":1700000003,"v":"x"}]})");
  CHECK(refused.records.empty());
  CHECK(refused.status.detail() == "r[1].v: \"v\" is not a number: x");
}

TEST_CASE(
    "as far as it is good: a time beside a list that cannot be read refuses what waits for it, and nothing else") {
  auto route = json_route();
  route.each = "r[]";
  route.time = "$.at";
  CHECK_FALSE(decode(route, R"({"r":[{"v":1},{"v":2}],"at":"soon"})").status.ok());
  const auto two = decode(route, R"({"r":[{"v":1},{"v":2}],"at":"soon"}{"r":[{"v":3}],"at":1700000000})");
  CHECK(two.status.ok());
  CHECK(two.readings() == Readings{"v=3"});
  // And what both have beside their values.
  CHECK(two.unread.missing == ValueRuns{{0, 2}, beside_of({0, 2})});
}

TEST_CASE("as far as it is good: a missing time is the arrival's, unless the route needs one") {
  auto route = json_route();
  route.time = "ts";
  for (const char* ts : {"null", "\"\"", "\" \"", "nan"}) {
    INFO(ts);
    const auto got = decode(route, text(R"({"ts":)", ts, R"(,"v":1})"));
    REQUIRE(got.records.size() == 1);
    CHECK(got.records[0].time.us == arrived_us);
    CHECK(got.records[0].trust == TimeTrust::gateway);
  }
  CHECK(decode(route, R"({"v":1})").records.at(0).trust == TimeTrust::gateway);
  route.time_needed = true;
  CHECK(decode(route, R"({"v":1})").status.detail() == "the time is missing");
}

TEST_CASE(
    "as far as it is good: a payload that is cut off gives what was whole, and needs its time before the cut") {
  auto route = json_route();
  const auto got = decode(route, R"({"a":1,"b":2,"c":12)");
  CHECK(got.status.ok());
  CHECK(got.readings() == Readings{"a=1", "b=2"});  // 12 may be the head of 123
  CHECK(got.unread.reason() == "JSON at byte 19: it ends in the middle");
  route.time = "ts";
  CHECK_FALSE(decode(route, R"({"a":1,"ts":17000)").status.ok());
  CHECK(decode(route, R"({"ts":1700000000,"a":1,"b)").readings() == Readings{"a=1"});
  route.each = "r[]";
  CHECK(decode(route, R"({"r":[{"ts":1700000000,"v":1},{"ts":1700000001,"v":2},{"v":3)").readings() ==
        Readings{"v=1", "v=2"});
  route.time = "$.ts";
  CHECK_FALSE(decode(route, R"({"r":[{"v":1},{"v":2}],"ts":17)").status.ok());
}

TEST_CASE("as far as it is good: a name that no record may have costs its own reading") {
  const auto got =
      decode(json_route(), R"({"good":1,"temp\u0000C":2,"\udc00":{"x":3,"y":[4]},"too":"\udc00","fine":5})");
  CHECK(got.readings() == Readings{"good=1", "fine=5"});
  CHECK(got.unread.refusals == 3);
  CHECK(got.unread.missing == ValueRuns{{1, 5}});
}

TEST_CASE("as far as it is good: nothing at all is no fault") {
  for (const char* empty : {"", " ", "\n", "{}", "[]"}) {
    INFO(empty);
    CHECK(decode(json_route(), empty).status.ok());
  }
  auto route = json_route();
  route.each = "r[]";
  CHECK(decode(route, R"({"r":[]})").status.ok());
  route.ignore = true;
  const auto ignored = decode(route, "offline");
  CHECK(ignored.status.ok());
  CHECK(ignored.unread.ignored);
}

TEST_CASE("a second try gives what is missing and nothing twice, also by another route") {
  auto route = json_route();
  route.metrics = {{"t", "t", "", "integer"}, {"h", "h", ""}, {"p", "p", "", "number"}};
  const std::string_view payload = R"({"t":21.5,"h":40,"p":"low","x":1})";
  const auto first = decode(route, payload);
  CHECK(first.readings() == Readings{"h=40"});
  CHECK(first.unread.missing == ValueRuns{{0, 1}, {2, 3}});
  // With the same route nothing comes, and what is missing stays missing.
  const auto same = decode(route, payload, "plant/l1/press-1/telemetry", first.unread.missing);
  CHECK_FALSE(same.status.ok());
  CHECK(same.records.empty());
  // Half mended: that half, and the letter would be of the other.
  route.metrics[0].type = "number";
  const auto half = decode(route, payload, "plant/l1/press-1/telemetry", first.unread.missing);
  CHECK(half.status.ok());
  CHECK(half.readings() == Readings{"t=21.5"});
  CHECK(half.unread.missing == ValueRuns{{2, 3}});
  // A route with other names, that wants all: what has entered does not come again under another name.
  RouteConfig all = json_route();
  CHECK(decode(all, payload, "plant/l1/press-1/telemetry", first.unread.missing).readings() ==
        Readings{"t=21.5", "p='low'"});
  // One that wants nothing of it.
  route.metrics = {{"h", "h", ""}};
  CHECK(decode(route, payload, "plant/l1/press-1/telemetry", first.unread.missing).status.detail() ==
        "what is missing of it is not wanted by today's routes");
}

TEST_CASE("a second try: what is refused beside the messages is not what lies between") {
  auto route = json_route();
  route.each = "r[]";
  route.device = "{.id}";
  route.metrics = {{"v", "v", ""}, {"w", "$.w", ""}};
  const std::string_view payload = R"({"r":[{"id":"a","v":1}],"w":3})";
  const auto first = decode(route, payload);
  CHECK(first.readings() == Readings{"v=1"});  // w has no device
  CHECK(first.unread.missing == ValueRuns{{2, 3}});
  route.device = "d";
  CHECK(decode(route, payload, "plant/l1/press-1/telemetry", first.unread.missing).readings() ==
        Readings{"w=3"});
}

TEST_CASE("a second try: whatever fails, first try and mended second together give each reading once") {
  Rng rng(seed());
  for (int round = 0; round < 300 * effort(); ++round) {
    auto route = json_route();
    route.each = "r[]";
    route.time = "t";
    route.metrics = {{"a", "a", "", "integer"}, {"b", "b", "", "integer"}};
    std::string payload = R"({"r":[)";
    const std::size_t elements = 1 + rng.below(6);
    for (std::size_t i = 0; i < elements; ++i) {
      const auto value = [&] { return rng.below(3) == 0 ? std::string("1.5") : text(rng.below(10)); };
      payload += text(i ? "," : "", R"({"t":)", rng.below(4) == 0 ? "\"x\"" : "1700000000", R"(,"a":)",
                      value(), R"(,"b":)", value(), "}");
    }
    payload += "]}";
    const auto first = decode(route, payload);
    route.time = "";
    for (MetricConfig& metric : route.metrics) metric.type = "number";
    if (!first.unread.any()) {
      CHECK(first.records.size() == 2 * elements);
      continue;
    }
    const auto rest = decode(route, payload, "plant/l1/press-1/telemetry",
                             first.status.ok() ? first.unread.missing : ValueRuns{});
    CAPTURE(payload);
    CHECK(first.records.size() + rest.records.size() == 2 * elements);
  }
}

TEST_CASE("runs of values: written and read back in a dead letter, bounded by what a payload can have") {
  DeadDetail dead;
  dead.payload = to_bytes("x");
  dead.missing = {{0, 1}, {5, 9}, {1000, 70'000}};
  Detail detail;
  detail.body = dead;
  Record record;
  record.kind = Kind::dead;
  record.detail = std::make_shared<Detail>(detail);
  const Bytes bytes = encode_record(record);
  const auto back = decode_record(bytes);
  REQUIRE(back.ok());
  CHECK(std::get<DeadDetail>(back.value().detail->body).missing == dead.missing);
}

}  // namespace decode_good_test
