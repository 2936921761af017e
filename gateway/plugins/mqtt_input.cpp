// inputs.mqtt: a subscription at a broker.
#include <algorithm>

#include "base/topic_filter.h"
#include "drivers/mqtt/mqtt_driver.h"
#include "plugin.h"
#include "plugins/check_route.h"
#include "plugins/fingerprint.h"
#include "plugins/mqtt_trial.h"

namespace millrace {
namespace {

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
  for (const std::string& server : c.servers) plan.claims.push_back(text("mqtt ", server, " ", c.client_id));
  need_secret(plan.needs, "password_file", c.password);
  need_tls(plan.needs, c.tls);
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<MqttDriver>(parts.loop, parts.rng, parts.inbox, parts.intake, parts.trust, parts.metrics, c, filters_of(c));
  };
  return plan;
}

std::vector<InputPlan> inputs(const Config& config) {
  std::vector<InputPlan> plans;
  for (const auto& input : config.mqtt_inputs) plans.push_back(plan_of(input));
  return plans;
}

// The inbox keeps the last messages of eight inputs, and two can share a slot without loss (ingest/mapped_inbox.cpp).
constexpr std::size_t inputs_remembered = 16;

void check(LoadedConfig& loaded) {
  const Config& config = loaded.config;
  if (config.mqtt_inputs.size() > inputs_remembered) {
    loaded.warnings.push_back(text(config.mqtt_inputs.size(), " inputs.mqtt share the inbox's memory of what was taken: with more than 2,000 messages on "
                                   "their way to those of one slot, some that come again after a kill are stored twice"));
  }
  for (const auto& input : config.mqtt_inputs) {
    for (const RouteConfig& route : input.routes) check_route(loaded, input.name, route);
    for (const auto& uplink : config.mqtt_uplinks) {
      const bool same_broker = std::any_of(input.servers.begin(), input.servers.end(), [&](const std::string& server) {
        return std::find(uplink.servers.begin(), uplink.servers.end(), server) != uplink.servers.end();
      });
      std::string topic = uplink.topic;
      if (const std::size_t at = topic.find("{gateway}"); at != std::string::npos) topic.replace(at, 9, config.gateway.name);
      if (const std::size_t at = topic.find("{lane}"); at != std::string::npos) topic.replace(at, 6, "raw");
      for (const std::string& filter : same_broker ? filters_of(input) : std::vector<std::string>{}) {
        if (filter_matches(topics_of_subscription(filter), topic)) {
          const int line = input.routes.empty() ? 0 : input.routes.front().line;
          loaded.errors.push_back({line, 1, text("input \"", input.name, "\" would hear what uplink \"", uplink.name, "\" sends: \"", filter,
                                                 "\" matches \"", topic, "\" on the same broker")});
        }
      }
    }
  }
}

void try_online(const Config& config, bool, std::vector<Trial>& trials) {
  for (const auto& input : config.mqtt_inputs) try_mqtt_servers(text("input ", input.name), input, trials);
}

}  // namespace

extern const Plugin mqtt_input_plugin;
const Plugin mqtt_input_plugin{"inputs.mqtt", inputs, nullptr, check, try_online};

}  // namespace millrace
