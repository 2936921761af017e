// [[uplinks.mqtt]]: a broker that batches go to, as it is configured.
#pragma once

#include <string>
#include <vector>

#include "uplink/shipping.h"

namespace millrace {

struct MqttUplinkConfig : ShippingConfig {
  std::vector<std::string> servers;
  int version = 5;
  std::string client_id;  // default: millrace-<gateway>-up-<name>
  std::string topic = "millrace/{gateway}/{lane}";
  Duration keep_alive = std::chrono::seconds(30);
  Duration prefer_first_after = std::chrono::minutes(10);
  std::string username;
  SecretRef password;
  TlsConfig tls;
};

}  // namespace millrace
