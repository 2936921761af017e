// The gateway's state: who speaks and who does not, what is wrong and what to do, and how it is shown.
#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/flash_wear.h"
#include "base/span_words.h"
#include "base/text.h"
#include "cli/glob.h"
#include "cli/page.h"
#include "cli/status_page.h"
#include "cli/top_view.h"
#include "base/host_port.h"
#include "base/http_url.h"
#include "base/without_users.h"
#include "cli/without_secrets.h"
#include "observe/device_list.h"
#include "observe/device_table.h"
#include "observe/faults.h"
#include "observe/state_json.h"
#include "observe/state_metrics.h"

namespace state_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

Instant at(double seconds) { return {static_cast<std::int64_t>(seconds * 1e9)}; }

// A gateway of which nothing is wrong.
GatewayState good() {
  GatewayState state;
  state.name = "gw";
  state.at = {1'780'000'000'000'000};
  state.ready = state.clock_trusted = true;
  state.clock = "synchronised";
  state.log.bytes_max = 512 << 20;
  InputState input;
  input.name = "devices", input.kind = "mqtt", input.state = "connected to b:1883",
  input.running = input.healthy = true;
  state.inputs.push_back(input);
  UplinkState uplink;
  uplink.name = "central", uplink.kind = "mqtt", uplink.state = "up", uplink.running = uplink.healthy = true;
  uplink.eta = 0;
  state.uplinks.push_back(uplink);
  return state;
}

std::vector<std::string> first_lines(const GatewayState& state, std::size_t count) {
  std::vector<Fault> faults = faults_of(state);
  FaultWatch().look(faults, at(1));
  const auto answer = DaemonAnswer::read(state_json(state, faults));
  REQUIRE(answer.ok());
  const std::string page = status_page(answer.value(), {});
  std::vector<std::string> lines;
  for (const std::string_view line : split(std::string_view(page), '\n')) {
    if (lines.size() < count) lines.emplace_back(line);
  }
  return lines;
}

void speak(DeviceTable& table, std::string_view device, double seconds) {
  table.payload("in", at(seconds));
  table.seen(device, 2, at(seconds));
}

InputState told(const DeviceTable& table, double seconds) {
  InputState state;
  state.name = "in";
  table.tell(state, at(seconds));
  return state;
}

}  // namespace

TEST_CASE("devices: one that used to speak and does not is silent, by its own habit") {
  DeviceTable table({10s, 100});
  for (int i = 0; i <= 100; ++i) {
    speak(table, "quick", i);
    if (i % 20 == 0) speak(table, "slow", i);
  }
  CHECK(told(table, 105).silent_devices == 0);
  CHECK(told(table, 105).devices == 2);
  const InputState later = told(table, 112);  // quick: every second; slow: every twenty
  REQUIRE(later.silent_devices == 1);
  CHECK(later.silent_first[0].name == "quick");
  CHECK(later.silent_first[0].silent == doctest::Approx(12));
  CHECK(later.silent_first[0].usual == doctest::Approx(1));
  CHECK(later.last_seen == doctest::Approx(12));
  CHECK(told(table, 201).silent_devices == 2);
  speak(table, "quick", 300);  // its long silence is no habit
  CHECK(told(table, 311).silent_devices == 2);
}

TEST_CASE("devices: many values at once are one message, however many there are") {
  DeviceTable table({60s, 10});
  for (int hour = 0; hour < 24; ++hour) {
    for (int value = 0; value < 40; ++value) {
      const Instant now{hour * 3600 * 1'000'000'000LL + value * 20'000'000};
      table.payload("in", now);
      table.seen("hourly", 1, now);
    }
    table.for_each([&](const std::string&, const std::string&, const DeviceTable::Device& device) {
      CHECK(device.readings == 40u * static_cast<unsigned>(hour + 1));
      CHECK_FALSE(table.silent(device, Instant{(hour * 3600 + 3599) * 1'000'000'000LL}));
    });
  }
}

TEST_CASE("devices: how much of what was due has come, by habit and by what a route expects") {
  DeviceTable table({60s, 100});
  const auto came = [&](double now) {
    std::optional<double> share;
    table.for_each([&](const std::string&, const std::string&, const DeviceTable::Device& device) {
      share = device.completeness(at(now));
    });
    return share;
  };
  for (int i = 1; i <= 6; ++i) speak(table, "a", 10 * i);
  CHECK_FALSE(came(65));  // not watched for long
  for (int i = 7; i <= 60; ++i) speak(table, "a", 10 * i);
  CHECK(came(609) == doctest::Approx(1));
  CHECK(told(table, 609).completeness == doctest::Approx(1));
  CHECK(*came(1200) < 0.6);                                     // silent for as long again
  for (int i = 121; i <= 1000; ++i) speak(table, "a", 10 * i);  // two good hours, and it is forgotten
  CHECK(came(10005) == doctest::Approx(1).epsilon(0.02));
  // One in ten is lost: a habit becomes that, what a route expects does not.
  DeviceTable sure({60s, 100});
  for (int i = 1; i <= 200; ++i) {
    if (i % 10 == 0) continue;
    speak(sure, "a", 10 * i);
    sure.expects(10s);
  }
  CHECK(told(sure, 2005).completeness == doctest::Approx(0.9).epsilon(0.01));
}

TEST_CASE("devices: who spoke once or twice has no habit to be measured by") {
  DeviceTable table({10s, 100});
  speak(table, "a", 0);
  speak(table, "a", 1);
  CHECK(told(table, 1000).silent_devices == 0);
}

TEST_CASE("devices: beyond the limit they are counted, and those silent for a day make room") {
  DeviceTable table({10s, 2});
  for (const char* name : {"a", "b", "c", "c"}) speak(table, name, 1);
  CHECK(told(table, 1).devices == 2);
  CHECK(told(table, 1).devices_beyond == 2);
  table.sweep([](const std::string&) { return true; }, at(1 + 86401));
  CHECK(told(table, 90000).devices == 0);
  speak(table, "c", 90000);
  CHECK(told(table, 90000).devices == 1);
  table.sweep([](const std::string&) { return false; }, at(90001));
  CHECK(told(table, 90001).devices == 0);
  for (const char* name : {"d", "e"}) speak(table, name, 90002);
  CHECK(told(table, 90002).devices == 2);
}

TEST_CASE("faults: a good gateway has none, and each fault names itself with the next step") {
  CHECK(faults_of(good()).empty());
  struct Case {
    void (*make)(GatewayState&);
    bool person;
    const char *what, *next;
  };
  const Case cases[] = {
      {[](GatewayState& s) {
         s.uplinks[0].healthy = false,
         s.uplinks[0].state = "cannot connect: connect b:1883: Connection refused";
       },
       false, "uplink central: cannot connect", "see that the other side runs"},
      {[](GatewayState& s) {
         s.uplinks[0].healthy = false, s.uplinks[0].blocked = true,
         s.uplinks[0].state = "certificate: it has expired (somebody must act)";
       },
       true, "uplink central: certificate", "renew that certificate"},
      {[](GatewayState& s) {
         s.uplinks[0].healthy = false, s.uplinks[0].blocked = true,
         s.uplinks[0].state = "not authorised (somebody must act)";
       },
       true, "uplink central: not authorised", "correct the user name or password (password_file"},
      {[](GatewayState& s) {
         s.certificates.push_back({"uplink", "central", "tls_cert", "/etc/c.pem", "CN=gw", false, -60, {}});
       },
       true, "\"CN=gw\" of /etc/c.pem expired", "put a new one in its place"},
      {[](GatewayState& s) {
         s.log.trouble = "No space left on device: /x has 0 B free", s.log.disk_total = 1 << 30,
         s.log.path = "/x";
       },
       true, "log: cannot be written", "make room on the file system of /x"},
      {[](GatewayState& s) {
         s.log.trouble =
             "unable to open database file; /x (ext4) has 1.0 GiB free but no inodes: other files must go",
         s.log.disk_total = s.log.disk_free = 1 << 30, s.log.path = "/x";
       },
       true, "log: cannot be written", "df -i /x"},
      {[](GatewayState& s) { s.log.blocked = true; }, true, "log: full", "bring the uplinks back"},
      {[](GatewayState& s) { s.log.evicted = 5, s.log.evicted_age = 3; }, true, "oldest readings make room",
       "raise log.max_size"},
      {[](GatewayState& s) { s.log.evicted = 5, s.log.evicted_age = 3600; }, false,
       "5 records made room before they were sent", "raise log.max_size"},
      {[](GatewayState& s) { s.clock_trusted = false, s.clock = "nothing synchronises it (NTP?)"; }, true,
       "clock: not trusted, it says 2026-", "timedatectl set-ntp true"},
      {[](GatewayState& s) { s.inputs[0].silent = true, s.inputs[0].last_seen = 720, s.inputs[0].usual = 1; },
       false, "input devices: nothing has come for 12 min", "look at the devices"},
      {[](GatewayState& s) {
         s.inputs[0].silent_devices = 1, s.inputs[0].silent_first = {{"press-1", 400, 2}};
       },
       false, "silent: press-1 (for 7 min", "power"},
      {[](GatewayState& s) {
         s.inputs[0].undecodable = 3, s.inputs[0].unread = UnreadPayload{"plant/x", "not a number", 5};
       },
       false, "3 payloads could not be read, the last on plant/x: not a number", "millrace dlq ls"},
      {[](GatewayState& s) { s.uplinks[0].refused = 2, s.uplinks[0].refused_age = 9; }, false,
       "refused 2 records", "millrace dlq"},
      {[](GatewayState& s) { s.uplinks[0].unverified = true; }, false, "its server is not verified",
       "tls_ca"},
      {[](GatewayState& s) {
         s.inputs[0].running = false,
         s.inputs[0].waits_for = "users_file: open /u: No such file or directory";
       },
       true, "waiting for users_file", "put that file there"},
      {[](GatewayState& s) {
         s.shut_faces = {{"observe.listen", "metrics and health cannot be asked for",
                          "bind 127.0.0.1:9464: Address already in use"}};
       },
       true, "observe.listen: bind 127.0.0.1:9464: Address already in use; metrics and health cannot",
       "another program has that address"},
      {[](GatewayState& s) {
         s.inputs[0].healthy = false, s.inputs[0].state = "bind 0.0.0.0:1883: Address already in use";
       },
       false, "input devices: bind", "another program has that address"},
      {[](GatewayState& s) {
         s.inputs[0].healthy = false, s.inputs[0].blocked = true, s.inputs[0].state = "not authorised";
       },
       true, "input devices: not authorised", "correct the user name or password"},
      {[](GatewayState& s) { s.flash.life_used_percent = 100, s.flash.device = "mmcblk0"; }, true,
       "mmcblk0 says that 100 %", "exchange it"},
  };
  for (const Case& one : cases) {
    GatewayState state = good();
    one.make(state);
    const auto faults = faults_of(state);
    CAPTURE(one.what);
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].person == one.person);
    CHECK_MESSAGE(faults[0].what.find(one.what) != std::string::npos, faults[0].what);
    CHECK_MESSAGE(faults[0].next.find(one.next) != std::string::npos, faults[0].next);
    const auto lines = first_lines(state, 3);
    CHECK(lines[0].find("1 thing is wrong") != std::string::npos);
    CHECK(lines[1].find(one.what) != std::string::npos);
    CHECK(lines[2].find(one.next) != std::string::npos);
  }
}

TEST_CASE(
    "status: who was turned away last stands with its input, why, since when, and what to do; some of them") {
  GatewayState state = good();
  state.inputs[0].turned_away = {
      {"press-7", "line-2", "192.0.2.7", "", "wrong user name or password",
       "let the device and users_file say the same", 240, 5},
      {"press-8", "", "192.0.2.8", "plant/l2/d1", "may not publish to this topic", "look at publish", 30, 30},
      {"", "", "192.0.2.9", "", "it did not say CONNECT in time", "look at it", 40, 40},
      {"press-9", "", "", "", "wrong user name or password", "again", 50, 50}};
  const std::vector<Fault> none = faults_of(state);
  CHECK(none.empty());
  const auto answer = DaemonAnswer::read(state_json(state, none));
  REQUIRE(answer.ok());
  const std::string page = status_page(answer.value(), {});
  std::size_t at = page.find("devices  mqtt");
  for (
      const char* words :
      {"refused       devices: press-7, user line-2, from 192.0.2.7: wrong user name or password; 5.0 s ago, first 4 min ago\n",
       "next: let the device and users_file say the same\n",
       "devices: press-8, from 192.0.2.8: may not publish to this topic (plant/l2/d1); 30 s ago\n",
       "devices: a device, from 192.0.2.9: it did not say CONNECT in time; 40 s ago\n",
       "and 1 more: millrace status --json\n", "uplink "}) {
    CAPTURE(words);
    REQUIRE(at != std::string::npos);
    at = page.find(words, at);
    CHECK_MESSAGE(at != std::string::npos, page);
  }
  CHECK(answer.value()["inputs"].items()[0]["refused"].items().size() == 4);
  CHECK(state_json(good(), {}).find("\"refused\":[]") != std::string::npos);
}

TEST_CASE("status: of the machine it says what the kernel tells") {
  GatewayState state = good();
  const auto page = [&state] { return status_page(DaemonAnswer::read(state_json(state, {})).value(), {}); };
  CHECK(page().find("\n  box ") == std::string::npos);
  state.box.load = 0.42;
  CHECK(page().find("\n  box           load 0.4\n") != std::string::npos);
  state.box.celsius = 61.5, state.box.memory_total = 512 << 20, state.box.memory_left = 100 << 20;
  CHECK(page().find("\n  box           load 0.4, 61.5 degrees C, 100.0 MiB of 512.0 MiB of memory left\n") !=
        std::string::npos);
}

TEST_CASE("faults: with several gateways on a machine what is to be done is said for the one that is wrong") {
  GatewayState state = good();
  state.instance = "line2";
  state.uplinks[0].refused = 2, state.uplinks[0].refused_age = 9;
  state.log.lost = 1, state.log.lost_age = 5;
  state.inputs[0].undecodable = 3, state.inputs[0].unread = UnreadPayload{"plant/x", ": millrace bad", 5};
  UplinkState other = state.uplinks[0];
  other.name = "other", other.refused_age = {}, other.running = false;
  other.waits_for = "password_file: open /p: No such file or directory";
  state.uplinks.push_back(other);
  state.log.dead_bytes = 100;
  std::string all;
  for (const Fault& fault : faults_of(state)) all += fault.what + "|" + fault.next + "\n";
  for (const char* words :
       {"why: millrace --instance line2 dlq ls; once", "is mended: millrace --instance line2 dlq retry --all",
        "(millrace --instance line2 test), then: millrace --instance line2 dlq",
        "journalctl -u millrace@line2\n", "readable for the user millrace; it starts",
        "on plant/x: : millrace bad|"}) {
    CAPTURE(words);
    CHECK_MESSAGE(all.find(words) != std::string::npos, all);
  }
  const auto answer = DaemonAnswer::read(state_json(state, {}));
  REQUIRE(answer.ok());
  CHECK(status_page(answer.value(), {}).find("100 B: millrace --instance line2 dlq ls") != std::string::npos);
  state.instance = "";
  CHECK(state_json(state, {}).find("instance") == std::string::npos);
}

TEST_CASE("faults: what an HTTP server says has its own next step, whatever words stand behind its status") {
  const std::pair<const char*, const char*> cases[] = {
      {R"(blocked: HTTP 401: {"message":"unauthorized access"})", "correct the login"},
      {"blocked: HTTP 401: <Detail>ExpiredToken: . TrackingId:1</Detail>", "correct the login"},
      {R"(blocked: HTTP 400: {"__type":"ExpiredTokenException","message":"The security token is expired"})",
       "correct the login"},
      {R"(blocked: HTTP 400: {"__type":"UnrecognizedClientException"})", "correct the login"},
      {"blocked: HTTP 403: <Code>SignatureDoesNotMatch</Code>", "correct the login"},
      {"blocked: HTTP 403: Code: 516. DB::Exception: default: (AUTHENTICATION_FAILED)", "correct the login"},
      {"blocked: HTTP 403: not authorized to write", "let this login do it"},
      {R"(blocked: HTTP 404: {"error":"database not found: topic"})", "create what is written to"},
      {R"(blocked: HTTP 400: {"__type":"ResourceNotFoundException"})", "create what is written to"},
      {"blocked: HTTP 302 to http://portal.example/login (redirects are not followed)", "a captive portal"},
      {"retryable: not believed: HTTP 200, with a page for people: a proxy or a captive portal?",
       "a captive portal"},
      {"the proxy p:3128 says 407: it wants a login, or another one (proxy_username, proxy_password_file)",
       "correct proxy_username"}};
  for (const auto& [words, next] : cases) {
    CAPTURE(words);
    GatewayState state = good();
    state.uplinks[0].healthy = false;
    state.uplinks[0].state = words;
    const auto faults = faults_of(state);
    REQUIRE(faults.size() == 1);
    CHECK_MESSAGE(faults[0].next.find(next) == 0, faults[0].next);
  }
}

TEST_CASE(
    "faults: a port that speaks TLS, or does not, is thought of where a connection ends in the handshake") {
  const std::pair<const char*, const char*> cases[] = {
      {"cannot connect: the connection was closed before a CONNACK", "its port may want TLS"},
      {"TLS: the connection was closed in the handshake (does TLS answer on this port?)", "one without TLS"}};
  for (const auto& [words, next] : cases) {
    CAPTURE(words);
    GatewayState state = good();
    state.uplinks[0].healthy = false;
    state.uplinks[0].state = words;
    const auto faults = faults_of(state);
    REQUIRE(faults.size() == 1);
    CHECK_MESSAGE(faults[0].next.find(next) != std::string::npos, faults[0].next);
  }
}

TEST_CASE("faults: where inputs pause, nobody is called silent for it") {
  GatewayState state = good();
  state.log.blocked = true;
  state.inputs[0].silent = true, state.inputs[0].last_seen = 720, state.inputs[0].usual = 1;
  CHECK(faults_of(state).size() == 1);
}

TEST_CASE("faults: what a person must do comes first, and it is known since when") {
  GatewayState state = good();
  state.uplinks[0].healthy = false, state.uplinks[0].state = "cannot connect: Connection refused";
  FaultWatch watch;
  auto faults = faults_of(state);
  watch.look(faults, at(100));
  CHECK(*faults[0].lasts == 0);
  state.clock_trusted = false;
  faults = faults_of(state);
  watch.look(faults, at(160));
  REQUIRE(faults.size() == 2);
  CHECK(faults[0].id == "clock");
  CHECK(*faults[0].lasts == 0);
  CHECK(*faults[1].lasts == doctest::Approx(60));
  state.uplinks[0].healthy = true;
  faults = faults_of(state);
  watch.look(faults, at(170));
  state.uplinks[0].healthy = false;
  faults = faults_of(state);
  watch.look(faults, at(180));
  CHECK(*faults[1].lasts == 0);  // it began anew
}

TEST_CASE("status: codes for scripts, and a terminal obeys nothing that a device sent") {
  GatewayState state = good();
  const auto code_of = [](const GatewayState& s) {
    return status_code(DaemonAnswer::read(state_json(s, faults_of(s))).value());
  };
  CHECK(code_of(state) == 0);
  CHECK(first_lines(state, 1)[0].starts_with("gw: all is well"));
  state.ready = false;
  CHECK(code_of(state) == 1);
  CHECK(first_lines(state, 1)[0].starts_with("gw: it is starting, or stopping"));
  state.ready = true;
  state.inputs[0].undecodable = 1, state.inputs[0].unread = UnreadPayload{"plant/\033[2J", "\007 bad", 5};
  CHECK(code_of(state) == 1);
  const auto lines = first_lines(state, 2);
  CHECK(lines[1].find('\033') == std::string::npos);
  CHECK(lines[1].find("\\x1b[2J") != std::string::npos);
  state.clock_trusted = false;
  CHECK(code_of(state) == 2);
}

TEST_CASE("status: metrics and JSON are of one state") {
  GatewayState state = good();
  state.log.records = 12, state.log.bytes_used = 4096;
  state.uplinks[0].lanes.push_back({"raw", 12, 5, {{"delivered", 7}}});
  Metrics metrics;
  StateMetrics shown(metrics);
  const auto exposes = [&](const char* line) { return metrics.expose().find(line) != std::string::npos; };
  shown.show(state);
  CHECK(exposes("\nmillrace_log_records_total 12\n"));
  CHECK(exposes("\nmillrace_ledger_unsettled_records{uplink=\"central\",lane=\"raw\"} 5\n"));
  CHECK(exposes("\nmillrace_ledger_settled_records{uplink=\"central\",lane=\"raw\",how=\"delivered\"} 7\n"));
  state.absent.push_back({"old", 3, 300, {}});
  shown.show(state);
  CHECK(exposes("\nmillrace_absent_uplink_records{uplink=\"old\"} 3\n"));
  state.absent.clear();
  shown.show(state);
  CHECK(!exposes("uplink=\"old\""));
  const auto answer = DaemonAnswer::read(state_json(state, {}));
  CHECK(answer.value()["log"]["records"].whole() == 12);
  CHECK(answer.value()["uplinks"].items()[0]["lanes"].items()[0]["delivered"].whole() == 7);
}

TEST_CASE("pages: columns stand in line, also where letters take two bytes") {
  PageTable table("lrl");
  table.add({{"öfen"}, {"1"}, {"x"}});
  table.add({{"presse"}, {"1,000"}, {"something long"}});
  CHECK(table.lines(0, false) == "  öfen        1  x\n  presse  1,000  something long\n");
  CHECK(table.lines(24, false) == "  öfen        1  x\n  presse  1,000  someth~\n");
  CHECK(fitted("äöü", 2) == "ä~");
  // Wide ones take two columns, marks none; nothing is wider than the page, in whatever column.
  CHECK(width_of("温度-1") == 6);
  CHECK(width_of("e\u0301\u200b\U0001F600") == 3);
  CHECK(fitted("温度计", 5) == "温度~");
  CHECK(fitted("温度计", 4) == "温~");
  PageTable wide("lrl");
  wide.add({{"温度"}, {"1"}, {"x"}});
  wide.add({{"press"}, {"22"}, {"y"}});
  CHECK(wide.lines(0, false) == "  温度    1  x\n  press  22  y\n");
  CHECK(wide.lines(10, false) == "  温度   1\n  press  ~\n");
  CHECK(wide.lines(4, false) == "  ~\n  p~\n");
  CHECK(grouped(1234567) == "1,234,567");
  CHECK(grouped(999) == "999");
  CHECK(span_words(0.44) == "0.4 s");
  CHECK(span_words(119) == "119 s");
  CHECK(span_words(7200) == "2 h");
}

TEST_CASE("flash: what an eMMC says of its life, also of a partition; others say nothing") {
  namespace fs = std::filesystem;
  const fs::path sys = fs::temp_directory_path() / text("millrace-sys-", ::getpid());
  const fs::path disk = sys / "devices/mmc0/block/mmcblk0";
  fs::create_directories(disk / "mmcblk0p2");
  fs::create_directories(disk / "device");
  fs::create_directories(sys / "dev/block");
  fs::create_directories(sys / "devices/sda/block/sda");
  fs::create_directory_symlink(disk / "mmcblk0p2", sys / "dev/block/179:2");
  fs::create_directory_symlink(disk, sys / "dev/block/179:0");
  fs::create_directory_symlink(sys / "devices/sda/block/sda", sys / "dev/block/8:0");
  const auto say = [&](const char* words) { std::ofstream(disk / "device/life_time") << words << "\n"; };
  say("0x02 0x01");
  CHECK(flash_wear_of(179, 2, sys).device == "mmcblk0");
  CHECK(flash_wear_of(179, 2, sys).used_percent == 20);
  CHECK(flash_wear_of(179, 0, sys).used_percent == 20);
  say("0x01 0x0b");
  CHECK(flash_wear_of(179, 0, sys).used_percent == 110);
  for (const char* nothing : {"0x00 0x00", "", "0x7f", "x"}) {
    say(nothing);
    CHECK(!flash_wear_of(179, 2, sys).used_percent);
  }
  CHECK(flash_wear_of(8, 0, sys).device == "sda");
  CHECK(!flash_wear_of(8, 0, sys).used_percent);
  CHECK(flash_wear_of(9, 9, sys).device.empty());
  fs::remove_all(sys);
}

TEST_CASE("top: fits its screen, and shows what was chosen") {
  TopAnswers answers;
  GatewayState state = good();
  state.uplinks[0].backlog = 1234;
  for (int i = 0; i < 20; ++i) state.inputs.push_back(state.inputs[0]);
  std::vector<Fault> faults = faults_of(state);
  answers.status = DaemonAnswer::read(state_json(state, faults)).value();
  DeviceTable table({10s, 1000});
  for (int i = 0; i < 100; ++i) speak(table, text("press-", i), 1);
  speak(table, "press-7", 2);
  answers.devices = DaemonAnswer::read(device_list(table, {"name", "", 50}, at(3))).value();
  CHECK(answers.devices["fitting"].whole() == 100);
  REQUIRE(answers.devices["devices"].items().size() == 50);
  for (const auto& [rows, columns] :
       {std::pair<std::size_t, std::size_t>{24, 80}, {60, 200}, {10, 80}, {10, 40}, {5, 20}, {1, 1}}) {
    const TopScreen screen = top_screen(answers, {}, rows, columns, false);
    CHECK(screen.lines.size() == rows);
    for (const std::string& line : screen.lines) CHECK_MESSAGE(width_of(line) <= columns, line);
    if (rows < 10) continue;  // devices are why somebody looks
    CHECK(screen.lines.back().find("q: quit") != std::string::npos);
    CHECK(std::ranges::any_of(screen.lines,
                              [](const std::string& line) { return line.starts_with("  >press-"); }));
  }
  TopChoice choice;
  choice.marked = 40;
  const TopScreen far = top_screen(answers, choice, 24, 80, false);
  CHECK(far.marked == 40);
  CHECK(
      std::ranges::any_of(far.lines, [](const std::string& line) { return line.starts_with("  >press-"); }));
  answers.rates["in press-50"] = 9;
  choice = {};
  choice.sort = "rate";
  const TopScreen by_rate = top_screen(answers, choice, 24, 80, false);
  CHECK(by_rate.devices.front() == "press-50");
  const auto has = [](const TopScreen& screen, std::string_view words) {
    return std::ranges::any_of(screen.lines, [&](const std::string& line) { return line == words; });
  };
  // Those that were asked for are not all there are.
  CHECK(has(by_rate, "  the 50 that said most, of 100 devices by rate"));
  CHECK(has(far, "  the first 50 of 100 devices by name"));
}

TEST_CASE("top: what came last of devices of one name, and of a window") {
  TopAnswers answers;
  answers.status = DaemonAnswer::read(state_json(good(), {})).value();
  const char* records = R"({"number":7,"records":[
    {"number":6,"lane":"raw","metric":"t","value":21.5,"unit":"C","tags":{"line":"1"}},
    {"number":7,"lane":"raw","metric":"t","value":3,"tags":{"line":"2"}},
    {"number":5,"lane":"window","metric":"t","unit":"C","window":{"name":"w","count":4,"mean":2.5}}]})";
  answers.device = DaemonAnswer::read(records).value();
  TopChoice choice;
  choice.device = "press-1";
  std::string all;
  for (const std::string& line : top_screen(answers, choice, 40, 120, false).lines) all += line + "\n";
  for (const char* words : {"t line=1", "21.5 C", "t line=2", "mean 2.5 of 4 C", "number 5"})
    CHECK_MESSAGE(all.find(words) != std::string::npos, all);
}

TEST_CASE("devices: a list is sorted and filtered as it is asked for") {
  DeviceTable table({10s, 1000});
  for (const auto& [name, seconds] : {std::pair{"b", 5.0}, {"a", 3.0}, {"c", 9.0}})
    speak(table, name, seconds);
  speak(table, "b", 6);
  const auto names = [&](const DeviceWish& wish) {
    std::string all;
    const auto answer = DaemonAnswer::read(device_list(table, wish, at(10))).value();
    for (const DaemonAnswer& device : answer["devices"].items()) all += device["name"].text();
    return all;
  };
  CHECK(names({}) == "abc");
  CHECK(names({"age", "", 9}) == "abc");
  CHECK(names({"readings", "", 9}) == "bac");
  CHECK(names({"age", "", 1}) == "a");
  CHECK(names({"name", "c", 9}) == "c");
}

TEST_CASE("pages: to a terminal of another character set goes ASCII, as wide as it was") {
  CHECK(in_ascii("press-1 21.5") == "press-1 21.5");
  CHECK(in_ascii("K\u00dbhler \u706b e\u0301 \xff.") == "K?hler ?? e ?.");
  for (const char* words : {"K\u00dbhler", "\u706b", "e\u0301", "\033[1mx\033[0m"}) {
    CAPTURE(words);
    CHECK(width_of(in_ascii(words)) == width_of(words));
  }
}

TEST_CASE("globs: stars and question marks, and no more work than pattern times text") {
  CHECK(glob_matches("press-*", "press-1"));
  CHECK(glob_matches("*", ""));
  CHECK(glob_matches("p?ess*1", "press-11"));
  CHECK(!glob_matches("press", "press-1"));
  CHECK(!glob_matches("?", ""));
  CHECK(!glob_matches("a*b", "ac"));
  CHECK(!glob_matches(std::string(30, '*') + "b", std::string(100'000, 'a')));
}

TEST_CASE("diag: what could be a secret is left out, the rest of the configuration stays") {
  const std::string said = without_secrets(
      "# password = x\nname = \"a # b\"  # the token is 7\npassword_file = \"/run/p\"\npassword = \"hunter2\"\nheaders = { Authorization = \"Bearer abc\", accept = \"json\" }\n"
      "servers = [\"mqtt://joe:hunter2@b:1883\", \"mqtt://c\"]\ntls_key_file = \"/k.pem\"\napi_token = 'zzz'\n");
  for (const char* secret : {"hunter2", "abc", "zzz", "token is 7", "joe"})
    CHECK_MESSAGE(said.find(secret) == std::string::npos, said);
  for (const char* stays : {"name = \"a # b\"", "password_file = \"/run/p\"", "tls_key_file = \"/k.pem\"",
                            "accept = \"json\"", "@b:1883", "\"mqtt://c\"", "api_token = (left out)"})
    CHECK_MESSAGE(said.find(stays) != std::string::npos, said);
}

TEST_CASE("diag: a secret is left out whole, in whichever way TOML may say it, and where it is no TOML") {
  const std::string said = without_secrets(
      "password = \"geheim1, geheim1\" # geheim1\ntoken = \"\"\"\ngeheim2 = x\ngeheim2\"\"\"\nname = \"gw\"\n"
      "[uplinks.https.headers]\n\"X-Api-Key\" = \"geheim3\"\n\"X-Key\"='geheim3'\n\"pass\" = \"geheim3\"\n"
      "Cookie = \"a=geheim3; b={geheim3}\"\n"
      "properties = { \"sasl.password\" = \"geheim4,geheim4\", linger = \"5\" }\n"
      "secrets = [\"geheim5\", # geheim5\n  \"geheim5\"]\nmax_size = \"1GiB\"\n"
      "servers = [\"https://x.example/p?sig=geheim6&api_key=geheim6\", \"mqtt://u:geheim6/,@geheim6@b:1883\"]\n"
      "password = \"geheim7\npassword = geheim8, geheim8\nkeys_max = 5\nbypass = \"no\"\n"
      "username = \"geheim9\"\nproxy_username = \"geheim9\"\n");
  CHECK_MESSAGE(said.find("geheim") == std::string::npos, said);
  for (const char* stays : {"name = \"gw\"", "linger = \"5\"", "max_size = \"1GiB\"", "https://x.example/p?",
                            "@b:1883", "\"X-Api-Key\" = (left out)", "keys_max = 5", "bypass = \"no\""})
    CHECK_MESSAGE(said.find(stays) != std::string::npos, said);
}

TEST_CASE("config: an address that is refused for its login is quoted without it") {
  for (const char* url : {"http://u:geheim@b/p", "https://u:gehe?geheim@b", "ftp://u:geheim@b",
                          "u:geheim@b:80", "http://b/p?sig=geheim"}) {
    CAPTURE(url);
    const auto parsed = parse_http_url(url);
    REQUIRE_FALSE(parsed.ok());
    CHECK_MESSAGE(parsed.status().detail().find("geheim") == std::string::npos, parsed.status().detail());
  }
  const auto place = parse_host_port("u:geheim@b:1883:1", 1883);
  REQUIRE_FALSE(place.ok());
  CHECK_MESSAGE(place.status().detail().find("geheim") == std::string::npos, place.status().detail());
  CHECK(without_login("mqtt://b:1883") == "mqtt://b:1883");
}

}  // namespace state_test
