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

struct Scenario {
  FleetSpec fleet;
  CentralSpec central;
  std::vector<OutageSpec> outages;
  Duration drain_timeout = std::chrono::seconds(120);
};

Scenario load_scenario(const std::string& path, std::vector<ConfigError>& errors);

}  // namespace millrace::sim
