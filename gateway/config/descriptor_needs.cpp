#include "config/descriptor_needs.h"

namespace millrace {
namespace {

// Open in an idle gateway, without inputs and uplinks: 24 (loop, locks, inbox, the log's head). A reader has an old segment open
// with its -wal and -shm; a backup, an eviction and a leftover of another version have two each while they work.
constexpr std::size_t base = 24, log = 48;
constexpr std::size_t faces = 1 + 16 + 1 + 8;    // HttpServer and ControlServer: their listeners and their connections_max
constexpr std::size_t a_command = 16;            // files a rotated certificate, a users file, a reload open for a moment
constexpr std::size_t an_mqtt_input = 10;        // the broker's socket, the two between our door and Paho, its listener, a lookup's, files of TLS
constexpr std::size_t a_serial_input = 2;
constexpr std::size_t an_endpoint = 6;           // its listener; certificates, key and users being read
constexpr std::size_t a_lookup = 7;              // of a name: epoll, and for both families a socket to each of three name servers
constexpr std::size_t an_mqtt_uplink = 10 + a_lookup;      // its socket, and its reader of the log
constexpr std::size_t a_kafka_uplink = 72 + 2 * a_lookup;  // librdkafka: three for each broker it meets, some twenty

}  // namespace

std::size_t own_descriptors(const Config& config) {
  return base + log + faces + a_command + an_mqtt_input * config.mqtt_inputs.size() + a_serial_input * config.serial_inputs.size() +
         an_endpoint * config.endpoints.size() + an_mqtt_uplink * config.mqtt_uplinks.size() + a_kafka_uplink * config.kafka_uplinks.size();
}

std::size_t device_descriptors(const Config& config) {
  std::size_t all = 0;
  for (const EndpointConfig& endpoint : config.endpoints) all += endpoint.connections_max;
  return all;
}

std::size_t devices_within(const Config& config, std::size_t limit) {
  const std::size_t own = own_descriptors(config);
  return limit > own ? limit - own : 0;
}

}  // namespace millrace
