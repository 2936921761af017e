// What the web page stands on: requests as bytes, how the last day went, the machine, and where a page may
// be.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "base/box_health.h"
#include "base/text.h"
#include "config/load.h"
#include "net/http_request.h"
#include "observe/history.h"

namespace page_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

using State = HttpRequestReader::State;

State read(HttpRequestReader& reader, std::string_view bytes) { return reader.push(bytes_of(bytes)); }

GatewayState state_of(std::uint64_t records, std::uint64_t waiting, std::uint64_t evicted, bool healthy) {
  GatewayState state;
  state.log.records = records;
  UplinkState uplink;
  uplink.name = "central", uplink.running = true, uplink.healthy = healthy, uplink.backlog = waiting;
  LaneState lane;
  lane.lane = "raw";
  lane.settled = {{"delivered", records}, {"evicted", evicted}};
  uplink.lanes.push_back(lane);
  state.uplinks.push_back(uplink);
  return state;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("http request: a head in one piece and in bytes, and what decides who is answered") {
  const std::string bytes =
      "GET /api/devices?part=a%2Fb+c&max=5 HTTP/1.1\r\nHost:  127.0.0.1:9464 \r\nAccept-Encoding: gzip, br\r\nSec-Fetch-Site: same-origin\r\n\r\n";
  HttpRequestReader whole, slow;
  CHECK(read(whole, bytes) == State::whole);
  State state = State::reading;
  for (const char c : bytes) state = read(slow, {&c, 1});
  CHECK(state == State::whole);
  for (const HttpRequest* request : {&whole.request(), &slow.request()}) {
    CHECK(request->method == "GET");
    CHECK(request->path == "/api/devices");
    CHECK(request->value("part") == "a/b c");
    CHECK(request->value("max") == "5");
    CHECK(request->value("par") == "");
    CHECK(request->host == "127.0.0.1:9464");
    CHECK(request->accept_encoding == "gzip, br");
    CHECK(request->fetch_site == "same-origin");
  }
}

TEST_CASE("http request: what two readers could take differently, and what is too large, is none") {
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"),
        std::string("hello\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: localhost\r\nx: " + std::string(9000, 'y') + "\r\n\r\n",
        std::string("GET / HTTP/1.1\r\nHost\r\n\r\n")}) {
    HttpRequestReader reader;
    CHECK(read(reader, bytes) == State::broken);
  }
  HttpRequestReader ended;
  CHECK(read(ended, "GET / HT") == State::reading);
  CHECK(read(ended, "") == State::broken);
}

TEST_CASE("http request: percent signs that are none, and what is no UTF-8") {
  HttpRequest request;
  request.query = "a=%4&b=%zz&c=%&d=%ff&e=%00&f=%e2%82%ac&=x&g";
  CHECK(request.value("a") == "%4");
  CHECK(request.value("b") == "%zz");
  CHECK(request.value("c") == "%");
  CHECK(request.value("d") == "");
  CHECK(request.value("e") == "");
  CHECK(request.value("f") == "\u20ac");
  CHECK(request.value("g") == "");
}

TEST_CASE("http request: names of loopback, and those that look like one") {
  for (const char* good : {"localhost", "localhost:1", "LocalHost", "127.0.0.1", "127.0.0.1:9464",
                           "127.9.9.9", "[::1]", "[::1]:9464"})
    CHECK_MESSAGE(is_loopback_host(good), good);
  for (const char* bad :
       {"", "localhost.", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example", "128.0.0.1",
        "1.127.0.1", "[::2]", "::1", "[::1", "127.0.0.1:x", "127.0.0.1:99999", "127.1", "0", "0.0.0.0",
        "127.0.0.1@evil.example", "evil.example#localhost"}) {
    CHECK_MESSAGE(!is_loopback_host(bad), bad);
  }
}

TEST_CASE("history: what came, waited and was lost by step, and nothing where nobody looked") {
  History history;
  const Instant begin{1'000'000 * 1'000'000'000LL};  // a multiple of twenty seconds, not of five minutes
  const std::vector<Fault> none, wrong{{"uplink central", false, "", "", {}}};
  history.look(state_of(5000, 0, 70, true), none,
               begin);  // what the ledger brought along is nothing that happened
  history.look(state_of(5100, 3, 70, true), none, begin + 10s);
  history.look(state_of(5300, 900, 70, false), wrong, begin + 20s);
  history.look(state_of(5300, 40, 95, true), none, begin + 30s);
  const std::string json = history.json(begin + 35s);
  const std::string quarter = json.substr(json.find("\"quarter\""));
  CHECK_MESSAGE(has(quarter, "null,10,10]"),
                quarter);  // 100 in the 10 s between looks of the first step; 200 in 20 s
  CHECK_MESSAGE(has(quarter, "\"waiting\":[null"), quarter);
  CHECK_MESSAGE(has(quarter, "null,3,900]"), quarter);
  CHECK_MESSAGE(has(quarter, "null,0,25]"), quarter);
  CHECK_MESSAGE(has(quarter, "null,1,2]"), quarter);
  CHECK_MESSAGE(has(json,
                    "\"quarter\":\"0000000000000000000000000000000000000000000"
                    "12\""),
                json);
  // A day later nothing of it is left, and a step begins anew.
  history.look(state_of(6300, 0, 95, true), none, begin + 24h + 5min);
  const std::string later = history.json(begin + 24h + 5min);
  CHECK_FALSE(has(later, "900"));
  CHECK(has(later, "\"day\":\"" + std::string(287, '0') + "1\""));
  // A counter that fell is a log that began anew.
  history.look(state_of(10, 0, 0, true), none, begin + 24h + 5min + 10s);
  CHECK_FALSE(has(history.json(begin + 24h + 5min + 10s), "-"));
}

TEST_CASE("history: uplinks that come and go, and more than have a line") {
  History history;
  GatewayState state = state_of(0, 0, 0, true);
  state.uplinks.resize(History::uplinks_max + 5, state.uplinks[0]);
  for (std::size_t i = 0; i < state.uplinks.size(); ++i) state.uplinks[i].name = text("u", i);
  history.look(state, {}, {1'000'000'000'000});
  const auto lines = [&history] {
    std::size_t count = 0;
    const std::string json = history.json({1'000'000'000'001});
    for (std::size_t at = json.find("\"name\""); at != std::string::npos; at = json.find("\"name\"", at + 1))
      ++count;
    return count;
  };
  CHECK(lines() == History::uplinks_max);
  state.uplinks.resize(1);
  history.look(state, {}, {1'000'000'000'001});
  CHECK(lines() == 1);
}

TEST_CASE("box: what the kernel tells, what it does not, and sensors that are broken") {
  const std::filesystem::path root =
      std::filesystem::temp_directory_path() / text("millrace-box-", ::getpid());
  const auto write = [&root](const std::string& path, const std::string& content) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << content;
  };
  CHECK_FALSE(box_health(root).load);
  CHECK_FALSE(box_health(root).celsius);
  CHECK(box_health(root).memory_total == 0);
  write("proc/loadavg", "0.52 0.40 0.30 1/123 4567\n");
  write("proc/meminfo", "MemTotal:        1000 kB\nMemFree:          10 kB\nMemAvailable:    600 kB\n");
  write("sys/class/thermal/thermal_zone0/temp", "48500\n");
  std::filesystem::create_directories(root / "sys/class/thermal/thermal_zone1");  // switched off
  write("sys/class/thermal/thermal_zone2/temp", "51250\n");
  write("sys/class/thermal/thermal_zone3/temp", "-274000\n");
  write("sys/class/thermal/thermal_zone4/temp", "2147483647\n");
  write("sys/class/thermal/thermal_zone5/temp", "hot\n");
  const BoxHealth box = box_health(root);
  CHECK(box.load == doctest::Approx(0.52));
  CHECK(box.celsius == doctest::Approx(51.25));
  CHECK(box.memory_total == 1'024'000);
  CHECK(box.memory_left == 614'400);
  std::filesystem::remove_all(root);
}

TEST_CASE("config: the page is for loopback alone, and says how to get there from elsewhere") {
  const auto load = [](const std::string& observe) {
    return load_config("[observe]\n" + observe, "x.toml", {});
  };
  CHECK(load("").config.observe.has_page());
  CHECK(load("listen = \"[::1]:9464\"").config.observe.has_page());
  CHECK_FALSE(load("page = false").config.observe.has_page());
  CHECK_FALSE(load("listen = \"\"").config.observe.has_page());
  CHECK_FALSE(load("listen = \"0.0.0.0:9464\"").config.observe.has_page());
  CHECK(load("listen = \"0.0.0.0:9464\"").errors.empty());  // metrics alone, as ever
  CHECK(load("listen = \"0.0.0.0:9464\"\npage = false").errors.empty());
  const std::string guards = "tls_cert = \"/c.pem\"\ntls_key_file = \"/k.pem\"\ntoken_file = \"/t\"\n";
  CHECK(load("listen = \"0.0.0.0:9464\"\npage = true\n" + guards).errors.empty());
  CHECK(load("listen = \"0.0.0.0:9464\"\n" + guards).config.observe.has_page());
  CHECK_FALSE(load("listen = \"0.0.0.0:9464\"\ntoken_file = \"/t\"\n").errors.empty());  // in clear words
  CHECK(load("token_file = \"/t\"\n").errors.empty());
  CHECK_FALSE(load("tls_cert = \"/c.pem\"\n").errors.empty());
  const auto refused = load("listen = \"192.0.2.7:9464\"\npage = true");
  REQUIRE(refused.errors.size() == 1);
  CHECK(has(refused.errors[0].message, "ssh -L 9464:127.0.0.1:9464 HOST"));
  CHECK(refused.errors[0].line == 3);
}

}  // namespace page_test
