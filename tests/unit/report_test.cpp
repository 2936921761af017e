// Report by exception: what is worth forwarding, and what it may take to know.
#include <doctest/doctest.h>

#include <algorithm>

#include "base/text.h"
#include "decode/router.h"
#include "pipeline/report_filter.h"

namespace report_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

Record reading(double second, Value value, std::string device = "d", std::string metric = "m",
               Quality quality = Quality::good) {
  Record record;
  record.device = std::move(device);
  record.metric = std::move(metric);
  record.value = std::move(value);
  record.quality = quality;
  record.time = {static_cast<std::int64_t>(second * 1e6)};
  return record;
}

// Which of these, a second apart, leave: "x.x".
std::string leaving(const ReportConfig& rules, const std::vector<Value>& values, double apart = 1) {
  ReportFilter filter(1 << 20);
  std::string all;
  double second = 1000;
  for (const Value& value : values)
    all += filter.judge("in", rules, reading(second += apart, value)) == Worth::forward ? 'x' : '.';
  return all;
}

}  // namespace

TEST_CASE("reports: on change forwards what is another value, of any type") {
  ReportConfig rules;
  rules.on_change = true;
  CHECK(leaving(rules, {1.0, 1.0, 1.5, 1.5, 1.0}) == "x.x.x");
  CHECK(leaving(rules, {std::int64_t{21}, 21.0, std::int64_t{21}, 21.5}) == "x..x");
  CHECK(leaving(rules, {std::string("on"), std::string("on"), std::string("off")}) == "x.x");
  CHECK(leaving(rules, {true, true, false, std::int64_t{0}}) == "x.xx");
  CHECK(leaving(rules, {std::int64_t{9007199254740993}, std::int64_t{9007199254740992}}) == "xx");
  CHECK(leaving(rules, {1.0, Value(), Value(), 1.0}) == "xx.x");
  CHECK(leaving(rules, {0.0, -0.0, Bytes{std::byte{0}}, Bytes{std::byte{0}}}) == "x.x.");
}

TEST_CASE("reports: devices of one name are told apart by their tags, however the names run on") {
  ReportConfig rules;
  rules.on_change = true;
  rules.deduplicate = true;
  ReportFilter filter(1 << 20);
  const auto judge = [&](std::string device, Tags tags, std::string metric) {
    Record record = reading(1, 7.0, std::move(device), std::move(metric));
    record.tags = std::move(tags);
    record.trust = TimeTrust::device;
    return filter.judge("in", rules, record);
  };
  CHECK(judge("pump", {{"line", "l1"}}, "m") == Worth::forward);
  CHECK(judge("pump", {{"line", "l2"}}, "m") == Worth::forward);
  CHECK(judge("pump", {}, "m") == Worth::forward);
  CHECK(judge("pump", {{"line", ""}, {"l2", ""}}, "m") == Worth::forward);
  CHECK(judge(std::string("pump\0a", 6), {}, "m") == Worth::forward);
  CHECK(judge("pump", {}, std::string("a\0m", 3)) == Worth::forward);
  CHECK(judge("pump", {{"line", "l1"}}, "m") == Worth::duplicate);
}

TEST_CASE("reports: deadbands go by what left last, so that a slow drift is seen") {
  ReportConfig rules;
  rules.on_change = true;
  rules.deadband = 0.5;
  CHECK(leaving(rules, {20.0, 20.3, 20.5, 20.6, 20.3, 20.9, 21.2}) == "x..x..x");
  rules.deadband = 0;
  rules.deadband_percent = 10;
  CHECK(leaving(rules, {100.0, 109.0, 111.0, 121.0, 123.0}) == "x.x.x");
  CHECK(leaving(rules, {-100.0, -109.0, -111.0}) == "x.x");
  CHECK(leaving(rules, {0.0, 0.001, 0.0}) == "xxx");
  rules.deadband = 1;  // with both the larger counts
  CHECK(leaving(rules, {0.0, 0.5, 1.5, 2.0, 2.6}) == "x.x.x");
  rules.metrics = {{"m", 5.0, {}}};
  CHECK(leaving(rules, {100.0, 104.0, 106.0}) == "x.x");
  rules.metrics = {{"other", 5.0, {}}};
  CHECK(leaving(rules, {100.0, 104.0, 106.0, 111.0}) == "x..x");
}

TEST_CASE("reports: one leaves after max_silence, none sooner than min_interval, whichever way time goes") {
  ReportConfig rules;
  rules.on_change = true;
  rules.max_silence = 3s;
  CHECK(leaving(rules, {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}) == "x..x..x");
  CHECK(leaving(rules, {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}, -1) ==
        "x..x..x");  // a buffer that is read from its end
  rules = {};
  rules.min_interval = 2s;
  CHECK(leaving(rules, {1.0, 2.0, 3.0, 4.0, 5.0}) == "x.x.x");
  rules.on_change = true;
  CHECK(leaving(rules, {1.0, 2.0, 2.0, 2.0, 1.0}) == "x.x.x");  // what changed too soon leaves when it may
}

TEST_CASE(
    "reports: a change of quality always leaves, and so does the first of each device, metric and input") {
  ReportConfig rules;
  rules.deadband = 100;
  rules.on_change = true;
  rules.min_interval = 1h;
  ReportFilter filter(1 << 20);
  const auto leaves = [&](const char* input, Record record) {
    return filter.judge(input, rules, record) == Worth::forward;
  };
  CHECK(leaves("in", reading(1, 1.0)));
  CHECK_FALSE(leaves("in", reading(2, 2.0)));
  CHECK(leaves("in", reading(3, 2.0, "d", "m", Quality::bad)));
  CHECK_FALSE(leaves("in", reading(4, 3.0, "d", "m", Quality::bad)));
  CHECK(leaves("in", reading(5, 3.0, "d", "m", Quality::good)));
  CHECK(leaves("in", reading(6, 1.0, "e")));
  CHECK(leaves("in", reading(7, 1.0, "d", "n")));
  CHECK(leaves("other", reading(8, 1.0)));
  CHECK_FALSE(leaves("in", reading(9, 4.0)));
}

TEST_CASE(
    "reports: a reading that comes again with its own time and value is a duplicate, of the last eight") {
  ReportConfig rules;
  rules.deduplicate = true;
  ReportFilter filter(1 << 20);
  const auto judged = [&](Record record) { return filter.judge("in", rules, record); };
  for (int i = 0; i < 8; ++i) CHECK(judged(reading(i, 1.0)) == Worth::forward);
  for (int i = 0; i < 8; ++i) CHECK(judged(reading(i, 1.0)) == Worth::duplicate);
  CHECK(judged(reading(3, 2.0)) == Worth::forward);
  CHECK(judged(reading(0, 1.0)) == Worth::forward);  // of the last eight: it is the ninth
  Record arrived = reading(50, 1.0);
  arrived.trust = TimeTrust::gateway;
  CHECK(judged(arrived) == Worth::forward);
  CHECK(judged(arrived) == Worth::forward);
}

TEST_CASE("reports: what they remember is bounded, and what is forgotten is forwarded") {
  ReportConfig rules;
  rules.on_change = rules.deduplicate = true;
  ReportFilter filter(64 << 10);
  std::uint64_t left = 0, asked = 0;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 3000; ++i, ++asked) {
      left += filter.judge("in", rules, reading(round, 1.0, text("device-", i))) == Worth::forward;
      left += filter.judge("in", rules, reading(round + 0.5, 1.0, "steady")) == Worth::forward;
      CHECK(filter.bytes() <= filter.bytes_max() + 1000);
    }
  }
  CHECK(filter.forgotten() > 10'000);
  CHECK(left ==
        asked + 1);  // too many to know: all of them leave, and who is asked for all the time is known
  ReportFilter roomy(4 << 20);
  left = 0;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 3000; ++i)
      left += roomy.judge("in", rules, reading(round, 1.0, text("device-", i))) == Worth::forward;
  }
  CHECK(left == 3000);
  CHECK(roomy.forgotten() == 0);
}

TEST_CASE(
    "reports: routes say which of a payload's readings are theirs, and those that ask for nothing say "
    "nothing") {
  RouteConfig plain, ruled;
  plain.topic = "a/{device}";
  ruled.topic = "b/{device}";
  ruled.report.on_change = true;
  const Router router = std::move(Router::make({plain, ruled})).value();
  std::vector<Record> records;
  Unread unread;
  Arrival arrival;
  arrival.input = "in";
  const Bytes payload = to_bytes(R"({"x": 1, "y": 2})");
  arrival.bytes = payload;
  arrival.channel = "a/1";
  REQUIRE(router.decode(arrival, records, unread).ok());
  CHECK(unread.ruled.empty());
  arrival.channel = "b/1";
  REQUIRE(router.decode(arrival, records, unread).ok());
  REQUIRE(unread.ruled.size() == 1);
  CHECK(unread.ruled[0].from == 2);
  CHECK(unread.ruled[0].to == 4);
  unread.clear();
  CHECK(unread.ruled.empty());
}

TEST_CASE("reports: a fleet that grows while all of it speaks stays in its bounds") {
  ReportConfig rules;
  rules.on_change = true;
  ReportFilter filter(64 << 10);
  for (int round = 1; round <= 40; ++round) {
    for (int i = round * 100 - 1; i >= 0; --i) {  // who is new speaks first
      filter.judge("in", rules, reading(round, 1.0, text("device-", i)));
      REQUIRE(filter.bytes() <= filter.bytes_max());
    }
  }
  CHECK(filter.forgotten() > 0);
}

TEST_CASE("reports: duplicates are remembered within the same bounds") {
  ReportConfig rules;
  rules.deduplicate = true;
  ReportFilter filter(64 << 10);
  for (int round = 1; round <= 4; ++round) {
    for (int i = 0; i < 400; ++i) {
      filter.judge("in", rules, reading(round, 1.0, text("device-", i)));
      REQUIRE(filter.bytes() <= filter.bytes_max());
    }
  }
}

TEST_CASE("reports: times as far apart as there are some") {
  ReportConfig rules;
  rules.on_change = true;
  rules.max_silence = std::chrono::hours(1);
  ReportFilter filter(64 << 10);
  Record early = reading(0, 1.0), late = reading(0, 1.0);
  early.time.us = -2'208'988'800'000'000;  // 1900
  late.time.us = INT64_MAX / 1000 * 1000;
  CHECK(filter.judge("in", rules, early) == Worth::forward);
  CHECK(filter.judge("in", rules, late) == Worth::forward);
}

}  // namespace report_test
