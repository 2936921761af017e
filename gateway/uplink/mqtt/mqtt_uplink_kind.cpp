// uplinks.mqtt: batches to a broker.
#include "base/text.h"
#include "config/network_keys.h"
#include "mqtt/trial.h"
#include "uplink/mqtt/mqtt_uplink.h"
#include "uplink/uplink_kind.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = MqttUplinkConfig;
using K = KeysOf<C>;

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"central\""),
    K::key<&C::servers>("servers", "mqtts:// for TLS; tried in order")
        .required()
        .like("[\"mqtt://127.0.0.1:1884\"]"),
    K::choice<&C::version>("version", mqtt_versions, "Identity in user properties, or inside an Envelope"),
    K::key<&C::topic>("topic", "{gateway} {lane}"),
    K::key<&C::client_id>("client_id", "Default: millrace-GATEWAY-up-NAME")
        .like("\"millrace-pump-station-7-up-central\""),
    K::key<&C::window>("window", "Batches in flight; two where the link is slow").within(1, window_max),
    K::key<&C::send_timeout>("send_timeout",
                             "Without an answer and without a byte that moves: the connection is given up, "
                             "what is open sent again")
        .within(send_timeout_min, 10min),
    K::key<&C::keep_alive>("keep_alive", "").within(1s, 18h),
    K::key<&C::prefer_first_after>("prefer_first_after", "Of several servers: back to the first")
        .within(10s, 30 * 24h),
    K::key<&C::username>("username", "").like("\"gw7\""),
    K::key<&C::password>("password_file", "").like("\"/etc/millrace/central.password\""),
    K::include<&C::tls>(tls_shape),
    K::base<ShippingConfig>(shipping_shape),
};

void settle(Section& section, MqttUplinkConfig& c) {
  if (c.topic.find_first_of("+#") != std::string::npos)
    section.error("topic", "a topic to publish to has no + and no #");
  if (auto parsed = NameTemplate::parse(c.topic, false); !parsed.ok())
    section.error("topic", parsed.status().detail());
  check_login(section, c.username, c.password);
  settle_tls(section, c.tls, check_mqtt_servers(section, c.servers));
}
constexpr Shape shape = shape_of<C, settle>(keys);

void complete(MqttUplinkConfig& c, const std::string& gateway, std::vector<std::string>& warnings) {
  if (c.client_id.empty()) c.client_id = text("millrace-", gateway, "-up-", c.name);
  if (c.version != 5) {
    warnings.push_back(
        text("uplink \"", c.name,
             "\": MQTT 3.1.1 cannot tell a denied topic: a broker that lets us not publish to \"", c.topic,
             "\" acknowledges and drops everything; see it arrive once, or use version = \"5\""));
  }
}

UplinkPlan plan_of(const MqttUplinkConfig& c, const std::string& gateway) {
  UplinkPlan plan = plan_shipping(c);
  plan.servers = c.servers;
  if (auto topic = NameTemplate::parse(c.topic, false); topic.ok())
    topic.value().render(gateway, Lane::raw, nullptr, plan.topics.emplace_back());
  for (const std::string& server : c.servers) plan.claims.push_back(text("mqtt ", server, " ", c.client_id));
  need_secret(plan.needs, "password_file", c.password);
  need_tls(plan.needs, c.tls);
  plan.make = [c](const NorthParts& parts) -> std::unique_ptr<Uplink> {
    return std::make_unique<MqttUplink>(parts.loop, parts.rng, c, parts.gateway, parts.epoch);
  };
  return plan;
}

void try_online(const MqttUplinkConfig& c, const std::string&, bool, std::vector<Trial>& trials) {
  const std::string who = text("uplink ", c.name);
  try_mqtt_servers(who, c, trials);
  // Only a publish shows whether it is allowed, and nothing is written that nobody asked for.
  trials.push_back(
      {Trial::State::unsure, text(who, ": topic \"", c.topic, "\""),
       c.version == 5
           ? "not tried, that would write to it; where it is denied, the daemon says so at its first record"
           : "not tried, that would write to it; with MQTT 3.1.1 the daemon cannot tell either"});
}

constexpr double message_overhead = 150;  // of a message: topic, identity, TLS record

double link_bytes(const MqttUplinkConfig& c, const LinkLoad& load) {
  return c.drain.sends("raw") ? load.batches * (load.batch_bytes + message_overhead) : 0;
}

constexpr UplinkKind make_kind() {
  UplinkKind kind = kind_of<UplinkKind, C>("mqtt", "A broker that takes batches", shape);
  kind.complete = typed<complete>;
  kind.descriptors = 10 + lookup_descriptors;  // its socket, and its reader of the log
  kind.first = true;
  kind.plan = typed<plan_of>;
  kind.try_online = typed<try_online>;
  kind.link_bytes = typed<link_bytes>;
  return kind;
}

}  // namespace

extern const UplinkKind mqtt_uplink_kind;
const UplinkKind mqtt_uplink_kind = make_kind();

}  // namespace millrace
