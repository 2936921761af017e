// What a simulated site does: its devices, its central side, its outages. Read from a TOML file; see
// sim/scenarios.
#pragma once

#include <string>
#include <vector>

#include "config/tls.h"
#include "config/toml.h"

namespace millrace::sim {

struct FleetSpec {
  std::string server = "mqtt://127.0.0.1:1883";
  std::string endpoint;  // every second connection publishes here instead: straight to the gateway
  std::string username;
  SecretRef password;
  int version = 5;
  std::size_t devices = 200;
  std::size_t connections = 20;
  int qos = 1;
  double rate = 1000;  // readings a second, all devices together
  Duration duration = std::chrono::seconds(60);
  std::string topic = "plant/line-{line}/{device}/telemetry";
  std::string payload = "flat";  // flat, nested, array
  std::size_t array_size = 10;
  std::string series = "real";  // real (the folder `data`), walk, constant
  std::string data;
  double malformed = 0;  // share of messages that are no JSON
  Duration jitter = std::chrono::milliseconds(2);
  Duration clock_skew{0};            // devices' clocks are off by up to this, either way
  std::size_t unacknowledged = 100;  // of a connection
  std::uint64_t seed = 1;
};

struct CentralSpec {
  std::string server;  // "mqtt://...", "mqtts://..." or "kafka://host:port"; empty: nothing is verified
  std::string username;
  SecretRef password;
  TlsConfig tls;
  int version = 5;
  std::string topic = "millrace/#";  // of Kafka: topics, with commas between
};

struct OutageSpec {
  Duration after{}, lasts{};
  std::string down, up;  // shell commands that take the central side away and bring it back
};

// Devices on lines: each line is a pty that the gateway finds under `link`.
struct BusSpec {
  std::string link, name = "slave";                   // devices are NAME-UNIT
  int slaves = 16;                                    // units 1 to this
  std::vector<int> dead, slow, late, lying;           // units: "3,7-9"
  Duration slow_by = std::chrono::milliseconds(150);  // every answer of slow ones comes so much later
  Duration late_by =
      std::chrono::milliseconds(800);  // every fourth of late ones: behind the gateway's timeout
  double noise = 0;                    // share of answers with noise before them
};
struct TalkerSpec {
  std::string link, name;
  Duration interval = std::chrono::seconds(1);
  double noise = 0;  // share of frames that are spoilt, and of pauses with noise in them
};
struct SiteSpec {
  std::vector<BusSpec> buses;
  std::vector<TalkerSpec> talkers, meters, microcontrollers;
  Duration duration = std::chrono::seconds(60);
  bool any() const {
    return !buses.empty() || !talkers.empty() || !meters.empty() || !microcontrollers.empty();
  }
};

struct Scenario {
  FleetSpec fleet;  // no [fleet] and a site: no MQTT devices
  bool has_fleet = false;
  SiteSpec site;
  CentralSpec central;
  std::vector<OutageSpec> outages;
  Duration drain_timeout = std::chrono::seconds(120);
};

Scenario load_scenario(const std::string& path, std::vector<ConfigError>& errors);

}  // namespace millrace::sim
