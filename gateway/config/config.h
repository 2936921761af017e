// The configuration as typed, validated values: what millrace.toml says, and nothing that it does not. Defaults are here
// and nowhere else. How TOML becomes this, and what is refused, is in load.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"

namespace millrace {

// Where a secret lies, never the secret: a path, or a systemd credential by name.
struct SecretRef {
  std::string path;  // empty: none
  bool given() const { return !path.empty(); }
  bool operator==(const SecretRef&) const = default;
};

struct TlsConfig {
  bool enabled = false;
  std::string ca;         // PEM; the system's own store when empty
  std::string cert;       // PEM, with the chain; none: no client certificate
  SecretRef key;
  bool operator==(const TlsConfig&) const = default;
};

struct GatewayConfig {
  std::string name;
  std::string runtime_dir = "/run/millrace";
  std::string log_level = "info";
  std::string clock = "kernel";         // or "rtc", "trust": what makes the wall clock believable
  std::uint64_t inbox_size = 0;         // default: 4 MiB with a subscription at a broker, which can come in bursts; else 512 KiB
  bool operator==(const GatewayConfig&) const = default;
};

constexpr std::uint64_t log_state_share = 4;  // all state together may take this share of the log: 1 / log_state_share

struct LogConfig {
  std::string path = "/var/lib/millrace/log";
  std::uint64_t max_size = 512 << 20;
  bool block_when_full = false;
  bool commit_when_unsent = false;    // hold commits back while the uplinks keep up, at most `unsent_max`
  Duration unsent_max = std::chrono::seconds(10);
  Duration commit_interval = std::chrono::seconds(1);
  Duration forget_after = std::chrono::hours(7 * 24);
  bool operator==(const LogConfig&) const = default;
};

// How a payload's bytes become records.
struct MetricConfig {
  std::string name;
  std::string path;       // in the JSON; "" for plain payloads
  std::string unit;
  bool integer = false;
  bool operator==(const MetricConfig&) const = default;
};

struct RouteConfig {
  std::string topic;                  // "plant/{line}/{device}/telemetry"; empty for serial
  std::string content_type;           // only payloads of this type (MQTT 5); empty: any
  bool publisher_known = false;       // {client_id}, {username}, {subject} and {property.NAME} can be used
  std::string format = "json";        // json, plain
  std::string device = "{device}";    // template
  std::vector<std::string> tags;      // names of levels
  std::vector<std::pair<std::string, std::string>> fixed_tags;  // and what every record of the route has
  std::string each, time, quality;    // JSON paths; "$." starts at the root, else inside the element of `each`
  std::string time_format = "auto";   // auto, iso8601, s, ms, us, ns
  std::vector<MetricConfig> metrics;  // empty: every scalar member of the object
  int line = 0;
  bool operator==(const RouteConfig& other) const {
    return topic == other.topic && content_type == other.content_type && publisher_known == other.publisher_known &&
           format == other.format && device == other.device && tags == other.tags && fixed_tags == other.fixed_tags &&
           each == other.each && time == other.time && quality == other.quality && time_format == other.time_format &&
           metrics == other.metrics;
  }
};

struct MqttInputConfig {
  std::string name;
  std::vector<std::string> servers;   // "mqtt://host:1883", "mqtts://host:8883"; tried in order
  std::vector<std::string> topics;    // filters; made from the routes when empty
  int version = 5;                    // 4: MQTT 3.1.1
  int qos = 1;
  std::string client_id;              // default: millrace-<gateway>-<name>
  bool persistent_session = true;
  Duration session_expiry = std::chrono::hours(7 * 24);
  Duration keep_alive = std::chrono::seconds(30);
  Duration connect_timeout = std::chrono::seconds(10);
  Duration reconnect_min = std::chrono::seconds(1), reconnect_max = std::chrono::minutes(1);
  std::string username;
  SecretRef password;
  TlsConfig tls;
  bool power_durable = false;
  std::string retained = "changed";   // changed, ignore, all
  std::vector<RouteConfig> routes;
  bool operator==(const MqttInputConfig&) const = default;
};

// Who may publish where. Every list that is not empty must have a pattern that fits ("*" stands for any name, never for none).
struct AclConfig {
  std::vector<std::string> users, clients, subjects;  // {username} and {subject} can be used in clients
  std::vector<std::string> publish;   // topic filters; {username}, {client_id} and {subject} stand for the publisher's own
  bool operator==(const AclConfig&) const = default;
};

struct EndpointConfig {               // [[inputs.mqtt_endpoint]]
  std::string name;
  std::string listen = "127.0.0.1:1883";
  bool anonymous = false;
  std::string users_file;             // made by `millrace passwd`
  TlsConfig tls;                      // cert and key: ours; ca: of the clients' certificates
  std::string client_certificates = "none";  // none, optional, required
  Duration ack_interval = std::chrono::milliseconds(50);
  std::uint16_t receive_maximum = 1000;
  std::uint64_t packet_max = 64 << 10;
  std::size_t connections_max = 4000, sessions_max = 10'000;  // default: or what the log has room for
  std::size_t connect_rate = 200;     // a second
  Duration connect_timeout = std::chrono::seconds(10);
  Duration keep_alive_max = std::chrono::minutes(10);
  Duration session_expiry_max = std::chrono::hours(7 * 24);
  bool refuse_when_full = false;      // answer "quota exceeded" instead of not reading
  bool liveness = true;               // connects and disconnects become events
  std::vector<AclConfig> acl;         // none: any topic
  std::vector<RouteConfig> routes;
  bool operator==(const EndpointConfig&) const = default;
};

struct SerialInputConfig {
  std::string name;
  std::string device;                 // "/dev/serial/by-id/..."
  int baud = 9600;
  std::string parity = "none";        // none, even, odd
  int data_bits = 8, stop_bits = 1;
  std::size_t line_bytes_max = 1024;
  Duration reopen_min = std::chrono::milliseconds(500), reopen_max = std::chrono::seconds(30);
  RouteConfig route;
  bool operator==(const SerialInputConfig&) const = default;
};

constexpr std::size_t window_panes_max = 2048;  // that are remembered of a key: open ones, and closed ones within allowed_lateness

struct WindowConfig {
  std::string name;
  Duration size = std::chrono::minutes(1);
  Duration allowed_lateness = std::chrono::minutes(1);
  Duration idle_close = std::chrono::seconds(10);   // a device silent for this long after a window's end closes it
  Duration future_max = std::chrono::minutes(5);    // a time further ahead of the gateway's clock is not aggregated
  std::vector<std::string> metrics;                 // which; empty: all numbers
  std::size_t keys_max = 100'000;
  std::uint64_t state_max = 8 << 20;                // bytes its state may take in the log; default: an eighth of the log, shared, up to 8 MiB
  bool operator==(const WindowConfig&) const = default;
};

// What an uplink sends, in which order and how fast.
struct DrainConfig {
  std::vector<std::string> lanes = {"alarm", "window", "raw"};
  std::vector<std::pair<std::string, std::int64_t>> priority = {{"alarm", 0}, {"window", 1}, {"raw", 2}};  // lower goes first
  bool newest_first = false;         // what came after the last reconnect goes before the backlog
  double rate_bytes = 0, rate_records = 0;  // of backlog, a second; 0: no limit
  Duration max_age{0};               // older records are not sent; 0: whatever their age
  Duration replay_after = std::chrono::seconds(10);  // sent later than this: marked as replay
  bool operator==(const DrainConfig&) const = default;
};

struct MqttUplinkConfig {
  std::string name;
  std::vector<std::string> servers;
  int version = 5;
  std::string client_id;              // default: millrace-<gateway>-up-<name>
  std::string topic = "millrace/{gateway}/{lane}";
  DrainConfig drain;
  bool start_oldest = false;
  Duration keep_alive = std::chrono::seconds(30);
  Duration connect_timeout = std::chrono::seconds(10);
  Duration send_timeout = std::chrono::seconds(30);
  Duration initial_interval = std::chrono::milliseconds(500), max_interval = std::chrono::minutes(1);
  Duration prefer_first_after = std::chrono::minutes(10);
  std::size_t window = 4;             // batches in flight
  std::size_t batch_size = 256 << 10;
  std::string username;
  SecretRef password;
  TlsConfig tls;
  bool operator==(const MqttUplinkConfig&) const = default;
};

struct KafkaUplinkConfig {
  std::string name;
  std::vector<std::string> servers;   // "host:9092", any of the cluster
  std::string client_id;              // default: millrace-<gateway>-up-<name>
  std::string format = "record";      // a message a record: "record" (protobuf), "json"; a message a row: "batch"
  std::string topic = "millrace.{lane}";
  std::string key;                    // default: {device}, of batches {gateway}
  std::string compression = "zstd";
  Duration linger = std::chrono::milliseconds(5);
  bool exactly_once = false;
  std::string transactional_id;       // default: millrace-<gateway>-<name>
  std::string marker_topic = "millrace-markers";  // compacted; where exactly_once keeps its cursor
  Duration transaction_timeout = std::chrono::minutes(1);
  DrainConfig drain;
  bool start_oldest = false;
  Duration connect_timeout = std::chrono::seconds(10);
  Duration send_timeout = std::chrono::minutes(2);
  Duration initial_interval = std::chrono::milliseconds(500), max_interval = std::chrono::minutes(1);
  std::size_t window = 1;             // batches in flight: what may come twice after a kill
  std::size_t batch_size = 256 << 10; // as it lies in the log
  std::size_t message_max = 1'000'000;
  std::size_t queue_size = 8 << 20;   // messages in librdkafka's hands
  std::string sasl_mechanism;         // "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"
  std::string username;
  SecretRef password, token;
  TlsConfig tls;
  std::string schema_registry;        // "http://host:8081": values in the Confluent wire format
  std::string schema_registry_username;
  SecretRef schema_registry_password;
  TlsConfig schema_registry_tls;      // its CA
  bool operator==(const KafkaUplinkConfig&) const = default;
};

struct ObserveConfig {
  std::string listen = "127.0.0.1:9464";  // empty: no HTTP
  bool operator==(const ObserveConfig&) const = default;
};

struct Config {
  GatewayConfig gateway;
  LogConfig log;
  std::vector<MqttInputConfig> mqtt_inputs;
  std::vector<EndpointConfig> endpoints;
  std::vector<SerialInputConfig> serial_inputs;
  std::vector<WindowConfig> windows;
  std::vector<MqttUplinkConfig> mqtt_uplinks;
  std::vector<KafkaUplinkConfig> kafka_uplinks;
  ObserveConfig observe;
};

}  // namespace millrace
