// uplinks.https: servers that take records by HTTP, each in its dialect.
#include <array>
#include <utility>

#include "base/text.h"
#include "config/network_keys.h"
#include "uplink/https/https_trial.h"
#include "uplink/https/https_uplink.h"
#include "uplink/uplink_kind.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using C = HttpsUplinkConfig;
using K = KeysOf<C>;

constexpr std::size_t dialects_max = 16;

constexpr Key keys_before[] = {
    K::key<&C::name>("name", "").required().names().like("\"history\""),
    K::key<&C::servers>("servers", "Of one sort; the next one when one does not answer")
        .required()
        .like("[\"https://history.example:8086\"]"),
};
constexpr Key keys_after[] = {
    K::key<&C::send_timeout>("send_timeout",
                             "Without a byte that moves, and once more for the answer; four times that for "
                             "all of a request")
        .within(send_timeout_min, 10min),
    K::key<&C::token>("token_file", "Authorization: Bearer (of influxdb: Token), read anew for each request")
        .like("\"/etc/millrace/history.token\""),
    K::key<&C::username>("username", "").like("\"gw7\""),
    K::key<&C::password>("password_file", "").like("\"/etc/millrace/history.password\""),
    K::key<&C::header>("header_name", "A login in a header of this name ...").like("\"X-API-Key\""),
    K::key<&C::header_secret>("header_file", "... and what it says").like("\"/etc/millrace/history.key\""),
    K::include<&C::tls>(tls_shape),
    K::base<ShippingConfig>(shipping_shape),
};

template <std::size_t At>
void* values_at(void* owner) {
  return static_cast<C*>(owner)->dialects.at(At).get();
}
template <std::size_t... At>
constexpr std::array<void* (*)(void*), sizeof...(At)> values_of(std::index_sequence<At...>) {
  return {values_at<At>...};
}
constexpr auto values_by_place = values_of(std::make_index_sequence<dialects_max>());

// The dialects that are built give the word's choices, and a table each. Made once, before anything is configured.
const std::vector<Key>& keys() {
  static const std::string words = [] {
    std::string all;
    for (const DialectKind* kind : built_dialects()) all += text(all.empty() ? "" : "|", kind->name);
    return all;
  }();
  static const std::vector<Key> made = [] {
    std::vector<Key> all(std::begin(keys_before), std::end(keys_before));
    all.push_back(K::choice<&C::dialect>("dialect", words.c_str(), "What the servers speak").said_first());
    all.insert(all.end(), std::begin(keys_after), std::end(keys_after));
    for (std::size_t i = 0; i < built_dialects().size(); ++i) {
      const DialectKind& kind = *built_dialects()[i];
      Key key;
      key.type = Key::Type::table;
      key.name = kind.name.data();
      key.help = kind.help;
      key.at = values_by_place.at(i);
      key.shape = kind.shape;
      all.push_back(key);
    }
    return all;
  }();
  return made;
}

bool good_header_name(std::string_view name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") ==
                              std::string_view::npos;
}

void check_login_of(Section& section, const C& c, const DialectKind& kind) {
  const int logins = int{c.token.given()} + int{c.password.given()} + int{c.header_secret.given()};
  if (logins > 1) section.error("token_file", "one login: a token, a password, or a header");
  if (logins > 0 && kind.secret) section.error("token_file", text("the dialect \"", kind.name, "\" signs its requests: ", kind.secret_key));
  if (c.username.empty() != !c.password.given()) section.error("username", "username and password_file go together");
  if (c.username.find(':') != std::string::npos) section.error("username", "a username has no \":\" in it");
  if (c.header.empty() != !c.header_secret.given()) section.error("header_name", "header_name and header_file go together");
  if (!c.header.empty() && !good_header_name(c.header)) section.error("header_name", text("\"", c.header, "\" is no name of a header"));
}

void settle(Section& section, C& c) {
  std::size_t secure = 0;
  for (const std::string& server : c.servers) {
    auto url = parse_http_url(server);
    if (!url.ok()) section.error("servers", url.status().detail());
    else if (url.value().secure) ++secure;
  }
  if (secure != 0 && secure != c.servers.size())
    section.error("servers", "some servers use TLS and some do not; give them uplinks of their own");
  settle_tls(section, c.tls, secure != 0);
  const DialectKind* kind = find_dialect(c.dialect);
  if (!kind) return;  // said already
  for (const DialectKind* other : built_dialects()) {
    if (other != kind && section.has(other->name))
      section.error(other->name, text("the table \"", other->name, "\" is of another dialect than \"", c.dialect, "\""));
  }
  if (const std::string fault = kind->fault(c.values()); !fault.empty())
    section.error(section.has(c.dialect) ? c.dialect : "dialect", fault);
  check_login_of(section, c, *kind);
}

void complete(C& c, const std::string&, std::vector<std::string>& warnings) {
  const DialectKind* kind = find_dialect(c.dialect);
  const bool login = c.token.given() || c.password.given() || c.header_secret.given();
  if (kind && login && !c.tls.enabled)
    warnings.push_back(text("uplink \"", c.name, "\": a login without TLS can be read by everybody on the way"));
  if (!c.tls.enabled)
    warnings.push_back(text("uplink \"", c.name, "\": without TLS nobody can tell the server from somebody on the way who "
                            "answers in its place"));
}

UplinkPlan plan_of(const C& c, const std::string&) {
  UplinkPlan plan = plan_shipping(c);
  plan.servers = c.servers;
  need_secret(plan.needs, "token_file", c.token);
  need_secret(plan.needs, "password_file", c.password);
  need_secret(plan.needs, "header_file", c.header_secret);
  const DialectKind* kind = find_dialect(c.dialect);
  if (kind && kind->secret) need_secret(plan.needs, kind->secret_key, kind->secret(c.values()));
  need_tls(plan.needs, c.tls);
  plan.make = [c](const NorthParts& parts) -> std::unique_ptr<Uplink> {
    return std::make_unique<HttpsUplink>(parts.loop, parts.rng, c, parts.gateway, parts.epoch);
  };
  return plan;
}

void try_online(const C& c, const std::string& gateway, bool, std::vector<Trial>& trials) {
  for (const std::string& server : c.servers) trials.push_back(try_https(c, server, gateway));
}

constexpr double request_overhead = 400;  // of a request and its answer: heads, TLS records
constexpr double text_factor = 8;         // a reading as text, beside the columns it lies in

double link_bytes(const C& c, const LinkLoad& load) {
  return c.drain.sends("raw") ? load.batches * (load.batch_bytes * text_factor + request_overhead) : 0;
}

UplinkKind make_kind() {
  static const Shape shape = [] {
    Shape made;
    made.keys = keys().data();
    made.count = keys().size();
    made.settle = [](Section& section, void* object) { settle(section, *static_cast<C*>(object)); };
    return made;
  }();
  UplinkKind kind = kind_of<UplinkKind, C>("https", "Servers that take records by HTTP: InfluxDB, ClickHouse, your own", shape);
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
