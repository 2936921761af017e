// Times as devices write them, in their own zone, by their own calendar, or wrong.
#include <doctest/doctest.h>

#include <cstdlib>
#include <ctime>

#include "base/rng.h"
#include "decode/time_rule.h"
#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace time_reading_test {
using namespace millrace;
using Readings = std::vector<std::string>;

namespace {

RouteConfig timed(const char* format = "auto", const char* zone = "") {
  auto route = json_route();
  route.time = "ts";
  route.time_format = format;
  route.time_zone = zone;
  return route;
}

// When the one reading of it was, or why there is none; "arrival" for the time of arrival.
std::string when(const RouteConfig& route, std::string_view ts) {
  const auto got = decode(route, text(R"({"ts":)", ts, R"(,"v":1})"));
  if (got.records.empty()) return got.status.detail();
  return got.records[0].trust == TimeTrust::device ? format_time(got.records[0].time) : "arrival";
}

}  // namespace

TEST_CASE("times: what cannot be believed counts as the arrival, and the device's own is kept") {
  for (const char* ts : {"0", "12345", "\"1970-01-01T00:00:03\"", "\"2009-12-31T23:59:59Z\"", "4070908800",
                         "\"2030-01-01T00:00:00Z\"", "-1"}) {
    INFO(ts);
    const auto got = decode(timed(), text(R"({"ts":)", ts, R"(,"v":1,"w":2})"));
    REQUIRE(got.records.size() == 3);
    CHECK(got.records[0].time.us == arrived_us);
    CHECK(got.records[0].trust == TimeTrust::gateway);
    CHECK(got.records[2].metric == "device_time");
    CHECK_FALSE(got.unread.any());
  }
  CHECK(decode(timed(), R"({"ts":12345,"v":1})").readings() == Readings{"v=1", "device_time=12345"});
  CHECK(decode(timed(), R"({"ts":"1970-01-01T00:00:03","v":1})").readings() ==
        Readings{"v=1", "device_time='1970-01-01T00:00:03'"});
  auto route = timed();
  route.past_limit = "2000-01-01";
  CHECK(when(route, "\"2001-02-03T04:05:06Z\"") == format_time(*parse_time_text("2001-02-03T04:05:06Z")));
  route.future_limit = std::chrono::hours(24 * 3650);
  CHECK(when(route, "\"2030-01-01T00:00:00Z\"") == format_time(*parse_time_text("2030-01-01T00:00:00Z")));
  route.time_needed = true;
  CHECK(when(route, "5") == "the time cannot be believed: \"5\"");
}

TEST_CASE("times: the future is only the future by a clock that is trusted") {
  const auto router = std::move(Router::make({timed()})).value();
  Arrival arrival;
  arrival.channel = "plant/l1/d/telemetry";
  arrival.bytes = bytes_of(R"({"ts":1700000000,"v":1})");
  arrival.received = {1'000'000};  // booted in 1970
  for (const bool trusted : {false, true}) {
    arrival.clock_trusted = trusted;
    std::vector<Record> out;
    Unread unread;
    CHECK(router.decode(arrival, out, unread).ok());
    CHECK(out.size() == (trusted ? 2u : 1u));
  }
}

TEST_CASE("times: ahead of a clock that may be anywhere") {
  TimeRule rule;
  CHECK_FALSE(is_too_far_ahead({INT64_MAX}, {INT64_MIN}, rule));
  rule.future_limit_us = 60'000'000;
  CHECK(is_too_far_ahead({INT64_MAX}, {INT64_MIN}, rule));
  CHECK_FALSE(is_too_far_ahead({INT64_MIN}, {INT64_MAX}, rule));
  CHECK_FALSE(is_too_far_ahead({60'000'000}, {0}, rule));
  CHECK(is_too_far_ahead({60'000'001}, {0}, rule));
}

TEST_CASE("times: one time for many elements is kept once a device") {
  auto route = timed();
  route.each = "r[]";
  route.time = "$.ts";
  route.device = "{.d}";
  const auto got = decode(route, R"({"r":[{"d":"a","v":1},{"d":"a","v":2},{"d":"b","v":3}],"ts":77})");
  CHECK(got.readings() == Readings{"v=1", "v=2", "v=3", "device_time=77", "device_time=77"});
  CHECK(got.records[4].device == "b");
}

TEST_CASE("times: digits that could be a date are read by a pattern, and never guessed") {
  for (const char* digits :
       {"20240701", "\"20240701\"", "20240701120000", "202407011200", "20240701120000123"}) {
    INFO(digits);
    CHECK(when(timed(), digits).find("could be a date") != std::string::npos);
  }
  CHECK(when(timed("%Y%m%d"), "20240701") == format_time(*parse_time_text("2024-07-01")));
  CHECK(when(timed("%Y%m%d%H%M%S"), "\"20240701123456\"") ==
        format_time(*parse_time_text("2024-07-01T12:34:56Z")));
  // said so: it is year 2611, and nobody believes that
  CHECK(when(timed("ms"), "20240701120000") == "arrival");
  CHECK(when(timed(), "1720000000") == format_time({1'720'000'000'000'000}));
  CHECK(when(timed(), "99999999") == "arrival");  // no date: 1973
}

TEST_CASE("times: a clock that is not set says that it has none, and the arrival counts") {
  for (const char* none :
       {"null", R"("")", R"(" ")", R"("N/A")", R"("n/a")", R"("null")", R"("None")", R"("-")", R"("--")",
        R"("----/--/-- --:--:--")", R"("NaN")", R"("unknown")", R"("0000-00-00 00:00:00")",
        R"("0000-00-00T00:00:00Z")", R"("0000/00/00")", R"("2000-00-00 00:00:07")"}) {
    INFO(none);
    const auto got = decode(timed(), text(R"({"ts":)", none, R"(,"v":1})"));
    CHECK(got.readings() == Readings{"v=1"});
    CHECK_FALSE(got.unread.any());
    CHECK(when(timed(), none) == "arrival");
    auto needed = timed();
    needed.time_needed = true;
    CHECK(when(needed, none) == "the time is missing");
  }
  CHECK(when(timed("%d.%m.%Y %H:%M"), R"("00.00.0000 00:00")") == "arrival");
  CHECK(when(timed("%d%m%y"), R"("000000")") == "arrival");
  CHECK(when(timed("iso8601"), "0") == "arrival");
  CHECK(decode(timed("uptime"), R"({"ts":"","v":1})").readings() == Readings{"v=1"});
  // What is broken is no clock that is not set.
  for (const char* bad : {R"("soon")", R"("0 h")", R"("00:00:00")", R"("2024-00-01")",
                          R"("2024-13-01 00:00:00")", R"("0000-00-")", R"(":")", R"("true")", "true"}) {
    INFO(bad);
    CHECK(when(timed(), bad).starts_with("not a time"));
  }
  // Of halves either may say so; midnight is a time of day.
  auto halves = timed();
  halves.time_of_day = "c";
  CHECK(when(halves, R"("N/A","c":"12:00:00")") == "arrival");
  CHECK(when(halves, R"("0000-00-00","c":"00:00:00")") == "arrival");
  CHECK(when(halves, R"("2025-07-01","c":"-")") == "arrival");
  CHECK(when(halves, R"("2025-07-01","c":"--:--")") == "arrival");
  CHECK(when(halves, R"("2025-07-01","c":"00:00:00")") == format_time(*parse_time_text("2025-07-01")));
}

TEST_CASE("times: by a pattern, and in the other spellings of ISO") {
  CHECK(when(timed("%d.%m.%Y %H:%M:%S"), "\"01.07.2024 12:00:00\"") ==
        format_time(*parse_time_text("2024-07-01T12:00:00Z")));
  CHECK(when(timed("%d.%m.%Y %H:%M:%S"), "\"1.7.2024  2:00:00\"") ==
        format_time(*parse_time_text("2024-07-01T02:00:00Z")));
  CHECK(when(timed("%b %d %Y %I:%M:%S %p"), "\"Jul 01 2024 12:00:01 AM\"") ==
        format_time(*parse_time_text("2024-07-01T00:00:01Z")));
  CHECK(when(timed("%m/%d/%y %I:%M %p"), "\"7/1/24 1:05 pm\"") ==
        format_time(*parse_time_text("2024-07-01T13:05:00Z")));
  CHECK(when(timed("%Y-%m-%dT%H:%M:%S.%f%z"), "\"2024-07-01T12:00:00.25+02:00\"") ==
        format_time(*parse_time_text("2024-07-01T10:00:00.25Z")));
  CHECK(when(timed(), "\"2024/07/01 12:00:00\"") == format_time(*parse_time_text("2024-07-01T12:00:00Z")));
  CHECK(when(timed(), "\"2024-07-01 12:00:00 +02:00\"") ==
        format_time(*parse_time_text("2024-07-01T10:00:00Z")));
  // In digits without signs, and with what libraries write beside an offset.
  for (const char* one :
       {"20240701T100000Z", "20240701T1000Z", "20240701T120000+0200", "20240701T100000.000Z",
        "2024-07-01 10:00:00 UTC", "2024-07-01T10:00:00GMT", "2024-07-01 10:00:00 +0000 UTC",
        "2024-07-01T12:00:00+02:00[Europe/Berlin]", "2024-07-01T10:00Z[UTC]"}) {
    INFO(one);
    CHECK(when(timed(), text("\"", one, "\"")) == format_time(*parse_time_text("2024-07-01T10:00:00Z")));
  }
  for (const char* bad :
       {"20240701T", "20240701 100000Z", "20240701T10", "2024-07-01T100000Z", "20241301T100000Z",
        "2024-07-01 10:00:00 CET", "2024-07-01T10:00[Europe/Berlin]", "2024-07-01T10:00:00ZZ",
        "2024-07-01T10:00:00+02:00 UTC", "2024-07-01T10:00:00Z[x", "2024-07-01T10:00:00Z[x]y"}) {
    INFO(bad);
    CHECK(when(timed(), text("\"", bad, "\"")).starts_with("not a time"));
  }
  CHECK(when(timed("s2000"), "773150400") == format_time(*parse_time_text("2024-07-01T12:00:00Z")));
  CHECK(when(timed("uptime"), "1700000000") == "arrival");
  for (const char* bad : {"\"01.07.2024 12:00:00\"", "\"07/01/2024\"", "\"2024-07/01\"", "true", "{}"}) {
    INFO(bad);
    CHECK((when(timed(), bad).find("not a time") == 0 || when(timed(), bad) == "arrival"));
  }
  for (const char* bad : {"%H:%M", "%Q%Y%m%d", "%Y-%m-%d%", "yesterday"})
    CHECK_FALSE(Router::make({timed(bad)}).ok());
  auto route = timed();
  route.past_limit = "long ago";
  CHECK_FALSE(Router::make({route}).ok());
  CHECK_FALSE(Router::make({timed("auto", "Mars/Olympus")}).ok());
  CHECK_FALSE(Router::make({timed("auto", "../../etc/passwd")}).ok());
}

TEST_CASE("times: of a zone, where they name none") {
  CHECK(when(timed("auto", "+02:00"), "\"2024-07-01T12:00:00\"") ==
        format_time(*parse_time_text("2024-07-01T10:00:00Z")));
  CHECK(when(timed("auto", "-00:30"), "\"2024-07-01T12:00:00\"") ==
        format_time(*parse_time_text("2024-07-01T12:30:00Z")));
  CHECK(when(timed("auto", "+05:30"), "\"2024-07-01T12:00:00Z\"") ==
        format_time(*parse_time_text("2024-07-01T12:00:00Z")));
  // numbers count from 1970 in UTC
  CHECK(when(timed("auto", "+02:00"), "1720000000") == format_time({1'720'000'000'000'000}));
  // As POSIX writes it, the clocks changed twice a year.
  const auto berlin = std::move(TimeZone::parse("CET-1CEST,M3.5.0,M10.5.0/3")).value();
  const auto utc = [&](const char* local) { return format_time(*parse_time_text(local, berlin.get())); };
  CHECK(utc("2024-01-01T12:00:00") == format_time(*parse_time_text("2024-01-01T11:00:00Z")));
  CHECK(utc("2024-07-01T12:00:00") == format_time(*parse_time_text("2024-07-01T10:00:00Z")));
  // comes twice: its first
  CHECK(utc("2024-10-27T02:30:00") == format_time(*parse_time_text("2024-10-27T00:30:00Z")));
  CHECK(utc("2024-03-31T02:30:00") == format_time(*parse_time_text("2024-03-31T01:30:00Z")));  // left out
  const auto later = [&](const char* local) {
    return format_time({berlin->utc_of_local(parse_time_text(local)->us / 1'000'000, true) * 1'000'000});
  };
  for (const char* once : {"2024-01-01T12:00:00", "2024-07-01T12:00:00", "2024-10-27T01:59:59",
                           "2024-10-27T03:00:00", "2024-03-31T02:30:00"})
    CHECK(later(once) == utc(once));
  CHECK(later("2024-10-27T02:30:00") == format_time(*parse_time_text("2024-10-27T01:30:00Z")));
  const auto sydney = std::move(TimeZone::parse("AEST-10AEDT,M10.1.0,M4.1.0/3")).value();
  CHECK(sydney->offset_at(parse_time_text("2024-01-01T00:00:00Z")->us / 1'000'000) == 11 * 3600);
  CHECK(sydney->offset_at(parse_time_text("2024-07-01T00:00:00Z")->us / 1'000'000) == 10 * 3600);
}

TEST_CASE("times: zones of the system are read as the C library reads them") {
  const char* before = std::getenv("TZ");
  const std::string kept = before ? before : "";
  Rng rng(seed());
  int zones = 0;
  for (const char* name : {"Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
                           "Africa/Casablanca", "America/St_Johns", "Pacific/Apia", "Europe/Dublin"}) {
    const auto zone = TimeZone::find(name);
    if (!zone.ok()) continue;  // no tzdata here
    ++zones;
    ::setenv("TZ", name, 1);
    ::tzset();
    for (int round = 0; round < 500 * effort(); ++round) {
      const auto at = static_cast<std::time_t>(rng.below(4'200'000'000));
      std::tm local{};
      ::localtime_r(&at, &local);
      CAPTURE(name);
      CAPTURE(at);
      CHECK(zone.value()->offset_at(at) == local.tm_gmtoff);
      const std::int64_t back = zone.value()->utc_of_local(at + local.tm_gmtoff);
      if (back != at)
        CHECK((back < at && at - back <= 7200 &&
               zone.value()->offset_at(back) + back == at + local.tm_gmtoff));  // the first of two
    }
  }
  if (before) ::setenv("TZ", kept.c_str(), 1);
  else ::unsetenv("TZ");
  ::tzset();
  if (zones == 0) MESSAGE("no time zones are installed (tzdata): not compared");
}

TEST_CASE("times: a zone file that lies is no zone") {
  Rng rng(seed());
  std::string file("TZif2", 5);
  for (int round = 0; round < 2000 * effort(); ++round) {
    std::string bytes = file;
    for (std::uint64_t n = rng.below(200); n > 0; --n)
      bytes += static_cast<char>(rng.below(4) == 0 ? rng.next() : 0);
    if (const auto zone = TimeZone::parse(bytes); zone.ok())
      (void)zone.value()->utc_of_local(static_cast<std::int64_t>(rng.below(4'000'000'000)));
  }
}

}  // namespace time_reading_test
