// What a gateway tells the centre of itself, and when.
#include <doctest/doctest.h>

#include "base/text.h"
#include "config/load.h"
#include "health_reports.h"
#include "kinds.h"
#include "observe/health_record.h"
#include "sim/world/sim_loop.h"

namespace health_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

GatewayState some_state() {
  GatewayState state;
  state.name = "gw";
  state.version = "0.1.0";
  state.config = "0123456789abcdef";
  state.uptime = 12.7;
  state.clock_trusted = true;
  InputState input;
  input.healthy = true, input.devices = 5, input.silent_devices = 2, input.undecodable = 1;
  state.inputs = {input, InputState()};
  UplinkState uplink;
  uplink.backlog = 10;
  uplink.lanes.push_back({"raw",
                          100,
                          10,
                          {{"delivered", 70},
                           {"dead", 4},
                           {"expired", 3},
                           {"skipped", 5},
                           {"forgotten", 1},
                           {"evicted", 6},
                           {"unreadable", 1}}});
  UplinkState other;
  other.healthy = true, other.backlog = 2;
  other.lanes.push_back({"alarm", 3, 2, {{"delivered", 0}, {"evicted", 1}}});
  state.uplinks = {uplink, other};
  state.log.bytes_used = 7, state.log.bytes_max = 70, state.log.disk_free = 700;
  state.flash.written = 9;
  return state;
}

LoadedConfig load(const std::string& content = "") { return load_config(content, "m.toml", built_kinds()); }

}  // namespace

TEST_CASE("health: everything the centre asks for, flat, each once") {
  CHECK(
      health_json(some_state(), {}, 5min) ==
      R"({"version":"0.1.0","config":"0123456789abcdef","interval_seconds":300,"uptime_seconds":12,"clock_trusted":true,"faults":0,"must_act":0,)"
      R"("inputs":2,"inputs_down":1,"devices":5,"silent_devices":2,"undecodable":1,"uplinks":2,"uplinks_down":1,"backlog":12,"lost":12,"dead":4,)"
      R"("log_bytes":7,"log_max_bytes":70,"disk_free_bytes":700,"flash_bytes":9})");
}

TEST_CASE("health: the gravest fault in words, and the flash's life where it is known") {
  GatewayState state = some_state();
  state.flash.life_used_percent = 30;
  std::vector<Fault> faults{{"a", true, std::string(2000, 'x') + "\"", "", {}},
                            {"b", false, "other", "", {}}};
  const std::string json = health_json(state, faults, 10s);
  CHECK(json.find(R"("faults":2,"must_act":1,"worst":"xxx)") != std::string::npos);
  CHECK(json.find("other") == std::string::npos);
  CHECK(json.find(R"("flash_life_used_percent":30})") != std::string::npos);
  CHECK(json.size() < 1024);
}

TEST_CASE("health: nothing is said unless it is wanted, and not more often than a commit is worth") {
  CHECK(load().config.gateway.health_interval == 0s);
  CHECK(load("[gateway]\nhealth_interval = \"5min\"\n").config.gateway.health_interval == 5min);
  for (const char* wrong : {"1s", "9s", "25h"}) {
    CAPTURE(wrong);
    CHECK(load(text("[gateway]\nhealth_interval = \"", wrong, "\"\n")).errors.size() == 1);
  }
}

TEST_CASE(
    "health: told soon after the start, so that restarts are seen, and then at the interval, never quite at "
    "one moment") {
  sim::SimLoop loop;
  Rng rng{7};
  std::vector<Instant> told;
  const Instant start = loop.now();
  HealthReports reports(loop, rng, 5min, [&] { told.push_back(loop.now()); });
  loop.run_for(24h);
  REQUIRE(told.size() > 280);
  CHECK(told.size() < 296);
  CHECK(told[0] >= start + 9s);
  CHECK(told[0] <= start + 11s);
  bool same = true;
  for (std::size_t i = 1; i < told.size(); ++i) {
    const Duration between = told[i] - told[i - 1];
    CHECK(between >= 270s);
    CHECK(between <= 330s);
    same = same && between == 300s;
  }
  CHECK_FALSE(same);
  HealthReports never(loop, rng, 0s, [] { FAIL("told"); });
  loop.run_for(1h);
}

TEST_CASE("health: the digest of a configuration is of its text") {
  CHECK(load().config.digest.size() == 16);
  CHECK(load("[log]\n").config.digest == load("[log]\n").config.digest);
  CHECK(load("[log]\n").config.digest != load("[log] # and more\n").config.digest);
}

}  // namespace health_test
