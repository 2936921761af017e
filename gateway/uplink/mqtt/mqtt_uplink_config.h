// [[uplinks.mqtt]]: a broker that batches go to, as it is configured.
#pragma once

#include <string>
#include <vector>

#include "uplink/mqtt/sparkplug_config.h"
#include "uplink/shipping.h"

namespace millrace {

struct MqttUplinkConfig : ShippingConfig {
  std::vector<std::string> servers;
  int version = 5;
  std::string client_id;  // default: millrace-<gateway>-up-<name>
  std::string topic = "millrace/{gateway}/{lane}";
  Chosen form;  // a batch a message, or Sparkplug (sparkplug_config.h)
  Duration keep_alive = std::chrono::seconds(30);
  Duration prefer_first_after = std::chrono::minutes(10);
  std::string username;
  SecretRef password;
  SecretRef sas_key;         // a device's key at Azure IoT Hub: passwords are made of it
  std::string sas_resource;  // default: HOST/devices/CLIENT_ID
  Duration sas_life = std::chrono::hours(1);
  TlsConfig tls;

  // None where it is no edge node of Sparkplug.
  const SparkplugUplinkConfig* sparkplug() const {
    return static_cast<const SparkplugUplinkConfig*>(form.values.get());
  }
};

}  // namespace millrace
