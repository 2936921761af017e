#include <doctest/doctest.h>

#include "base/rng.h"
#include "base/topic_filter.h"
#include "decode/router.h"
#include "decode/timestamps.h"
#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace decode_test {
using namespace millrace;

namespace {

double number(const Record& record) { return std::get<double>(record.value); }

}  // namespace

TEST_CASE("topics: named levels, wildcards and the rest") {
  TopicMatch match;
  auto pattern = TopicPattern::parse("a/{x}/+/{rest...}");
  REQUIRE(pattern.ok());
  CHECK(pattern.value().filter() == "a/+/+/#");
  CHECK(pattern.value().matches("a/1/2/3/4", match));
  CHECK(match.value("x") == "1");
  CHECK(match.value("rest") == "3/4");
  CHECK(pattern.value().matches("a/1/2", match));  // # matches its parent level too (MQTT 5, 4.7.1.2)
  CHECK_FALSE(pattern.value().matches("a/1", match));
  CHECK_FALSE(pattern.value().matches("b/1/2/3", match));
  auto all = TopicPattern::parse("#");
  CHECK_FALSE(all.value().matches("$SYS/x", match));
  for (const char* bad : {"", "a/#/b", "a/{x}/{x}", "a/b{x}", "a/{}", "a/{x...}/b"})
    CHECK_FALSE(TopicPattern::parse(bad).ok());
  CHECK(filter_matches("a/+/c", "a/b/c"));
  CHECK(filter_matches("a/#", "a"));
  CHECK_FALSE(filter_matches("a/+", "a/b/c"));
}

TEST_CASE("routes: fixed tags are on every record, beside those of the topic") {
  auto route = json_route();
  route.fixed_tags = {{"stream", "pumps"}};
  const auto got = decode(route, R"({"a":1,"b":2})");
  REQUIRE(got.records.size() == 2);
  for (const Record& record : got.records) CHECK(record.tags == Tags{{"stream", "pumps"}, {"line", "l1"}});
}

TEST_CASE("json: every scalar member becomes a metric when none are named") {
  auto route = json_route();
  route.time = "ts";
  const auto got = decode(
      route, R"({"ts":1700000000,"temp":21.5,"on":true,"state":"run","n":{"a":1},"none":null,"list":[1,2]})");
  REQUIRE(got.status.ok());
  REQUIRE(got.records.size() == 6);
  CHECK(got.records[0].device == "press-1");
  CHECK(got.records[0].tags == Tags{{"line", "l1"}});
  CHECK(got.records[0].metric == "temp");
  CHECK(number(got.records[0]) == 21.5);
  CHECK(got.records[0].time.us == 1'700'000'000'000'000);
  CHECK(got.records[0].trust == TimeTrust::device);
  CHECK(std::get<bool>(got.records[1].value));
  CHECK(std::get<std::string>(got.records[2].value) == "run");
  CHECK(got.records[3].metric == "n.a");
  CHECK(got.records[5].metric == "list[1]");
}

TEST_CASE("json: named metrics by path, with quality, units and whole numbers") {
  auto route = json_route();
  route.time = "meta.time";
  route.quality = "meta.q";
  route.metrics = {
      {"temperature", "data.t", "C"}, {"count", "data.list[1]", "", "integer"}, {"absent", "data.x", ""}};
  const auto got = decode(
      route,
      R"({"data":{"t":21,"list":[7,9007199254740993]},"meta":{"time":"2023-11-14T22:13:20.5+01:00","q":64}})");
  REQUIRE(got.status.ok());
  REQUIRE(got.records.size() == 2);
  CHECK(number(got.records[0]) == 21.0);
  CHECK(got.records[0].unit == "C");
  CHECK(got.records[0].quality == Quality::uncertain);
  CHECK(got.records[0].time.us == 1'699'996'400'500'000);
  CHECK(std::get<std::int64_t>(got.records[1].value) == 9007199254740993);
}

TEST_CASE("json: an array of messages, with the time beside each or after all of them") {
  auto route = json_route();
  route.each = "readings[]";
  route.time = "t";
  route.metrics = {{"v", "v", ""}};
  const auto got = decode(route, R"({"readings":[{"t":1700000000,"v":1},{"t":1700000001,"v":2}]})");
  REQUIRE(got.status.ok());
  REQUIRE(got.records.size() == 2);
  CHECK(got.records[1].time.us == 1'700'000'001'000'000);
  route.time = "$.at";
  const auto late = decode(route, R"({"readings":[{"v":1},{"v":2}],"at":1700000009})");
  REQUIRE(late.status.ok());
  CHECK(late.records[0].time.us == 1'700'000'009'000'000);
  CHECK(late.records[1].time.us == 1'700'000'009'000'000);
  route.each = "[]";
  route.time = "t";
  CHECK(decode(route, R"([{"t":1700000001,"v":1},{"t":1700000002,"v":2},{"t":1700000003,"v":3}])")
            .records.size() == 3);
  CHECK_FALSE(decode(route, "[1,2]").status.ok());
}

TEST_CASE("json: with on_error = refuse a payload is decoded whole or not at all") {
  auto route = json_route();
  route.time = "ts";
  route.keep_good = false;
  route.strict = true;
  for (const char* bad : {"{", "3", R"({"ts":"yesterday","v":1})", R"({"ts":1700000000,"v":1,"w":1e999})",
                          R"({"ts":1700000000,"v":1}x)", "{\"ts\":1700000000,\"v\":\"\xff\"}"}) {
    const auto got = decode(route, bad);
    INFO(bad);
    CHECK_FALSE(got.status.ok());
    CHECK(got.records.empty());
  }
  auto counted = json_route();
  counted.keep_good = false;
  counted.metrics = {{"a", "a", ""}, {"n", "n", "", "integer"}};
  const auto half = decode(counted, R"({"a":1,"n":1.5})");
  CHECK_FALSE(half.status.ok());
  CHECK(half.records.empty());
}

TEST_CASE("json: a number too exact for a double stays an integer by itself") {
  const auto got = decode(json_route(), R"({"a":9007199254740993,"b":12})");
  REQUIRE(got.status.ok());
  CHECK(std::get<std::int64_t>(got.records[0].value) == 9007199254740993);
  CHECK(number(got.records[1]) == 12.0);
  CHECK(got.records[0].time.us == arrived_us);
  CHECK(got.records[0].trust == TimeTrust::gateway);
}

TEST_CASE("json: paths that make no sense are found before the daemon starts") {
  auto route = json_route();
  for (const char* bad : {"a..b", "a[", "a[x]", "a.", "[]"}) {
    route.metrics = {{"m", bad, ""}};
    INFO(bad);
    CHECK_FALSE(Router::make({route}).ok());
  }
  route.metrics = {{"m", "a", ""}, {"n", "a", ""}};
  CHECK_FALSE(Router::make({route}).ok());
  route.metrics.clear();
  route.device = "{machine}";
  CHECK_FALSE(Router::make({route}).ok());
}

TEST_CASE("plain: one value and nothing else") {
  auto route = json_route();
  route.format = "plain";
  route.metrics = {{"level", "", "m"}};
  CHECK(number(decode(route, " 21.5\n").records.at(0)) == 21.5);
  CHECK(number(decode(route, "+3").records.at(0)) == 3);
  CHECK(std::get<bool>(decode(route, "true").records.at(0).value));
  for (const char* bad : {"1e999", "--1", "+-5", "12:30", "2024-07-01", "1,234", "x", "?!"}) {
    INFO(bad);
    CHECK_FALSE(decode(route, bad).status.ok());
  }
  route.strict = true;
  CHECK(number(decode(route, "\n-21.5").records.at(0)) == -21.5);
  for (const char* bad : {"  ", "21.5 C", "T=1", "nan", "inf", "0x10", "ON", "1e999", "\xb0"}) {
    INFO(bad);
    CHECK_FALSE(decode(route, bad).status.ok());
  }
}

TEST_CASE("plain: a number with its unit or a name, words, and what frames them") {
  auto route = json_route();
  route.format = "plain";
  route.metrics = {{"v", "", ""}};
  const auto reading = [&](std::string_view payload) {
    const auto got = decode(route, payload);
    INFO(std::string(payload));
    REQUIRE(got.records.size() == 1);
    return got.readings()[0].substr(2) + " " + got.records[0].unit;
  };
  CHECK(reading("21.5 C") == "21.5 C");
  CHECK(reading("21.5 \xb0"
                "C\r\n") == "21.5 \u00b0C");  // Latin-1
  CHECK(reading("21.5 \u00b0"
                "C") == "21.5 \u00b0C");
  CHECK(reading("T=21.5") == "21.5 ");
  CHECK(reading("temp: -3 %") == "-3 %");
  CHECK(reading("\x02ST,GS,+  12.345kg\r\n\x03") == "12.345 kg");
  CHECK(reading("   12.345 kg") == "12.345 kg");
  CHECK(reading(std::string_view("21.5\0\0", 6)) == "21.5 ");
  CHECK(reading("9007199254740993") == "9007199254740993i ");
  CHECK(reading("ON") == "'ON' ");
  CHECK(reading("online") == "'online' ");
  for (const std::string_view none : {"nan", " NULL\n", "inf", "  "})
    CHECK(decode(route, none).unread.no_value == 1);
  route.metrics[0].type = "bool";
  CHECK(reading("ON") == "true ");
  CHECK(reading("0") == "false ");
  CHECK_FALSE(decode(route, "2").status.ok());
  route.metrics[0].type = "text";
  CHECK(reading("12:30") == "'12:30' ");
  route.metrics[0].type = "integer";
  CHECK(reading("0x1F") == "31i ");
  CHECK(reading("21.0") == "21i ");
  route.metrics[0] = {"v", "", "kg", "number", 0.1, 0, "-1", 0, 100};
  CHECK(reading("215") == "21.5 kg");
  CHECK(reading("nan") == "-1 kg");
  CHECK_FALSE(decode(route, "1001").status.ok());
  route.metrics[0] = {"v", "", ""};
  route.decimal = ",";
  CHECK(reading("21,5 mm") == "21.5 mm");
  CHECK_FALSE(decode(route, "1.234,5").status.ok());
}

TEST_CASE("json: a name that no record may have costs its own reading, and says which rule it broke") {
  const auto reason = [](std::string_view payload) { return decode(json_route(), payload).unread.reason(); };
  CHECK(reason(R"({"good":1,"temp\u0000C":2})") ==
        "the metric's name \"temp\\x00C\" has a control character (U+0000 at byte 4)");
  CHECK(reason(R"({"\udc00":1})").ends_with(": half of a surrogate pair is no character"));
  CHECK(reason(R"({"a":{"b\u009f":1}})").find("U+009F at byte 3") != std::string::npos);
  CHECK(reason("{\"a\x7f\":1}").find("U+007F") != std::string::npos);
  CHECK(reason(R"({"":1})") == "the metric's name \"\" is empty");
  CHECK(reason(R"({"a":"x\u0000"})").find("the text of \"a\"") == 0);
  CHECK(reason(R"({"a":"\u001b[31m"})").find("U+001B") != std::string::npos);
  CHECK(decode(json_route(), R"({"a":"two\nlines\t\u00b0"})").status.ok());
  // At the bound, and one byte beyond it: also when two members make the name together.
  CHECK(decode(json_route(), "{\"" + std::string(256, 'm') + "\":1}").status.ok());
  CHECK(reason("{\"" + std::string(257, 'm') + "\":1}").find("257 bytes, at most 256") != std::string::npos);
  CHECK(
      reason("{\"" + std::string(200, 'm') + "\":{\"" + std::string(56, 'n') + "\":1}}").find("257 bytes") !=
      std::string::npos);
  CHECK(decode(json_route(), "{\"a\":\"" + std::string(65536, 'x') + "\"}").status.ok());
  CHECK(reason("{\"a\":\"" + std::string(65537, 'x') + "\"}").find("65537 bytes, at most 65536") !=
        std::string::npos);
}

TEST_CASE("topics: levels that become device or tag pass the door like everything else") {
  const auto reason = [](const std::string& topic) {
    return decode(json_route(), R"({"v":1})", topic).status.detail();
  };
  CHECK(reason("plant/l1/" + std::string(256, 'd') + "/telemetry").empty());
  CHECK(reason("plant/l1/" + std::string(257, 'd') + "/telemetry").find("the device's name") == 0);
  CHECK(reason("plant/" + std::string(60'000, 'l') + "/press-1/telemetry").find("60000 bytes, at most 256") !=
        std::string::npos);
  CHECK(reason("plant/l\xFF/press-1/telemetry") ==
        "the tag's value of \"line\" \"l\\xff\" is not UTF-8 (byte 1)");
  CHECK(reason("plant/l1/press\x1f/telemetry").find("U+001F") != std::string::npos);
  // Many tags, each within its bound, are too much together.
  RouteConfig route;
  route.topic = "{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{device}";
  route.tags = {"a", "b", "c", "d", "e", "f", "g", "h"};
  const std::string level(255, 'x');
  CHECK(decode(route, R"({"v":1})",
               level + "/" + level + "/" + level + "/" + level + "/" + level + "/" + level + "/" + level +
                   "/" + level + "/d")
            .status.ok());
  const std::string full(256, 'x');
  CHECK(decode(route, R"({"v":1})",
               full + "/" + full + "/" + full + "/" + full + "/" + full + "/" + full + "/" + full + "/" +
                   full + "/d")
            .status.detail() == "the tags take 2056 bytes together, at most 2048 are taken");
}

TEST_CASE("properties and certificates: who published becomes a name only through the door") {
  auto route = json_route();
  route.publisher_known = true;
  route.device = "dev-{client_id}";
  route.tags = {"property.site"};
  const Router router = std::move(Router::make({route})).value();
  const auto reason = [&](std::string_view client, std::string_view site) {
    const std::pair<std::string_view, std::string_view> properties[] = {{"site", site}};
    const Publisher publisher{client, "", "", "", properties};
    Arrival arrival;
    arrival.channel = "plant/l1/x/telemetry";
    arrival.bytes = bytes_of(R"({"v":1})");
    arrival.publisher = &publisher;
    std::vector<Record> out;
    Unread unread;
    return router.decode(arrival, out, unread).detail();
  };
  CHECK(reason("press-1", "north").empty());
  CHECK(reason(std::string_view("a\0evil", 6), "north").find("U+0000") != std::string::npos);
  CHECK(reason("\xFE", "north").find("not UTF-8") != std::string::npos);
  CHECK(reason("press-1", "a\nb").find("the tag's value of \"property.site\"") == 0);
}

TEST_CASE("configured names that no record may have are found before the daemon starts") {
  auto route = json_route();
  route.metrics = {{std::string("a\0b", 3), "a", ""}};
  CHECK_FALSE(Router::make({route}).ok());
  route.metrics = {{"a", "a", std::string(65, 'u')}};
  CHECK_FALSE(Router::make({route}).ok());
  route.metrics.clear();
  route.fixed_tags = {{"site", std::string(257, 's')}};
  CHECK_FALSE(Router::make({route}).ok());
  route.fixed_tags.clear();
  for (int i = 0; i < 33; ++i) route.fixed_tags.emplace_back("t" + std::to_string(i), "x");
  CHECK_FALSE(Router::make({route}).ok());
}

TEST_CASE("json: the records of a payload share one list of tags, and their number is bounded") {
  std::string payload = "{";
  for (int i = 0; i < 10'000; ++i) payload += (i ? ",\"m" : "\"m") + std::to_string(i) + "\":1";
  const std::string topic = "plant/" + std::string(250, 'l') + "/press-1/telemetry";
  const auto got = decode(json_route(), payload + "}", topic);
  REQUIRE(got.records.size() == 10'000);
  for (const Record& record : got.records) CHECK(&*record.tags.begin() == &*got.records[0].tags.begin());
  const auto over = decode(json_route(), payload + ",\"one\":1}", topic);
  CHECK(over.records.empty());
  CHECK(over.status.detail() == "more values than the 10000 a payload may have");
}

TEST_CASE("a topic without a route is said so") {
  CHECK(decode(json_route(), "{}", "other/topic").status.detail() == "no route for this topic");
}

TEST_CASE("timestamps: text") {
  CHECK(parse_time_text("1970-01-01T00:00:00Z")->us == 0);
  CHECK(parse_time_text("2024-02-29 12:00:00")->us == 1'709'208'000'000'000);
  // a leap second
  CHECK(parse_time_text("2016-12-31T23:59:60Z")->us == parse_time_text("2017-01-01T00:00:00Z")->us);
  CHECK(parse_time_text("2024-06-01T10:00:00.1234567-02:30")->us ==
        parse_time_text("2024-06-01T12:30:00.123456Z")->us);
  CHECK(parse_time_text("2038-01-19T03:14:08Z")->us == 2'147'483'648'000'000);
  for (const char* bad : {"", "2024", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T25:00:00Z",
                          "2024-01-01T00:00:00+24:00", "2024-01-01Tx"}) {
    INFO(bad);
    CHECK_FALSE(parse_time_text(bad));
  }
}

TEST_CASE("timestamps: numbers, exact to the microsecond") {
  using F = TimeFormat;
  CHECK(parse_time_number("1700000000", F::automatic)->us == 1'700'000'000'000'000);
  CHECK(parse_time_number("1700000000123", F::automatic)->us == 1'700'000'000'123'000);
  CHECK(parse_time_number("1700000000123456", F::automatic)->us == 1'700'000'000'123'456);
  CHECK(parse_time_number("1700000000123456789", F::automatic)->us == 1'700'000'000'123'456);
  CHECK(parse_time_number("1700000000.123456", F::s)->us == 1'700'000'000'123'456);
  CHECK(parse_time_number("1.7e9", F::s)->us == 1'700'000'000'000'000);
  CHECK(parse_time_number("-1", F::s)->us == -1'000'000);
  CHECK(parse_time_number("9214646400000000000", F::ns)->us == 9'214'646'400'000'000);
  for (const char* bad : {"", "-", "x", "1700000000.", "99999999999999999999x", "+1", "--1"}) {
    INFO(bad);
    CHECK_FALSE(parse_time_number(bad, F::s));
  }
  // However many digits, and whichever character stands among them at whatever place.
  const std::string digits = "8901234567890123456";
  for (std::size_t size = 1; size <= 15; ++size) {
    const std::string number = digits.substr(0, size);
    CAPTURE(number);
    CHECK(parse_time_number(number, F::us)->us == std::stoll(number));
    for (std::size_t at = 0; at < size; ++at) {
      for (const char c : {'/', ':', ' ', '-', '\0', '\x7F', '\xB0', '\xFF'}) {
        std::string bad = number;
        bad[at] = c;
        if (at == 0 && c == '-') continue;
        CHECK_FALSE(parse_time_number(bad, F::us));
      }
    }
  }
}

}  // namespace decode_test
