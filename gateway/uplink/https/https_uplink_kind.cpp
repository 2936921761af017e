// uplinks.https: servers that take records by HTTP, each in its dialect.
#include "base/ascii.h"
#include "base/text.h"
#include "config/network_keys.h"
#include "net/content_coding.h"
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
    K::key<&C::token>("token_file", "Authorization: Bearer (of influxdb: Token), read anew for each request")
        .like("\"/etc/millrace/history.token\""),
    K::key<&C::username>("username", "").like("\"gw7\""),
    K::key<&C::password>("password_file", "").like("\"/etc/millrace/history.password\""),
    K::key<&C::header_name>("header_name", "A login in a header of this name ...").like("\"X-API-Key\""),
    K::key<&C::header_secret>("header_file", "... and what it says").like("\"/etc/millrace/history.key\""),
    K::key<&C::proxy>("proxy", "By CONNECT; it must allow the server's port")
        .like("\"http://proxy.example:3128\""),
    K::key<&C::proxy_username>("proxy_username", "").like("\"gw7\""),
    K::key<&C::proxy_password>("proxy_password_file", "").like("\"/etc/millrace/proxy.password\""),
    K::size<&C::upload_max>("upload_max", "Bytes of requests a second; 0: no limit").within(0, 1 << 30),
    K::include<&C::tls>(tls_shape),
    K::base<ShippingConfig>(shipping_shape),
};

// What the request's own heads are is not for a login.
bool good_header_name(std::string_view name) {
  const std::string one = lower(name);
  if (one == "host" || one == "content-length" || one == "transfer-encoding") return false;
  return !name.empty() &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") ==
             std::string_view::npos;
}

void check_login_of(Section& section, const C& c, const DialectKind& kind) {
  const int logins = int{c.token.given()} + int{c.password.given()} + int{c.header_secret.given()};
  if (logins > 1) section.error("token_file", "one login: a token, a password, or a header");
  if (logins > 0 && kind.secret)
    section.error("token_file",
                  text("the dialect \"", kind.name, "\" signs its requests: ", kind.secret_key));
  if (c.username.empty() != !c.password.given())
    section.error("username", "username and password_file go together");
  if (c.username.find(':') != std::string::npos) section.error("username", "a username has no \":\" in it");
  if (c.header_name.empty() != !c.header_secret.given())
    section.error("header_name", "header_name and header_file go together");
  if (!c.header_name.empty() && !good_header_name(c.header_name))
    section.error("header_name", text("\"", c.header_name, "\" is no name of a login's header"));
}

void check_proxy_of(Section& section, const C& c) {
  if (c.proxy_username.empty() != !c.proxy_password.given())
    section.error("proxy_username", "proxy_username and proxy_password_file go together");
  if (c.proxy_username.find(':') != std::string::npos)
    section.error("proxy_username", "a username has no \":\" in it");
  if (c.proxy.empty()) {
    if (c.proxy_password.given()) section.error("proxy_username", "there is no proxy");
    return;
  }
  const auto url = parse_http_url(c.proxy);
  if (!url.ok()) section.error("proxy", url.status().detail());
  else if (url.value().secure || !url.value().path.empty())
    section.error("proxy", text("\"", c.proxy, "\" is not http://HOST:PORT"));
}

void settle(Section& section, C& c) {
  check_proxy_of(section, c);
  if (c.upload_max > 0 && c.upload_max < UploadRate::least)
    section.error("upload_max", "less than 1KiB a second carries nothing");
  std::size_t secure = 0;
  for (const std::string& server : c.servers) {
    auto url = parse_http_url(server);
    if (!url.ok()) section.error("servers", url.status().detail());
    else if (url.value().secure) ++secure;
  }
  if (secure != 0 && secure != c.servers.size())
    section.error("servers", "some servers use TLS and some do not; give them uplinks of their own");
  settle_tls(section, c.tls, secure != 0);
  if (!c.dialect.kind) return;
  check_login_of(section, c, kind_of(c.dialect));
  if (c.compression != "none" && !kind_of(c.dialect).packs)
    section.error("compression",
                  text("the dialect \"", c.dialect.kind->name,
                       "\" packs its bodies itself, or its servers read none that are packed"));
}

constexpr Shape shape = shape_of<C, settle>(keys);

void complete(C& c, const std::string&, std::vector<std::string>& warnings) {
  const bool login = c.token.given() || c.password.given() || c.header_secret.given();
  if (login && !c.tls.enabled)
    warnings.push_back(
        text("uplink \"", c.name, "\": a login without TLS can be read by everybody on the way"));
  if (!c.tls.enabled)
    warnings.push_back(text("uplink \"", c.name,
                            "\": without TLS nobody can tell the server from somebody on the way who "
                            "answers in its place"));
}

UplinkPlan plan_of(const C& c, const std::string&) {
  UplinkPlan plan = plan_shipping(c);
  plan.servers = c.servers;
  need_secret(plan.needs, "token_file", c.token);
  need_secret(plan.needs, "password_file", c.password);
  need_secret(plan.needs, "header_file", c.header_secret);
  if (const DialectKind& kind = kind_of(c.dialect); kind.secret)
    need_secret(plan.needs, kind.secret_key, kind.secret(c.dialect.values.get()));
  if (const DialectKind& kind = kind_of(c.dialect); kind.access)
    need_secret(plan.needs, "credentials_token_file", kind.access(c.dialect.values.get())->token);
  need_secret(plan.needs, "proxy_password_file", c.proxy_password);
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

constexpr UplinkKind make_kind() {
  UplinkKind kind = kind_of<UplinkKind, C>(
      "https",
      "Servers that take records by HTTP: InfluxDB, ClickHouse, Prometheus, Kinesis, Pub/Sub, Event Hubs, S3, your own",
      shape);
  kind.complete = typed<complete>;
  kind.descriptors = 10 + lookup_descriptors;  // its socket, and its reader of the log
  kind.plan = typed<plan_of>;
  kind.try_online = typed<try_online>;
  kind.link_bytes = typed<link_bytes>;
  return kind;
}

}  // namespace

extern const UplinkKind https_uplink_kind;
const UplinkKind https_uplink_kind = make_kind();

}  // namespace millrace
