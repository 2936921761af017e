#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "base/backoff.h"
#include "base/files.h"
#include "base/host_port.h"
#include "base/json.h"
#include "base/metrics.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tests/support/accept_json.h"
#include "uplink/breaker.h"

namespace base_test {
using namespace millrace;
using namespace std::chrono_literals;

TEST_CASE("durations and sizes are read as people write them, and nothing else is") {
  CHECK(parse_duration("200ms") == 200ms);
  CHECK(parse_duration("1.5s") == 1500ms);
  CHECK(parse_duration("5min") == 5min);
  CHECK(parse_duration("7d") == 168h);
  for (const char* bad : {"", "5", "-5s", "1e3s", "5 lightyears", ".5s", "5s5", "99999999d"})
    CHECK_FALSE(parse_duration(bad));
  CHECK(parse_size("512MiB") == 512u << 20);
  CHECK(parse_size("64KB") == 64'000u);
  CHECK(parse_size("100") == 100u);
  for (const char* bad : {"", "MiB", "-1", "1.5.5KB", "1TiBs"}) CHECK_FALSE(parse_size(bad));
}

TEST_CASE("the nearest word is offered only when it is near") {
  const std::vector<std::string_view> known = {"servers", "topics", "client_id"};
  CHECK(nearest_word("server", known) == "servers");
  CHECK(nearest_word("clientid", known) == "client_id");
  CHECK(nearest_word("durability", known).empty());
  CHECK(nearest_word("foo", {"top", "tap"}).empty());
  CHECK(nearest_word("tp", {"top"}) == "top");
}

TEST_CASE("crc32c gives the check value of RFC 3720") {
  CHECK(crc32c(bytes_of("123456789")) == 0xE3069283u);
  // In pieces as in one go.
  CHECK(crc32c(bytes_of("456789"), crc32c(bytes_of("123"))) == 0xE3069283u);
}

TEST_CASE("digest64 is stable: it is stored in inbox files") {
  CHECK(digest64(bytes_of("")) == digest64(bytes_of("")));
  CHECK(digest64(bytes_of("millrace")) == 5805354151595851820ULL);
  CHECK(digest64(bytes_of("millrace/1.5")) == 11902391344207014702ULL);
  CHECK(digest64(bytes_of("abc")) == 7266200788007315294ULL);
  CHECK(digest64(bytes_of("a")) != digest64(bytes_of({"a\0", 2})));
}

TEST_CASE("times are written as RFC 3339, before 1970 too") {
  CHECK(format_time({0}) == "1970-01-01T00:00:00.000000Z");
  CHECK(format_time({-1}) == "1969-12-31T23:59:59.999999Z");
  CHECK(format_time({1'790'000'000'123'456}) == "2026-09-21T14:13:20.123456Z");
}

TEST_CASE("JSON: the public parsing suite is accepted and rejected as RFC 8259 asks") {
  int cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MILLRACE_SOURCE "/tests/cases/json/parsing")) {
    const std::string name = entry.path().filename().string();
    auto content = read_file(entry.path().string(), 16 << 20);
    REQUIRE(content.ok());
    AcceptJson handler;
    const Status status = read_json(bytes_of(content.value()), handler);
    INFO(name, ": ", status.detail());
    if (name.starts_with("y_")) CHECK(status.ok());
    if (name.starts_with("n_")) CHECK_FALSE(status.ok());
    ++cases;  // i_ may go either way, but must not crash
  }
  CHECK(cases > 300);
}

TEST_CASE("JSON: what is written reads back, and NaN becomes null") {
  JsonWriter json;
  json.begin_object()
      .member("a\"b", "x\n\x01")
      .member("n", 0.1)
      .member("i", std::int64_t{-5})
      .member("t", true);
  json.key("nan").value(0.0 / 0.0).key("list").begin_array().value(1.5).value("z").end_array().end_object();
  CHECK(json.text() == R"({"a\"b":"x\n\u0001","n":0.1,"i":-5,"t":true,"nan":null,"list":[1.5,"z"]})");
  AcceptJson handler;
  CHECK(read_json(bytes_of(json.text()), handler).ok());
  CHECK(read_json(bytes_of(pretty_json(json.text())), handler).ok());
}

TEST_CASE("JSON: half a surrogate pair is no text, in a name or a value, alone or behind a NUL") {
  AcceptJson handler;
  for (const char* bad :
       {R"({"\udc00":1})", R"({"\ud800":1})", R"({"a":"\udfff"})", R"({"a":"x\u0000\udc00"})",
        R"(["\udc00\ud800"])", R"({"ok":1,"deep":{"a":["\uDCFF"]}})"}) {
    INFO(bad);
    CHECK_FALSE(read_json(bytes_of(bad), handler).ok());
  }
  CHECK(read_json(bytes_of(R"({"\ud83d\ude00":"\u00b0C"})"), handler).ok());
  CHECK(read_json(bytes_of(R"({"\udc00":1})"), handler)
            .detail()
            .ends_with(": half of a surrogate pair is no character"));
}

TEST_CASE("JSON: whatever bytes are written, any reader reads them and no terminal obeys them") {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  for (const std::string& hostile : {all,
                                     std::string("21.5 \xB0"
                                                 "C"),
                                     std::string("\xED\xB0\x80"),
                                     std::string("\xC2\x9B"
                                                 "2J"),
                                     std::string("\xE2\x82")}) {
    JsonWriter json;
    json.begin_object().member(hostile, hostile).end_object();
    AcceptJson handler;
    CHECK(read_json(bytes_of(json.text()), handler).ok());
    CHECK(find_fault(json.text(), Controls::none).kind == TextFault::ok);
  }
  JsonWriter json;
  json.value("\x7f\xC2\x9B\xC2\xB0");
  CHECK(json.text() == "\"\\u007f\\u009b\xC2\xB0\"");
}

TEST_CASE("a metric's label is one line of UTF-8, whatever was put into it") {
  Metrics metrics;
  metrics.counter("a_total", "Things", {{"input", "two\nlines \xFF \"q\""}}).add(1);
  CHECK(metrics.expose().find("a_total{input=\"two\\\\x0alines \\\\xff \\\"q\\\"\"} 1\n") !=
        std::string::npos);
}

TEST_CASE("metrics are written in Prometheus' text format, with labels escaped") {
  Metrics metrics;
  metrics.counter("a_total", "Things", {{"input", "x\"y\\z"}}).add(3);
  metrics.gauge("b", "Level").set(1.5);
  metrics.total("d_seconds_total", "Spent").set(2.25);
  metrics.histogram("c_seconds", "Times").observe(0.002);
  const std::string text = metrics.expose();
  CHECK(text.find("# TYPE a_total counter\na_total{input=\"x\\\"y\\\\z\"} 3\n") != std::string::npos);
  CHECK(text.find("# TYPE b gauge\nb 1.5\n") != std::string::npos);
  CHECK(text.find("# TYPE d_seconds_total counter\nd_seconds_total 2.25\n") != std::string::npos);
  CHECK(text.find("c_seconds_bucket{le=\"0.001\"} 0\nc_seconds_bucket{le=\"0.002\"} 1\n") !=
        std::string::npos);
  CHECK(text.find("c_seconds_count 1\n") != std::string::npos);
}

TEST_CASE("breaker: opens after failures in a row, lets one probe through, closes on success") {
  Breaker breaker({.failures_to_open = 2, .open_for = 1s});
  Instant now{1'000'000'000};
  breaker.on_failure(now);
  CHECK(breaker.allows(now));
  breaker.on_failure(now);
  CHECK_FALSE(breaker.allows(now));
  CHECK(breaker.wait(now) == 1s);
  CHECK(breaker.state(now + 1s) == Breaker::State::half_open);
  breaker.on_failure(now + 1s);
  CHECK_FALSE(breaker.allows(now + 1500ms));
  breaker.on_success();
  CHECK(breaker.state(now + 1500ms) == Breaker::State::closed);
  // Who asked for a long time is not cut short by who fails meanwhile.
  breaker.open(now, 15min);
  breaker.on_failure(now + 1s);
  CHECK(breaker.wait(now + 1s) == 15min - 1s);
  breaker.open(now + 2s, 30s);
  CHECK(breaker.wait(now + 2s) == 15min - 2s);
  CHECK(breaker.state(now + 15min) == Breaker::State::half_open);
}

TEST_CASE("backoff: grows with jitter to its cap, and only a stable connection resets it") {
  Rng rng(1);
  Backoff backoff(100ms, 10s, 30s);
  Duration longest{0};
  for (int i = 0; i < 200; ++i) {
    const Duration wait = backoff.next(rng);
    CHECK(wait >= 100ms);
    CHECK(wait <= 10s);
    longest = std::max(longest, wait);
  }
  CHECK(longest > 5s);
  Instant now{0};
  backoff.on_success(now);
  CHECK(backoff.next(rng) <= 10s);
  backoff.on_success(now);
  backoff.on_success(now + 31s);
  CHECK(backoff.next(rng) <= 300ms);
}

TEST_CASE("host and port: as people write them, and what is refused") {
  CHECK(parse_host_port("broker.example:1883").value().port == 1883);
  CHECK(parse_host_port("broker.example", 8883).value().to_string() == "broker.example:8883");
  CHECK(parse_host_port("[2001:db8::7]:1", 2).value().host == "2001:db8::7");
  CHECK(parse_host_port("[2001:db8::7]", 2).value().to_string() == "[2001:db8::7]:2");
  CHECK(parse_host_port("[fe80::1%eth0]:1").value().host == "fe80::1%eth0");
  for (const char* bad : {"", ":1", "a:", "a:b", "a:65536", "a:-1", "a:1x", "[::1", "[]:1", "[::1]x",
                          "2001:db8::7", "a", "a:0", "[[::1]:1", "[broker]:1", "a]:1", "[::1]]:1"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_host_port(bad).ok());
  }
  CHECK(parse_host_port("127.0.0.1:0", 0, 0).ok());  // who listens may have any
}

TEST_CASE(
    "folders are made with their parents, whether or not some are there, and what is in the way is told") {
  const std::string base = text("/tmp/millrace-folders-", ::getpid());
  CHECK(make_folders(base + "/a/b/").ok());
  CHECK(make_folders(base + "/a/b").ok());
  CHECK(make_folders(base + "/a/c").ok());
  CHECK(std::filesystem::is_directory(base + "/a/b"));
  CHECK(std::filesystem::is_directory(base + "/a/c"));
  REQUIRE(replace_file(base + "/file", "x", 0640).ok());
  CHECK_FALSE(make_folders(base + "/file/d").ok());
  // Told as what it is, also to root, who is denied nothing but to enter a file.
  CHECK(make_folders(base + "/file").detail().find("Not a directory") != std::string::npos);
  std::filesystem::remove_all(base);
}

TEST_CASE("files: what is no regular file is told before it is read; what is missing is no such thing") {
  CHECK(is_no_file("/dev/null"));
  CHECK(is_no_file("/tmp"));
  CHECK_FALSE(is_no_file("/proc/self/exe"));
  CHECK_FALSE(is_no_file("/nowhere/at/all"));
}

}  // namespace base_test
