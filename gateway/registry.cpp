#include "registry.h"

#include <algorithm>

#include "base/text.h"
#include "drivers/mqtt/mqtt_driver.h"
#include "drivers/mqtt_endpoint/mqtt_endpoint.h"
#include "drivers/serial/serial_driver.h"
#include "drivers/serial/serial_port.h"
#include "uplink/kafka/kafka_uplink.h"
#include "uplink/mqtt/mqtt_uplink.h"

namespace millrace {
namespace {

// All values of a configuration in one text: equal texts need no restart at a reload.
class Fingerprint {
 public:
  template <typename... Values>
  explicit Fingerprint(const Values&... values) {
    (add(values), ...);
  }
  std::string take() { return std::move(out_); }

 private:
  void add(const std::string& v) { out_ += text(v.size(), ":", v, ";"); }
  void add(const SecretRef& v) { add(v.path); }
  void add(Duration v) { add(text(v.count())); }
  template <typename N>
    requires std::is_arithmetic_v<N>
  void add(N v) { add(text(v)); }
  template <typename T>
  void add(const std::vector<T>& values) {
    out_ += '[';
    for (const T& v : values) add(v);
    out_ += ']';
  }
  void add(const TlsConfig& v) {
    add(v.enabled);
    add(v.ca);
    add(v.cert);
    add(v.key);
  }
  void add(const DrainConfig& v) {
    add(v.lanes);
    for (const auto& [lane, value] : v.priority) add(value);
    add(v.newest_first);
    add(v.rate_bytes);
    add(v.rate_records);
    add(v.max_age);
    add(v.replay_after);
  }
  void add(const AclConfig& v) {
    add(v.users);
    add(v.clients);
    add(v.subjects);
    add(v.publish);
  }
  void add(const MetricConfig& v) {
    add(v.name);
    add(v.path);
    add(v.unit);
    add(v.integer);
  }
  void add(const RouteConfig& v) {
    for (const std::string* s : {&v.topic, &v.content_type, &v.format, &v.device, &v.each, &v.time, &v.quality, &v.time_format}) add(*s);
    add(v.tags);
    add(v.metrics);
  }
  std::string out_;
};

std::vector<std::string> filters_of(const MqttInputConfig& input) {
  if (!input.topics.empty()) return input.topics;
  auto router = Router::make(input.routes);
  return router.ok() ? router.value().filters() : std::vector<std::string>{};
}

InputPlan plan_of(const MqttInputConfig& c) {
  InputPlan plan;
  plan.name = c.name;
  plan.fingerprint = Fingerprint(c.servers, c.topics, c.version, c.qos, c.client_id, c.persistent_session, c.session_expiry, c.keep_alive,
                                 c.connect_timeout, c.reconnect_min, c.reconnect_max, c.username, c.password, c.tls, c.power_durable,
                                 c.retained, c.routes).take();
  plan.retained_once = c.retained == "changed";
  plan.routes = c.routes;
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<MqttDriver>(parts.loop, parts.rng, parts.inbox, parts.trust, parts.metrics, c, filters_of(c));
  };
  return plan;
}

InputPlan plan_of(const EndpointConfig& c) {
  InputPlan plan;
  plan.name = c.name;
  plan.fingerprint = Fingerprint(c.listen, c.anonymous, c.users_file, c.tls, c.client_certificates, c.ack_interval, c.receive_maximum, c.packet_max,
                                 c.connections_max, c.sessions_max, c.connect_rate, c.connect_timeout, c.keep_alive_max, c.session_expiry_max,
                                 c.refuse_when_full, c.liveness, c.acl, c.routes).take();
  plan.routes = c.routes;
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<MqttEndpoint>(parts.loop, parts.rng, parts.intake, parts.trust, parts.metrics, c, parts.state_dir);
  };
  return plan;
}

InputPlan plan_of(const SerialInputConfig& c) {
  InputPlan plan;
  plan.name = c.name;
  plan.fingerprint = Fingerprint(c.device, c.baud, c.parity, c.data_bits, c.stop_bits, c.line_bytes_max, c.reopen_min, c.reopen_max, c.route).take();
  plan.routes = {c.route};
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<SerialDriver>(parts.loop, parts.rng, parts.inbox, parts.trust, parts.metrics, c);
  };
  return plan;
}

// What of an uplink's configuration is the shipper's.
template <typename UplinkConfig>
UplinkPlan plan_shipping(const UplinkConfig& c) {
  UplinkPlan plan;
  plan.name = plan.shipper.name = c.name;
  plan.shipper.drain = c.drain;
  plan.shipper.start_oldest = c.start_oldest;
  plan.shipper.initial_interval = c.initial_interval;
  plan.shipper.max_interval = c.max_interval;
  return plan;
}

UplinkPlan plan_of(const MqttUplinkConfig& c) {
  UplinkPlan plan = plan_shipping(c);
  plan.fingerprint = Fingerprint(c.servers, c.version, c.client_id, c.topic, c.drain, c.start_oldest, c.keep_alive, c.connect_timeout, c.send_timeout,
                                 c.initial_interval, c.max_interval, c.prefer_first_after, c.window, c.batch_size, c.username,
                                 c.password, c.tls).take();
  plan.make = [c](Loop& loop, Rng& rng, const std::string& gateway, std::uint64_t epoch) -> std::unique_ptr<Uplink> {
    return std::make_unique<MqttUplink>(loop, rng, c, gateway, epoch);
  };
  return plan;
}

UplinkPlan plan_of(const KafkaUplinkConfig& c, const std::string& state_dir) {
  UplinkPlan plan = plan_shipping(c);
  plan.fingerprint = Fingerprint(c.servers, c.client_id, c.format, c.topic, c.key, c.compression, c.linger, c.exactly_once, c.transactional_id,
                                 c.marker_topic, c.transaction_timeout, c.drain, c.start_oldest, c.connect_timeout, c.send_timeout, c.initial_interval,
                                 c.max_interval, c.window, c.batch_size, c.message_max, c.queue_size, c.sasl_mechanism, c.username, c.password, c.token,
                                 c.tls, c.schema_registry, c.schema_registry_username, c.schema_registry_password, c.schema_registry_tls).take();
  plan.make = [c, state_dir](Loop& loop, Rng& rng, const std::string& gateway, std::uint64_t epoch) -> std::unique_ptr<Uplink> {
    return std::make_unique<KafkaUplink>(loop, rng, c, gateway, epoch, state_dir);
  };
  return plan;
}

}  // namespace

std::vector<InputPlan> plan_inputs(const Config& config) {
  std::vector<InputPlan> plans;
  for (const auto& input : config.mqtt_inputs) plans.push_back(plan_of(input));
  for (const auto& input : config.endpoints) plans.push_back(plan_of(input));
  for (const auto& input : config.serial_inputs) plans.push_back(plan_of(input));
  return plans;
}

std::vector<UplinkPlan> plan_uplinks(const Config& config) {
  std::vector<UplinkPlan> plans;
  for (const auto& uplink : config.mqtt_uplinks) plans.push_back(plan_of(uplink));
  for (const auto& uplink : config.kafka_uplinks) plans.push_back(plan_of(uplink, config.log.path));
  return plans;
}

void check_whole(LoadedConfig& loaded) {
  const auto check_route = [&](const std::string& input, const RouteConfig& route) {
    if (auto router = Router::make({route}); !router.ok()) {
      loaded.errors.push_back({route.line, 1, text("input \"", input, "\": ", router.status().detail())});
    }
  };
  const Config& config = loaded.config;
  for (const auto& input : config.mqtt_inputs) {
    for (const RouteConfig& route : input.routes) check_route(input.name, route);
    for (const auto& uplink : config.mqtt_uplinks) {
      const bool same_broker = std::any_of(input.servers.begin(), input.servers.end(), [&](const std::string& server) {
        return std::find(uplink.servers.begin(), uplink.servers.end(), server) != uplink.servers.end();
      });
      std::string topic = uplink.topic;
      if (const std::size_t at = topic.find("{gateway}"); at != std::string::npos) topic.replace(at, 9, config.gateway.name);
      if (const std::size_t at = topic.find("{lane}"); at != std::string::npos) topic.replace(at, 6, "raw");
      for (const std::string& filter : same_broker ? filters_of(input) : std::vector<std::string>{}) {
        if (filter_matches(filter, topic)) {
          const int line = input.routes.empty() ? 0 : input.routes.front().line;
          loaded.errors.push_back({line, 1, text("input \"", input.name, "\" would hear what uplink \"", uplink.name, "\" sends: \"", filter,
                                                 "\" matches \"", topic, "\" on the same broker")});
        }
      }
    }
  }
  for (const auto& input : config.endpoints) {
    for (const RouteConfig& route : input.routes) check_route(input.name, route);
    if (input.users_file.empty()) continue;
    if (auto users = read_users_file(input.users_file); !users.ok()) {
      loaded.errors.push_back({input.routes.empty() ? 0 : input.routes.front().line, 1, text("input \"", input.name, "\": users_file: ", users.status().detail())});
    }
  }
  for (const auto& input : config.serial_inputs) {
    check_route(input.name, input.route);
    if (!known_baud(input.baud)) {
      loaded.errors.push_back({input.route.line, 1, text("input \"", input.name, "\": ", input.baud, " baud is not a standard speed")});
    }
  }
  for (const auto& uplink : config.kafka_uplinks) {
    for (const auto& [key, source] : {std::pair{"topic", uplink.topic}, std::pair{"key", uplink.key}}) {
      if (auto parsed = KafkaTemplate::parse(source, uplink.format != "batch"); !parsed.ok()) {
        loaded.errors.push_back({0, 0, text("uplink \"", uplink.name, "\": ", key, ": ", parsed.status().detail())});
      }
    }
    if (uplink.schema_registry.empty()) continue;
    if (auto url = parse_http_url(uplink.schema_registry); !url.ok()) {
      loaded.errors.push_back({0, 0, text("uplink \"", uplink.name, "\": schema_registry: ", url.status().detail())});
    }
  }
  std::stable_sort(loaded.errors.begin(), loaded.errors.end(), [](const ConfigError& a, const ConfigError& b) { return a.line < b.line; });
}

}  // namespace millrace
