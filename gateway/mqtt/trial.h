// Whether an MQTT broker takes us: name, TLS, login. With a client id of its own: the daemon keeps its
// session.
#pragma once

#include <string>
#include <vector>

#include "base/trial.h"
#include "mqtt/publish_client.h"

namespace millrace {

void try_mqtt_server(const std::string& what, const std::string& server,
                     const mqtt::PublishClientOptions& options, const TlsConfig& tls,
                     std::vector<Trial>& trials);

template <typename MqttConfig>
void try_mqtt_servers(const std::string& who, const MqttConfig& config, std::vector<Trial>& trials) {
  mqtt::PublishClientOptions options;
  options.client_id = config.client_id + "-check";
  options.version = static_cast<std::uint8_t>(config.version);
  options.connect_timeout = config.connect_timeout;
  options.username = config.username;
  options.password = config.password;
  for (const std::string& server : config.servers)
    try_mqtt_server(who + ": " + server, server, options, config.tls, trials);
}

}  // namespace millrace
