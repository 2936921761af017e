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

using S = SparkplugUplinkConfig;
using SK = KeysOf<S>;
constexpr Key sparkplug_keys[] = {
    SK::key<&S::group>("group", "Group of the edge node; {gateway}"),
    SK::key<&S::node>("node", "Its name; {gateway}"),
    SK::key<&S::device>("device",
                        "Of a record: {device} {metric} {tag.NAME} {lane} {gateway}; where it comes out "
                        "empty, the record is of the edge node itself"),
    SK::key<&S::metric>("metric", "Likewise"),
    SK::key<&S::primary_host>("primary_host",
                              "Nothing is sent while this host application is away; default: "
                              "nobody is waited for")
        .like("\"scada-1\""),
    SK::choice<&S::host_words>(
        "host_state", "3.0=0|2.2=1",
        "Which specification that host follows: JSON with a time on spBv1.0/STATE/ID, or "
        "a word on STATE/ID")
        .only_with("primary_host"),
    SK::key<&S::qos>("qos",
                     "1: the broker acknowledges each message; 0, as the specification has it: an answered "
                     "ping behind them does")
        .within(0, 1),
    SK::key<&S::metrics_max>("metrics_max",
                             "Devices and metrics that it tells of; beyond them records are refused")
        .within(10, 1'000'000),
};

// A level of a topic, made of the gateway's name and nothing else.
void check_level(Section& section, const char* key, const std::string& source) {
  auto parsed = NameTemplate::parse(source, false);
  if (!parsed.ok()) return section.error(key, parsed.status().detail());
  if (source.empty()) return section.error(key, text("\"", key, "\" is empty"));
  if (source.find("{lane}") != std::string::npos)
    section.error(key, text("\"", key, "\" cannot have {lane}: an edge node is one for all lanes"));
}

void settle_sparkplug(Section& section, S& c) {
  check_level(section, "group", c.group);
  check_level(section, "node", c.node);
  for (const auto& [key, source] : {std::pair{"device", &c.device}, {"metric", &c.metric}}) {
    if (auto parsed = NameTemplate::parse(*source, true); !parsed.ok())
      section.error(key, parsed.status().detail());
  }
  if (c.metric.empty()) section.error("metric", "\"metric\" is empty");
  if (c.primary_host.find_first_of("/+#") != std::string::npos)
    section.error("primary_host", "a host's name has no / + #: it is a level of a topic");
  // Levels of topics, all of them.
  for (const auto& [key, words] : {std::pair{"group", &c.group},
                                   {"node", &c.node},
                                   {"device", &c.device},
                                   {"primary_host", &c.primary_host}})
    check_mqtt_text(section, key, *words);
}
constexpr Shape sparkplug_shape = shape_of<S, settle_sparkplug>(sparkplug_keys);

constexpr Shape no_keys{};
constexpr ChoiceKind batch_form{"batch", "A message is a columnar batch", &no_keys,
                                [] { return std::shared_ptr<void>(); }};
constexpr ChoiceKind sparkplug_form{"sparkplug", "An edge node of Sparkplug B", &sparkplug_shape,
                                    make_values<S>};
const ChoiceKinds& forms() {
  static const ChoiceKinds kinds{&batch_form, &sparkplug_form};
  return kinds;
}

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"central\""),
    K::key<&C::servers>("servers", "mqtts:// for TLS; tried in order")
        .required()
        .like("[\"mqtt://127.0.0.1:1884\"]"),
    K::choice<&C::version>("version", mqtt_versions, "Identity in user properties, or inside an Envelope"),
    K::chosen<&C::form>("format", forms, "batch", "What a message is"),
    K::key<&C::topic>("topic", "Of batches; {gateway} {lane}"),
    K::key<&C::client_id>("client_id", "Default: millrace-GATEWAY-up-NAME")
        .like("\"millrace-pump-station-7-up-central\""),
    K::key<&C::batches_in_flight>("window", "Batches in flight; two where the link is slow")
        .within(1, batches_in_flight_max),
    K::key<&C::send_timeout>("send_timeout",
                             "Without an answer and without a byte that moves: the connection is given up, "
                             "what is open sent again")
        .within(send_timeout_min, 10min),
    K::key<&C::keep_alive>("keep_alive", "").within(1s, 18h),
    K::key<&C::prefer_first_after>("prefer_first_after", "Of several servers: back to the first")
        .within(10s, 30 * 24h),
    K::key<&C::username>("username", "").like("\"gw7\""),
    K::key<&C::password>("password_file", "").like("\"/etc/millrace/central.password\""),
    K::key<&C::sas_key>("sas_key_file",
                        "Azure IoT Hub: the device's key; passwords are made of it and renewed in time")
        .like("\"/etc/millrace/iothub.key\""),
    K::key<&C::sas_resource>("sas_resource", "What they are for; default: HOST/devices/CLIENT_ID")
        .like("\"plant.azure-devices.net/devices/gw7\""),
    K::key<&C::sas_life>("sas_life", "How long one is good").within(1min, 24h * 30),
    K::include<&C::tls>(tls_shape),
    K::include<&C::tls>(unverified_shape),
    K::include<&C::tls>(alpn_shape),
    K::base<ShippingConfig>(shipping_shape),
};

void settle(Section& section, MqttUplinkConfig& c) {
  if (c.sparkplug() && section.has("topic"))
    section.error("topic", "Sparkplug has topics of its own: group, node and device make them");
  if (c.topic.find_first_of("+#") != std::string::npos)
    section.error("topic", "a topic to publish to has no + and no #");
  if (c.topic.empty()) section.error("topic", "a topic to publish to has at least one character");
  check_mqtt_text(section, "topic", c.topic);
  check_mqtt_text(section, "client_id", c.client_id);
  check_mqtt_text(section, "username", c.username);
  if (auto parsed = NameTemplate::parse(c.topic, false); !parsed.ok())
    section.error("topic", parsed.status().detail());
  check_login(section, c.username, c.password);
  if (c.sas_key.given() && (c.username.empty() || c.password.given()))
    section.error("sas_key_file",
                  "a shared access signature is a password: it needs a username, and no password_file");
  if (!c.sas_key.given() && (section.has("sas_resource") || section.has("sas_life")))
    section.error("sas_key_file", "sas_resource and sas_life are of sas_key_file");
  settle_tls(section, c.tls, check_mqtt_servers(section, c.servers));
}
constexpr Shape shape = shape_of<C, settle>(keys);

void complete(MqttUplinkConfig& c, const std::string& gateway, std::vector<std::string>& warnings) {
  if (c.client_id.empty()) c.client_id = text("millrace-", gateway, "-up-", c.name);
  warn_of_unverified(c.name, c.tls, warnings);
  if (c.servers.size() == 1 && c.prefer_first_after != C{}.prefer_first_after)
    warnings.push_back(text("uplink \"", c.name, "\": prefer_first_after does nothing: there is one server"));
  if (c.version != 5 && !c.sparkplug()) {
    warnings.push_back(
        text("uplink \"", c.name,
             "\": MQTT 3.1.1 cannot tell a denied topic: a broker that lets us not publish to \"", c.topic,
             "\" acknowledges and drops everything; see it arrive once, or use version = \"5\""));
  }
}

// An edge node is one at a broker, whatever its client identifier.
void plan_sparkplug(const SparkplugUplinkConfig& c, const std::vector<std::string>& servers,
                    const std::string& gateway, UplinkPlan& plan) {
  std::string names[2];
  for (const auto& [source, name] : {std::pair{&c.group, &names[0]}, {&c.node, &names[1]}}) {
    if (auto parsed = NameTemplate::parse(*source, false); parsed.ok())
      parsed.value().render(gateway, Lane::raw, nullptr, *name);
  }
  plan.topics.push_back(
      text("spBv1.0/", edge::topic_level(names[0]), "/DDATA/", edge::topic_level(names[1]), "/device"));
  for (const std::string& server : servers)
    plan.claims.push_back(text("sparkplug ", mqtt_place(server), " ", names[0], "/", names[1]));
}

UplinkPlan plan_of(const MqttUplinkConfig& c, const std::string& gateway) {
  UplinkPlan plan = plan_shipping(c);
  plan.servers = c.servers;
  plan.unverified = c.tls.skip_verify;
  if (const SparkplugUplinkConfig* sparkplug = c.sparkplug())
    plan_sparkplug(*sparkplug, c.servers, gateway, plan);
  else if (auto topic = NameTemplate::parse(c.topic, false); topic.ok())
    topic.value().render(gateway, Lane::raw, nullptr, plan.topics.emplace_back());
  for (const std::string& server : c.servers)
    plan.claims.push_back(text("mqtt ", mqtt_place(server), " ", c.client_id));
  need_secret(plan.needs, "password_file", c.password);
  need_secret(plan.needs, "sas_key_file", c.sas_key);
  need_tls(plan.needs, c.tls);
  plan.make = [c](const NorthParts& parts) -> std::unique_ptr<Uplink> {
    return std::make_unique<MqttUplink>(parts, c);
  };
  return plan;
}

void try_online(const MqttUplinkConfig& c, const std::string&, bool, std::vector<Trial>& trials) {
  const std::string who = text("uplink ", c.name);
  try_mqtt_servers(who, c, trials);
  if (c.sparkplug()) return;
  // Only a publish shows whether it is allowed, and nothing is written that nobody asked for.
  trials.push_back(
      {Trial::State::unsure, text(who, ": topic \"", c.topic, "\""),
       c.version == 5
           ? "not tried, that would write to it; where it is denied, the daemon says so at its first record"
           : "not tried, that would write to it; with MQTT 3.1.1 the daemon cannot tell either"});
}

constexpr double sparkplug_bytes = 25;    // of a number in a payload: alias, time, type, value
constexpr double message_overhead = 150;  // of a message: topic, identity, TLS record

double link_bytes(const MqttUplinkConfig& c, const LinkLoad& load) {
  if (!c.usually_sends_raw()) return 0;
  if (c.sparkplug()) return load.readings * sparkplug_bytes + load.batches * message_overhead;
  return load.batches * (load.batch_bytes + message_overhead);
}

std::string_view keeps(std::string_view file) {
  const std::string_view name = name_between(sparkplug_files, file, sparkplug_names);
  return name.empty() ? name_between(sparkplug_files, file, sparkplug_number) : name;
}

constexpr UplinkKind make_kind() {
  UplinkKind kind = kind_of<UplinkKind, C>("mqtt", "A broker that takes batches", shape);
  kind.complete = typed<complete>;
  kind.descriptors = 10 + lookup_descriptors;  // its socket, and its reader of the log
  kind.first = true;
  kind.plan = typed<plan_of>;
  kind.keeps = keeps;
  kind.try_online = typed<try_online>;
  kind.link_bytes = typed<link_bytes>;
  return kind;
}

}  // namespace

extern const UplinkKind mqtt_uplink_kind;
const UplinkKind mqtt_uplink_kind = make_kind();

}  // namespace millrace
