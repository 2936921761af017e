// uplinks.kafka: Apache Kafka and what speaks its protocol.
#include "plugin.h"
#include "plugins/fingerprint.h"
#include "plugins/shipping.h"
#include "net/http_client.h"
#include "uplink/kafka/kafka_trial.h"
#include "uplink/kafka/kafka_uplink.h"

namespace millrace {
namespace {

UplinkPlan plan_of(const KafkaUplinkConfig& c, const std::string& state_dir) {
  UplinkPlan plan = plan_shipping(c);
  plan.fingerprint = Fingerprint(c.servers, c.client_id, c.format, c.topic, c.key, c.compression, c.linger, c.exactly_once, c.transactional_id,
                                 c.marker_topic, c.transaction_timeout, c.drain, c.start_oldest, c.connect_timeout, c.send_timeout, c.initial_interval,
                                 c.max_interval, c.window, c.batch_size, c.message_max, c.queue_size, c.sasl_mechanism, c.username, c.password, c.token,
                                 c.tls, c.schema_registry, c.schema_registry_username, c.schema_registry_password, c.schema_registry_tls).take();
  if (c.exactly_once) plan.claims = {"kafka " + c.transactional_id};
  need_secret(plan.needs, "password_file", c.password);
  need_secret(plan.needs, "token_file", c.token);
  need_tls(plan.needs, c.tls, "tls_", false);
  need_secret(plan.needs, "schema_registry_password_file", c.schema_registry_password);
  need_tls(plan.needs, c.schema_registry_tls, "schema_registry_");
  plan.make = [c, state_dir](Loop& loop, Rng& rng, const std::string& gateway, std::uint64_t epoch) -> std::unique_ptr<Uplink> {
    return std::make_unique<KafkaUplink>(loop, rng, c, gateway, epoch, state_dir);
  };
  return plan;
}

std::vector<UplinkPlan> uplinks(const Config& config) {
  std::vector<UplinkPlan> plans;
  for (const auto& uplink : config.kafka_uplinks) plans.push_back(plan_of(uplink, config.log.path));
  return plans;
}

void check(LoadedConfig& loaded) {
  for (const auto& uplink : loaded.config.kafka_uplinks) {
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
}

void try_online(const Config& config, bool beside, std::vector<Trial>& trials) {
  for (const auto& uplink : config.kafka_uplinks) {
    for (Trial& trial : try_kafka(uplink, config.gateway.name, beside)) {
      trial.what = text("uplink ", uplink.name, ": ", trial.what);
      trials.push_back(std::move(trial));
    }
  }
}

}  // namespace

extern const Plugin kafka_uplink_plugin;
const Plugin kafka_uplink_plugin{"uplinks.kafka", nullptr, uplinks, check, try_online};

}  // namespace millrace
