// inputs.mqtt: a subscription at a broker.
#include <algorithm>

#include "base/filter_overlap.h"
#include "base/text.h"
#include "base/topic_filter.h"
#include "config/network_keys.h"
#include "decode/router.h"
#include "drivers/mqtt/left_subscriptions.h"
#include "drivers/mqtt/mqtt_config.h"
#include "drivers/mqtt/mqtt_driver.h"
#include "drivers/mqtt/subscription_memory.h"
#include "ingest/input_kind.h"
#include "mqtt/trial.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = MqttInputConfig;
using K = KeysOf<C>;
constexpr Duration day = 24h;

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"plant\""),
    K::key<&C::servers>("servers", "mqtts:// for TLS; tried in order")
        .required()
        .like("[\"mqtt://127.0.0.1:1883\"]"),
    K::choice<&C::version>("version", mqtt_versions, "A broker that speaks no MQTT 5 is told in the journal"),
    K::key<&C::qos>("qos", "With 0 the broker may drop messages, and nobody would know").within(0, 2),
    K::choice<&C::power_durable>(
        "durability", "crash|power",
        "Accepted = in the inbox, which survives a killed process; or fsynced, one by one"),
    K::key<&C::topics>("topics", "Filters to subscribe to; default: as the routes need")
        .like("[\"plant/#\"]"),
    K::choice<&C::retained>("retained", "changed|ignore|all", "A retained message counts once per value"),
    K::key<&C::primary_host>(
        "primary_host",
        "Sparkplug: edge nodes wait for this host; it says when it is there, and the broker when not")
        .like("\"scada-1\""),
    K::key<&C::client_id>("client_id", "Default: millrace-GATEWAY-NAME")
        .like("\"millrace-pump-station-7-plant\""),
    K::key<&C::persistent_session>("persistent_session",
                                   "Without it what is published while the gateway is away is lost"),
    K::key<&C::session_expiry>("session_expiry", "How long the broker keeps it").within(1min, 365 * day),
    K::key<&C::keep_alive>("keep_alive", "").within(1s, 18h),
    K::key<&C::connect_timeout>("connect_timeout",
                                "Of each: looking the name up, connecting with TLS, the broker's CONNACK")
        .within(1s, 5min),
    K::key<&C::reconnect_min>("reconnect_min", "Between tries to connect: from here ...").within(100ms, 1h),
    K::key<&C::reconnect_max>("reconnect_max", "... to here, with chance").within(1s, 24h),
    K::key<&C::username>("username", "").like("\"millrace\""),
    K::key<&C::password>("password_file", "").like("\"/etc/millrace/plant.password\""),
    K::include<&C::tls>(tls_shape),
    K::include<&C::tls>(alpn_shape),
    K::tables<&C::routes>("routes", topic_route_shape, "").said_first(),
};

void settle(Section& section, MqttInputConfig& c) {
  for (const std::string& filter : c.topics) {
    if (Status status = check_subscription(filter); !status.ok()) section.error("topics", status.detail());
  }
  if (c.reconnect_max < c.reconnect_min)
    section.error("reconnect_max", "\"reconnect_max\" is less than \"reconnect_min\"");
  check_mqtt_text(section, "client_id", c.client_id);
  check_mqtt_text(section, "username", c.username);
  check_login(section, c.username, c.password);
  settle_tls(section, c.tls, check_mqtt_servers(section, c.servers));
  if (c.primary_host.find_first_of("/+#") != std::string::npos || !good_utf8(c.primary_host) ||
      c.primary_host.size() > 256)
    section.error("primary_host", "a host's name is a level of topics: no / + #, 256 bytes at most");
  check_mqtt_text(section, "primary_host", c.primary_host);
  if (!c.persistent_session && section.has("session_expiry"))
    section.error("session_expiry", "\"session_expiry\" is of a persistent_session");
  if (c.routes.empty()) section.error("an input needs at least one [[inputs.mqtt.routes]]");
}
constexpr Shape shape = shape_of<C, settle>(keys);

void complete(MqttInputConfig& c, const std::string& gateway, std::vector<std::string>& warnings) {
  if (c.client_id.empty()) c.client_id = text("millrace-", gateway, "-", c.name);
  if (c.qos == 0)
    warnings.push_back(
        text("input \"", c.name, "\": qos = 0: the broker may drop messages, and nobody would know"));
  if (!c.persistent_session) {
    warnings.push_back(
        text("input \"", c.name,
             "\": persistent_session = false: what is published while the gateway is away is lost"));
  }
  if (c.version != 5 && c.session_expiry != C{}.session_expiry) {
    warnings.push_back(
        text("input \"", c.name, "\": session_expiry does nothing: MQTT 3.1.1 has none, its broker decides"));
  }
}

std::vector<std::string> filters_of(const MqttInputConfig& c) {
  if (!c.topics.empty()) return c.topics;
  auto router = Router::make(c.routes);
  return router.ok() ? router.value().filters() : std::vector<std::string>{};
}

InputPlan plan_of(const MqttInputConfig& c) {
  InputPlan plan;
  plan.retained_once = c.retained == "changed";
  plan.routes = c.routes;
  plan.servers = c.servers;
  plan.filters = filters_of(c);
  for (const std::string& server : c.servers)
    plan.claims.push_back(SubscriptionMemory::claim(server, c.client_id));
  need_secret(plan.needs, "password_file", c.password);
  need_tls(plan.needs, c.tls);
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<MqttDriver>(parts.loop, parts.rng, parts.inbox, parts.intake, parts.trust,
                                        parts.metrics, c, filters_of(c));
  };
  return plan;
}

// The inbox keeps the last messages of eight inputs, and two can share a slot without loss
// (ingest/mapped_inbox.cpp).
constexpr std::ptrdiff_t inputs_remembered = 16;

// A route that none of the topics brings anything for waits for ever.
void check_topics(const MqttInputConfig& c, LoadedConfig& loaded) {
  const auto router = Router::make(c.routes);
  if (c.topics.empty() || !router.ok()) return;
  for (const std::string& route : router.value().filters()) {
    if (std::ranges::any_of(c.topics, [&](const std::string& topic) {
          return filters_meet(topics_of_subscription(topic), route);
        }))
      continue;
    loaded.warnings.push_back(about_key(
        loaded, "input", c.name, "topics",
        text("the route \"", route, "\" gets nothing: it is in none of the topics that are subscribed to")));
  }
}

void check(const MqttInputConfig& c, const PartConfig& part, LoadedConfig& loaded) {
  check_topics(c, loaded);
  const auto alike = [&part](const PartConfig& other) { return other.kind == part.kind; };
  const auto& inputs = loaded.config.inputs;
  const std::ptrdiff_t count = std::ranges::count_if(inputs, alike);
  if (count > inputs_remembered && std::ranges::find_if(inputs, alike)->name == c.name) {
    loaded.warnings.push_back(
        text(count,
             " inputs.mqtt share the inbox's memory of what was taken: with more than 2,000 messages on "
             "their way to those of one slot, some that come again after a kill are stored twice"));
  }
}

void try_online(const MqttInputConfig& c, bool, std::vector<Trial>& trials) {
  try_mqtt_servers(text("input ", c.name), c, trials);
}

std::unique_ptr<Keeper> keeper(const SouthParts& parts, Duration keep_max) {
  return std::make_unique<LeftSubscriptions>(parts.intake, parts.passed_us, keep_max);
}

constexpr InputKind make_kind() {
  InputKind kind = kind_of<InputKind, C>(
      "mqtt", "A broker that the devices publish to (in the full profile: package millrace-full)", shape);
  kind.complete = typed<complete>;
  // The broker's socket, the two between our door and Paho, its listener, a lookup's, files of TLS.
  kind.descriptors = 10;
  kind.inbox_size = 4 << 20;  // a broker can come in bursts
  kind.plan = typed<plan_of>;
  kind.check = typed<check>;
  kind.try_online = typed<try_online>;
  kind.keeper = keeper;
  return kind;
}

}  // namespace

extern const InputKind mqtt_input_kind;
const InputKind mqtt_input_kind = make_kind();

}  // namespace millrace
