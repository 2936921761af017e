// [[inputs.mqtt]]: a subscription at a broker as it is configured.
#pragma once

#include <string>
#include <vector>

#include "config/routes.h"

namespace millrace {

struct MqttInputConfig {
  std::string name;
  std::vector<std::string> servers;  // "mqtt://host:1883", "mqtts://host:8883"; tried in order
  std::vector<std::string> topics;   // filters; made from the routes when empty
  int version = 5;                   // 4: MQTT 3.1.1
  int qos = 1;
  std::string client_id;  // default: millrace-<gateway>-<name>
  bool persistent_session = true;
  Duration session_expiry = std::chrono::hours(7 * 24);
  Duration keep_alive = std::chrono::seconds(30);
  Duration connect_timeout = std::chrono::seconds(10);
  Duration reconnect_min = std::chrono::seconds(1), reconnect_max = std::chrono::minutes(1);
  std::string username;
  SecretRef password;
  TlsConfig tls;
  bool power_durable = false;
  std::string primary_host;  // Sparkplug: who we are to edge nodes that wait for their host; empty: nobody
  std::string retained = "changed";  // changed, ignore, all
  std::vector<RouteConfig> routes;
};

}  // namespace millrace
