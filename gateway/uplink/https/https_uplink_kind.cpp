// uplinks.https: servers that take records by HTTP, each in its dialect.
#include "base/text.h"
#include "config/network_keys.h"
#include "net/content_coding.h"
#include "net/http_login.h"
#include "net/upload_rate.h"
#include "uplink/https/aws_access.h"
#include "uplink/https/https_trial.h"
#include "uplink/https/https_uplink.h"
#include "uplink/uplink_kind.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = HttpsUplinkConfig;
using K = KeysOf<C>;

constexpr std::int64_t connections_max = 8;
// its socket, and its reader of the log
constexpr std::size_t of_one = 10 + lookup_descriptors, of_another = 1 + lookup_descriptors;

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"history\""),
    K::key<&C::servers>("servers", "Of one sort; the next one when one does not answer")
        .required()
        .like("[\"https://history.example:8086\"]"),
    K::chosen<&C::dialect>("dialect", built_dialects, "generic", "What the servers speak"),
    K::choice<&C::compression>(
        "compression", content_coding_words,
        "Of requests' bodies, where the server reads them so: generic, influxdb and clickhouse (zstd "
        "only newer ones)"),
    K::key<&C::send_timeout>("send_timeout",
                             "Without a byte that moves, and once more for the answer; four times that for "
                             "all of a request")
        .within(send_timeout_min, 10min),
    K::key<&C::batches_in_flight>(
        "connections",
        "So many batches of readings are on their way at a time, each on a connection of its own: the order "
        "in which they arrive is given up, that of alarms and of windows is kept")
        .within(1, connections_max),
    K::base<HttpAccess>(http_access_shape),
    K::size<&C::upload_max>("upload_max", "Bytes of requests a second; 0: no limit").within(0, 1 << 30),
    K::include<&C::tls>(tls_shape),
    K::include<&C::tls>(unverified_shape),
    K::base<ShippingConfig>(shipping_shape),
};

void settle(Section& section, C& c) {
  if (c.upload_max > 0 && c.upload_max < UploadRate::least)
    section.error("upload_max", "less than 1KiB a second carries nothing");
  std::size_t secure = 0, plain = 0;
  for (const std::string& server : c.servers) {
    auto url = parse_http_url(server);
    if (!url.ok()) section.error("servers", url.status().detail());
    else ++(url.value().secure ? secure : plain);
  }
  if (secure != 0 && plain != 0)
    section.error("servers", "some servers use TLS and some do not; give them uplinks of their own");
  settle_tls(section, c.tls, secure != 0);
  if (!c.dialect.kind) return;
  if (const DialectKind& kind = kind_of(c.dialect); kind.secret && c.logins() > 0)
    section.error("token_file",
                  text("the dialect \"", kind.name, "\" signs its requests: ", kind.secret_key));
  if (const auto in_order = kind_of(c.dialect).in_order; in_order && c.batches_in_flight > 1) {
    if (const char* why = in_order(c.dialect.values.get()))
      section.error("connections",
                    text("\"connections\" can be 1 only: the dialect \"", c.dialect.kind->name, "\" ", why));
  }
  if (c.compression != "none" && !kind_of(c.dialect).packs)
    section.error("compression",
                  text("the dialect \"", c.dialect.kind->name,
                       "\" packs its bodies itself, or its servers read none that are packed"));
}

constexpr Shape shape = shape_of<C, settle>(keys);

void complete(C& c, const std::string&, std::vector<std::string>& warnings) {
  warn_of_unverified(c.name, c.tls, warnings);
  if (c.logins() > 0 && !c.tls.enabled)
    warnings.push_back(
        text("uplink \"", c.name, "\": a login without TLS can be read by everybody on the way"));
  if (!c.tls.enabled)
    warnings.push_back(text("uplink \"", c.name,
                            "\": without TLS nobody can tell the server from somebody on the way who "
                            "answers in its place"));
  if (!c.dialect.kind) return;
  if (const std::string_view over = kind_of(c.dialect).passes_over; !over.empty())
    warnings.push_back(text("uplink \"", c.name, "\": ", c.dialect.kind->name, " has no form for ", over,
                            ": they are passed over (millrace_uplink_skipped_records_total)"));
}

UplinkPlan plan_of(const C& c, const std::string&) {
  UplinkPlan plan = plan_shipping(c);
  plan.servers = c.servers;
  plan.unverified = c.tls.skip_verify;
  need_http_access(plan.needs, c);
  const DialectKind& kind = kind_of(c.dialect);
  if (kind.secret) need_secret(plan.needs, kind.secret_key, kind.secret(c.dialect.values.get()));
  if (kind.access)
    need_secret(plan.needs, "credentials_token_file", kind.access(c.dialect.values.get())->token);
  need_tls(plan.needs, c.tls);
  plan.make = [c](const NorthParts& parts) -> std::unique_ptr<Uplink> {
    return std::make_unique<HttpsUplink>(parts.loop, parts.rng, c, parts.gateway, parts.epoch, parts.metrics);
  };
  return plan;
}

void try_online(const C& c, const std::string& gateway, bool, std::vector<Trial>& trials) {
  for (const std::string& server : c.servers) trials.push_back(try_https(c, server, gateway));
}

constexpr double request_overhead = 400;  // of a request and its answer: heads, TLS records
constexpr double text_factor = 8;         // a reading as text, beside the columns it lies in

double link_bytes(const C& c, const LinkLoad& load) {
  return c.usually_sends_raw() ? load.batches * (load.batch_bytes * text_factor + request_overhead) : 0;
}

std::size_t more_descriptors(const C& c) { return (c.batches_in_flight - 1) * of_another; }

constexpr UplinkKind make_kind() {
  UplinkKind kind = kind_of<UplinkKind, C>(
      "https",
      "Servers that take records by HTTP: InfluxDB, ClickHouse, Prometheus, Kinesis, Pub/Sub, Event Hubs, S3, your own",
      shape);
  kind.complete = typed<complete>;
  kind.descriptors = of_one;
  kind.more_descriptors = typed<more_descriptors>;
  kind.plan = typed<plan_of>;
  kind.try_online = typed<try_online>;
  kind.link_bytes = typed<link_bytes>;
  return kind;
}

}  // namespace

extern const UplinkKind https_uplink_kind;
const UplinkKind https_uplink_kind = make_kind();

}  // namespace millrace
