// uplinks.kafka: Apache Kafka and what speaks its protocol.
#include "base/host_port.h"
#include "base/text.h"
#include "base/without_users.h"
#include "config/network_keys.h"
#include "net/http_client.h"
#include "uplink/kafka/kafka_trial.h"
#include "uplink/kafka/kafka_uplink.h"
#include "uplink/uplink_kind.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = KafkaUplinkConfig;
using K = KeysOf<C>;

bool& tls_on(C& c) { return c.tls.enabled; }
std::string& registry_ca(C& c) { return c.schema_registry_tls.ca; }

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"stream\""),
    K::key<&C::servers>("servers", "Any of the cluster").required().like("[\"kafka-1.example:9093\"]"),
    K::word<&C::format>("format", built_forms,
                        "A message a record, as protobuf or JSON; a columnar batch a message"),
    K::key<&C::topic>(
        "topic",
        "{gateway} {lane}; of records also {device} {metric} {tag.NAME} (fixed_tags: a topic a route)"),
    K::key<&C::key>("key", "The partition is by murmur2 of it, as Java's; of batches: {gateway}")
        .like("\"{device}\""),
    K::choice<&C::compression>("compression", "none|lz4|zstd|gzip|snappy", ""),
    K::key<&C::linger>("linger", "").within(0s, 10s),
    K::key<&C::client_id>("client_id", "Default: millrace-GATEWAY-up-NAME")
        .like("\"millrace-pump-station-7-up-stream\""),
    K::key<&C::exactly_once>("exactly_once", "Each batch and the cursor in one transaction").like("true"),
    K::key<&C::transactional_id>("transactional_id", "Default: millrace-GATEWAY-NAME")
        .like("\"millrace-pump-station-7-stream\""),
    K::key<&C::marker_topic>("marker_topic", "Make it with cleanup.policy=compact"),
    K::key<&C::transaction_timeout>("transaction_timeout", "").within(5s, 15min),
    K::key<&C::batches_in_flight>(
        "window", "Batches in flight: what may come twice when something is killed (without exactly_once)")
        .within(1, batches_in_flight_max),
    K::key<&C::send_timeout>("send_timeout", "Without a delivery; on a slow link a batch leaves in several")
        .within(send_timeout_min, 1h),
    K::size<&C::message_max>("message_max", "message.max.bytes").within(1000, 64 << 20),
    K::size<&C::queue_size>("queue_size", "Messages in librdkafka's hands").within(1 << 20, 1 << 30),
    K::key<tls_on>("tls", "Also on when tls_ca or tls_cert is given").like("true"),
    K::include<&C::tls>(tls_shape),
    K::include<&C::tls>(unverified_shape),
    K::choice<&C::sasl_mechanism>("sasl_mechanism", "PLAIN|SCRAM-SHA-256|SCRAM-SHA-512|OAUTHBEARER", "")
        .like("\"SCRAM-SHA-512\""),
    K::key<&C::username>("username", "").like("\"gw7\""),
    K::key<&C::password>("password_file", "").like("\"/etc/millrace/kafka.password\""),
    K::key<&C::token>("token_file", "Of OAUTHBEARER; read again every few minutes")
        .like("\"/etc/millrace/kafka.token\""),
    K::key<&C::schema_registry>("schema_registry", "Values in the Confluent wire format")
        .like("\"https://registry.example\""),
    K::key<&C::schema_registry_username>("schema_registry_username", "").like("\"gw7\""),
    K::key<&C::schema_registry_password>("schema_registry_password_file", "")
        .like("\"/etc/millrace/registry.password\""),
    K::key<registry_ca>("schema_registry_ca", "").like("\"/etc/millrace/registry-ca.pem\""),
    K::base<ShippingConfig>(shipping_shape),
};

void check_login_of(Section& section, const KafkaUplinkConfig& c) {
  if (c.sasl_mechanism == "OAUTHBEARER") {
    if (!c.token.given()) section.error("sasl_mechanism", "OAUTHBEARER needs a token_file");
    for (const char* key : {"username", "password_file"}) {
      if (section.has(key)) section.error(key, text("\"", key, "\" is not of OAUTHBEARER: it has a token"));
    }
    return;
  }
  const bool login = !c.username.empty() && c.password.given(),
             some = !c.username.empty() || c.password.given();
  if (c.token.given()) section.error("token_file", "a token is of sasl_mechanism = \"OAUTHBEARER\"");
  if (!c.sasl_mechanism.empty() && !login)
    section.error("sasl_mechanism", "SASL needs username and password_file");
  if (c.sasl_mechanism.empty() && some) section.error("username", "a login needs a sasl_mechanism");
}

void check_registry(Section& section, const KafkaUplinkConfig& c) {
  for (const char* key :
       {"schema_registry_username", "schema_registry_password_file", "schema_registry_ca"}) {
    if (section.has(key) && c.schema_registry.empty())
      section.error(key, text("\"", key, "\" without a schema_registry"));
  }
  if (const auto url = parse_http_url(c.schema_registry);
      section.has("schema_registry_ca") && url.ok() && !url.value().secure)
    section.error("schema_registry_ca", "\"schema_registry_ca\" is of a schema_registry at https://");
  if (c.schema_registry_username.empty() != !c.schema_registry_password.given()) {
    section.error("schema_registry_username",
                  "schema_registry_username and schema_registry_password_file go together");
  }
}

void settle(Section& section, KafkaUplinkConfig& c) {
  for (const std::string& server : c.servers) {
    if (!parse_host_port(server, 9092).ok() || server.find('/') != std::string::npos)
      section.error("servers", text("\"", without_login(server), "\" is not HOST:PORT"));
  }
  if (!section.has("key")) c.key = form_called(c.format).of_rows() ? "{gateway}" : "{device}";
  for (const char* key : {"transactional_id", "marker_topic", "transaction_timeout"}) {
    if (section.has(key) && !c.exactly_once)
      section.error(key, text("\"", key, "\" is of exactly_once = true"));
  }
  if (section.has("window") && c.exactly_once && c.batches_in_flight != 1)
    section.error("window", "with exactly_once one transaction is in flight: \"window\" is 1");
  check_login_of(section, c);
  settle_tls(section, c.tls,
             section.has("tls") ? c.tls.enabled : section.has("tls_ca") || section.has("tls_cert"));
  check_registry(section, c);
}
constexpr Shape shape = shape_of<C, settle>(keys);

void complete(KafkaUplinkConfig& c, const std::string& gateway, std::vector<std::string>& warnings) {
  if (c.client_id.empty()) c.client_id = text("millrace-", gateway, "-up-", c.name);
  if (c.transactional_id.empty()) c.transactional_id = text("millrace-", gateway, "-", c.name);
  warn_of_unverified(c.name, c.tls, warnings);
  if (!c.sasl_mechanism.empty() && !c.tls.enabled) {
    warnings.push_back(
        text("uplink \"", c.name, "\": a login without TLS can be read by everybody on the way"));
  }
}

UplinkPlan plan_of(const KafkaUplinkConfig& c, const std::string&) {
  UplinkPlan plan = plan_shipping(c);
  plan.unverified = c.tls.skip_verify;
  if (c.exactly_once) plan.claims = {"kafka " + c.transactional_id};
  need_secret(plan.needs, "password_file", c.password);
  need_secret(plan.needs, "token_file", c.token);
  need_tls(plan.needs, c.tls, "tls_", false);
  need_secret(plan.needs, "schema_registry_password_file", c.schema_registry_password);
  need_tls(plan.needs, c.schema_registry_tls, "schema_registry_");
  plan.make = [c](const NorthParts& parts) -> std::unique_ptr<Uplink> {
    return std::make_unique<KafkaUplink>(parts.loop, parts.rng, c, parts.gateway, parts.epoch,
                                         parts.state_dir, &parts.metrics);
  };
  return plan;
}

void check(const KafkaUplinkConfig& c, const PartConfig& part, LoadedConfig& loaded) {
  const auto fault = [&](const char* key, const Status& status) {
    loaded.fail(part, key, text("uplink \"", c.name, "\": ", key, ": ", status.detail()));
  };
  for (const auto& [key, source] : {std::pair{"topic", &c.topic}, std::pair{"key", &c.key}}) {
    if (auto parsed = NameTemplate::parse(*source, !form_called(c.format).of_rows()); !parsed.ok())
      fault(key, parsed.status());
  }
  if (c.schema_registry.empty()) return;
  if (!form_called(c.format).registered.subject)
    fault("schema_registry", {Code::invalid, text("format = \"", c.format, "\" has no schema there")});
  if (auto url = parse_http_url(c.schema_registry); !url.ok()) fault("schema_registry", url.status());
}

void try_online(const KafkaUplinkConfig& c, const std::string& gateway, bool beside,
                std::vector<Trial>& trials) {
  for (Trial& trial : try_kafka(c, gateway, beside)) {
    trial.what = text("uplink ", c.name, ": ", trial.what);
    trials.push_back(std::move(trial));
  }
}

constexpr double message_overhead = 150;  // of a batch: topic, identity, TLS record
// Of a record or JSON as its own message under zstd: headers, key (bench kafka_record_cpu).
constexpr double kafka_record_overhead = 9;

double link_bytes(const KafkaUplinkConfig& c, const LinkLoad& load) {
  if (!c.usually_sends_raw()) return 0;
  return form_called(c.format).of_rows() ? load.batches * (load.batch_bytes + message_overhead)
                                         : load.readings * (load.reading_bytes + kafka_record_overhead);
}

std::string_view keeps(std::string_view file) { return name_between(schema_id_files, file, ""); }

constexpr UplinkKind make_kind() {
  UplinkKind kind = kind_of<UplinkKind, C>(
      "kafka", "Apache Kafka and what speaks its protocol (in the full profile: package millrace-full)",
      shape);
  kind.complete = typed<complete>;
  kind.descriptors = 72 + 2 * lookup_descriptors;  // librdkafka: three for each broker it meets, some twenty
  kind.plan = typed<plan_of>;
  kind.check = typed<check>;
  kind.keeps = keeps;
  kind.try_online = typed<try_online>;
  kind.link_bytes = typed<link_bytes>;
  return kind;
}

}  // namespace

extern const UplinkKind kafka_uplink_kind;
const UplinkKind kafka_uplink_kind = make_kind();

}  // namespace millrace
