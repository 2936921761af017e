// uplinks.mqtt: batches to a broker.
#include "plugin.h"
#include "plugins/fingerprint.h"
#include "plugins/mqtt_trial.h"
#include "plugins/shipping.h"
#include "uplink/mqtt/mqtt_uplink.h"

namespace millrace {
namespace {

UplinkPlan plan_of(const MqttUplinkConfig& c) {
  UplinkPlan plan = plan_shipping(c);
  plan.fingerprint = Fingerprint(c.servers, c.version, c.client_id, c.topic, c.drain, c.start_oldest, c.keep_alive, c.connect_timeout, c.send_timeout,
                                 c.initial_interval, c.max_interval, c.prefer_first_after, c.window, c.batch_size, c.username,
                                 c.password, c.tls).take();
  for (const std::string& server : c.servers) plan.claims.push_back(text("mqtt ", server, " ", c.client_id));
  need_secret(plan.needs, "password_file", c.password);
  need_tls(plan.needs, c.tls);
  plan.make = [c](Loop& loop, Rng& rng, const std::string& gateway, std::uint64_t epoch) -> std::unique_ptr<Uplink> {
    return std::make_unique<MqttUplink>(loop, rng, c, gateway, epoch);
  };
  return plan;
}

std::vector<UplinkPlan> uplinks(const Config& config) {
  std::vector<UplinkPlan> plans;
  for (const auto& uplink : config.mqtt_uplinks) plans.push_back(plan_of(uplink));
  return plans;
}

void try_online(const Config& config, bool, std::vector<Trial>& trials) {
  for (const auto& uplink : config.mqtt_uplinks) {
    const std::string who = text("uplink ", uplink.name);
    try_mqtt_servers(who, uplink, trials);
    // Only a publish shows whether it is allowed, and nothing is written that nobody asked for.
    trials.push_back({Trial::State::unsure, text(who, ": topic \"", uplink.topic, "\""),
                      uplink.version == 5 ? "not tried, that would write to it; where it is denied, the daemon says so at its first record"
                                          : "not tried, that would write to it; with MQTT 3.1.1 the daemon cannot tell either"});
  }
}

}  // namespace

extern const Plugin mqtt_uplink_plugin;
const Plugin mqtt_uplink_plugin{"uplinks.mqtt", nullptr, uplinks, nullptr, try_online};

}  // namespace millrace
