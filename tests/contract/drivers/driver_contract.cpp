// What every driver promises, whatever it speaks. A new driver joins the list.
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>

#include "drivers/modbus/modbus_driver.h"
#include "drivers/mqtt/mqtt_driver.h"
#include "drivers/mqtt_endpoint/mqtt_endpoint.h"
#include "drivers/serial/serial_driver.h"
#include "tests/support/driver_stage.h"

namespace driver_contract_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

struct Stage : DriverStage {
  ConnectionShares shares{100};
  SouthParts parts() {
    return {loop, rng, *inbox, intake, trust, metrics, shares, "/tmp", [] { return std::int64_t{0}; }};
  }
};

using Make = std::function<std::unique_ptr<Driver>(Stage&)>;

// Each without its peer: nothing listens on the port, no such device exists.
const std::pair<const char*, Make> drivers[] = {
    {"mqtt",
     [](Stage& stage) -> std::unique_ptr<Driver> {
       MqttInputConfig config;
       config.name = "in";
       config.servers = {"mqtt://127.0.0.1:1"};
       config.client_id = "contract";
       config.persistent_session = false;
       return std::make_unique<MqttDriver>(stage.loop, stage.rng, *stage.inbox, stage.intake, stage.trust,
                                           stage.metrics, config, std::vector<std::string>{"a/#"});
     }},
    {"mqtt_endpoint",  // an address that is none of this machine's: nothing to listen on
     [](Stage& stage) -> std::unique_ptr<Driver> {
       EndpointConfig config;
       config.name = "in";
       config.listen = "203.0.113.1:1883";
       config.anonymous = true;
       return std::make_unique<MqttEndpoint>(stage.loop, stage.rng, stage.intake, stage.trust, stage.metrics,
                                             stage.shares, config, "/tmp", [] { return std::int64_t{0}; });
     }},
    {"modbus",
     [](Stage& stage) -> std::unique_ptr<Driver> {
       ModbusInputConfig config;
       config.name = "in";
       config.device = "/dev/millrace-no-such-device";
       config.devices.resize(1);
       return std::make_unique<ModbusDriver>(stage.parts(), config);
     }},
    {"modbus over TCP",
     [](Stage& stage) -> std::unique_ptr<Driver> {
       ModbusInputConfig config;
       config.name = "in";
       config.mode = "tcp";
       config.server = "127.0.0.1:1";
       config.devices.resize(1);
       return std::make_unique<ModbusDriver>(stage.parts(), config);
     }},
    {"serial",
     [](Stage& stage) -> std::unique_ptr<Driver> {
       SerialInputConfig config;
       config.name = "in";
       config.device = "/dev/millrace-no-such-device";
       config.framing = choose(built_framers(), "lines");
       return std::make_unique<SerialDriver>(stage.loop, stage.rng, *stage.inbox, stage.intake, stage.trust,
                                             stage.metrics, config);
     }},
    {"serial by TCP",
     [](Stage& stage) -> std::unique_ptr<Driver> {
       SerialInputConfig config;
       config.name = "in";
       config.server = "127.0.0.1:1";
       config.framing = choose(built_framers(), "lines");
       return std::make_unique<SerialDriver>(stage.loop, stage.rng, *stage.inbox, stage.intake, stage.trust,
                                             stage.metrics, config);
     }},
};

}  // namespace

TEST_CASE("driver contract") {
  for (const auto& [name, make] : drivers) {
    CAPTURE(name);
    SUBCASE("stops before it was started, once, and not inside the call") {
      Stage stage;
      auto driver = make(stage);
      int stopped = 0;
      driver->stop([&] { ++stopped; });
      CHECK(stopped == 0);
      CHECK(stage.run_until([&] { return stopped > 0; }));
      CHECK(stopped == 1);
    }
    SUBCASE("starts without its peer, says why it is not up, and stops") {
      Stage stage;
      auto driver = make(stage);
      CHECK(driver->name() == "in");
      CHECK(driver->start().ok());
      CHECK(stage.run_until(
          [&] { return driver->health() != "not connected yet" && driver->health() != "not open yet"; }));
      CHECK_FALSE(driver->healthy());
      CHECK(driver->health().size() > 5);
      bool stopped = false;
      driver->stop([&] { stopped = true; });
      CHECK(stage.run_until([&] { return stopped; }));
    }
    SUBCASE("pausing and resuming twice is as once, and resuming what was not paused is nothing") {
      Stage stage;
      auto driver = make(stage);
      driver->resume();
      CHECK(driver->start().ok());
      driver->pause();
      driver->pause();
      driver->resume();
      driver->resume();
      bool stopped = false;
      driver->stop([&] { stopped = true; });
      driver->resume();
      CHECK(stage.run_until([&] { return stopped; }));
      CHECK_FALSE(driver->healthy());
    }
  }
}

}  // namespace driver_contract_test
