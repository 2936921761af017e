// inputs.mqtt_endpoint: devices publish straight to us.
#include <algorithm>
#include <set>

#include "base/filter_overlap.h"
#include "base/text.h"
#include "base/topic_filter.h"
#include "config/network_keys.h"
#include "decode/router.h"
#include "drivers/mqtt_endpoint/endpoint_config.h"
#include "drivers/mqtt_endpoint/left_sessions.h"
#include "drivers/mqtt_endpoint/left_tickets.h"
#include "drivers/mqtt_endpoint/mqtt_endpoint.h"
#include "drivers/mqtt_endpoint/users_file.h"
#include "ingest/input_kind.h"
#include "loop/uv_loop.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using A = AclConfig;
using C = EndpointConfig;
using K = KeysOf<C>;
constexpr Duration day = 24h;

constexpr Key acl_keys[] = {
    KeysOf<A>::key<&A::users>("users",
                              "Patterns with *; each list that is given must fit. \"*\": whoever has a name")
        .like("[\"line-*\"]"),
    KeysOf<A>::key<&A::clients>("clients", "Client identifiers; {username} and {subject} can be used")
        .like("[\"press-*\"]"),
    KeysOf<A>::key<&A::subjects>("subjects", "Common names of client certificates").like("[\"line-*\"]"),
    KeysOf<A>::key<&A::publish>("publish", "{username}, {client_id} and {subject} are the publisher's own")
        .required()
        .like("[\"plant/{client_id}/#\"]"),
};

// The names of the publisher that an access list may speak of stand in for one character each while it is
// judged.
std::string without_names(std::string pattern, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    for (std::size_t at = 0; (at = pattern.find(name, at)) != std::string::npos;)
      pattern.replace(at, name.size(), "x");
  }
  return pattern;
}

// A word in braces, that a client identifier made of braces (a GUID's) does not look like.
bool has_word_in_braces(std::string_view pattern) {
  for (std::size_t at = 0; (at = pattern.find('{', at)) != std::string_view::npos; ++at) {
    if (at > 0 && pattern[at - 1] == '\\') continue;
    const std::size_t end = pattern.find_first_not_of("abcdefghijklmnopqrstuvwxyz_", at + 1);
    if (end != std::string_view::npos && end > at + 1 && pattern[end] == '}') return true;
  }
  return false;
}

void settle_acl(Section& section, AclConfig& acl) {
  for (const auto& [key, patterns] : {std::pair{"users", &acl.users}, std::pair{"clients", &acl.clients},
                                      std::pair{"subjects", &acl.subjects}}) {
    if (std::ranges::any_of(*patterns, &std::string::empty))
      section.error(key, "an empty pattern fits nobody; leave the list away where anybody is meant");
    const bool of_clients = patterns == &acl.clients;
    for (const std::string& pattern : *patterns) {
      if (has_word_in_braces(of_clients ? without_names(pattern, {"{username}", "{subject}"}) : pattern))
        section.error(
            key, text("\"", pattern,
                      "\": ", of_clients ? "known are {username} and {subject}" : "no name can be used here",
                      "; as it stands it fits nobody"));
    }
  }
  for (const std::string& filter : acl.publish) {
    const std::string bare = without_names(filter, {"{username}", "{client_id}", "{subject}"});
    if (Status status = check_topic_filter(bare); !status.ok())
      section.error("publish", text(bare == filter ? "" : text("\"", filter, "\": "), status.detail()));
    else if (bare.find_first_of("{}") != std::string::npos)
      section.error("publish", text("\"", filter, "\": known are {username}, {client_id} and {subject}"));
  }
}
constexpr Shape acl_shape = shape_of<A, settle_acl>(acl_keys);

std::string& tls_cert(C& c) { return c.tls.cert; }
SecretRef& tls_key(C& c) { return c.tls.key; }
std::string& tls_ca(C& c) { return c.tls.ca; }

constexpr Key keys[] = {
    K::key<&C::name>("name", "").required().names().like("\"devices\""),
    K::key<&C::listen>("listen", "Or an address of the device network; \"[::]:8883\"").said_first(),
    K::key<&C::anonymous>("anonymous",
                          "Whoever reaches the port may publish; else users or certificates are needed")
        .like("true")
        .said_first(),
    K::key<&C::users_file>("users_file",
                           "Made by `millrace passwd`; mosquitto_passwd's files (2.0) can be used too")
        .like("\"/etc/millrace/users\""),
    K::key<tls_cert>("tls_cert", "Ours, with the chain; picked up when it changes")
        .like("\"/etc/millrace/server.pem\""),
    K::key<tls_key>("tls_key_file", "Its key").like("\"/etc/millrace/server.key\""),
    K::key<tls_ca>("tls_ca", "Whom client certificates come from").like("\"/etc/millrace/devices-ca.pem\""),
    K::choice<&C::client_certificates>("client_certificates", "none|optional|required", ""),
    K::key<&C::ack_interval>("ack_interval",
                             "How long an acknowledgement may wait for company in the same commit")
        .within(1ms, 10s),
    K::key<&C::receive_maximum>("receive_maximum",
                                "Unacknowledged messages of a device; less is announced while room is short")
        .within(1, 10'000),
    K::size<&C::packet_max>("packet_max", "").within(128, 1 << 20),
    K::key<&C::connections_max>("connections_max",
                                "Less where LimitNOFILE leaves fewer descriptors; `millrace check` says so")
        .within(1, 100'000),
    K::key<&C::connect_rate>("connect_rate", "New connections a second; the others wait, hosts take turns")
        .within(1, 100'000),
    K::key<&C::connect_timeout>("connect_timeout", "To say the first byte, and then CONNECT")
        .within(1s, 5min),
    K::key<&C::keep_alive_max>("keep_alive_max",
                               "MQTT 5 devices that ask for more, or for none, are told this")
        .within(1s, 18h),
    K::key<&C::session_expiry_max>("session_expiry_max",
                                   "How long a device's session is kept while it is away")
        .within(0s, 365 * day),
    K::key<&C::sessions_max>("sessions_max",
                             "Or what a quarter of log.max_size has room for, beside the windows")
        .within(0, 1'000'000),
    K::choice<&C::refuse_when_full>(
        "when_full", "pause|refuse",
        "A full log stops reading; or MQTT 5 devices are told \"quota exceeded\""),
    K::key<&C::liveness>("liveness", "Connects and disconnects become events in the alarm lane"),
    K::tables<&C::acl>("acl", acl_shape, "Without one, whoever is let in may publish anywhere"),
    K::tables<&C::routes>("routes", published_route_shape, "").said_first(),
};

constexpr std::size_t sessions_open = SIZE_MAX, sessions_max_default = 10'000;
// A session in the log at its largest: a bit for each identifier that can be held (a client of 3.1.1 is told
// no maximum), 1,024 digests remembered, and the names.
constexpr std::uint64_t session_state_bytes = 8192 + 2048 + 512 + will_state_bytes;

// An access list can only speak of names that somebody has.
void check_names(std::vector<Section> entries, const EndpointConfig& c) {
  for (std::size_t i = 0; i < std::min(entries.size(), c.acl.size()); ++i) {
    if (!c.acl[i].users.empty() && c.users_file.empty())
      entries[i].error("users", "there are no users without users_file");
    if (!c.acl[i].subjects.empty() && c.client_certificates == "none")
      entries[i].error("subjects", "there are no subjects without client_certificates");
    for (const auto& [key, patterns] :
         {std::pair{"clients", &c.acl[i].clients}, std::pair{"publish", &c.acl[i].publish}}) {
      const auto uses = [&patterns = *patterns](const char* name) {
        return std::ranges::any_of(
            patterns, [name](const std::string& pattern) { return pattern.find(name) != std::string::npos; });
      };
      if (uses("{username}") && c.users_file.empty())
        entries[i].error(key, "{username} stands for nobody: there are no users without users_file");
      if (uses("{subject}") && c.client_certificates == "none")
        entries[i].error(key,
                         "{subject} stands for nobody: there are no subjects without client_certificates");
    }
  }
}

// Whoever may publish only where no route takes it has nothing but dead letters; a route that nobody may
// publish to has nothing.
void check_reach(const EndpointConfig& c, LoadedConfig& loaded) {
  const auto router = Router::make(c.routes);
  if (c.acl.empty() || !router.ok()) return;
  const std::vector<std::string> routes = router.value().filters();
  std::set<std::string> reached;
  for (const AclConfig& entry : c.acl) {
    bool any = false;
    for (std::string filter : entry.publish) {
      for (const std::string_view name : {"{username}", "{client_id}", "{subject}"}) {
        for (std::size_t at = 0; (at = filter.find(name, at)) != std::string::npos;) {
          // A name may fill a level, or a part of it.
          const std::size_t slash = filter.rfind('/', at), from = slash == std::string::npos ? 0 : slash + 1;
          filter.replace(from, std::min(filter.find('/', at), filter.size()) - from, "+");
          at = from;
        }
      }
      for (const std::string& route : routes) {
        if (!filters_meet(filter, route)) continue;
        any = true;
        reached.insert(route);
      }
    }
    if (!any && !entry.publish.empty())
      loaded.warnings.push_back(
          about_key(loaded, "input", c.name, "acl",
                    text("no route takes what an [[acl]] lets publish (\"", entry.publish.front(),
                         "\"): all of it becomes dead letters")));
  }
  for (const std::string& route : routes) {
    if (!reached.contains(route))
      loaded.warnings.push_back(
          about_key(loaded, "input", c.name, "acl",
                    text("no [[acl]] lets anybody publish to the route \"", route, "\"")));
  }
}

void settle(Section& section, EndpointConfig& c) {
  check_listen(section, c.listen);
  c.tls.enabled = !c.tls.cert.empty();
  check_key_pair(section, c.tls);
  if (c.client_certificates != "none" && (!c.tls.enabled || c.tls.ca.empty())) {
    section.error("client_certificates",
                  "client certificates need tls_cert, tls_key_file, and in tls_ca whom they come from");
  }
  if (!c.anonymous && c.users_file.empty() && c.client_certificates != "required") {
    section.error(
        "nobody can connect: give users_file (made by `millrace passwd`), or client_certificates = "
        "\"required\", or say anonymous = true");
  }
  if (!section.has("sessions_max")) c.sessions_max = sessions_open;
  if (!c.acl.empty()) check_names(section.tables("acl"), c);
  if (c.routes.empty()) section.error("an input needs at least one [[inputs.mqtt_endpoint.routes]]");
}
constexpr Shape shape = shape_of<C, settle>(keys);

StateWish state(const EndpointConfig& c) {
  if (c.sessions_max == sessions_open) return {.bytes = 0, .words = {}, .open = true};
  const std::uint64_t bytes = c.sessions_max * session_state_bytes;
  return {bytes,
          text("sessions_max = ", c.sessions_max, " is up to ", format_size(static_cast<double>(bytes)),
               " of sessions"),
          false};
}

void give_state(EndpointConfig& c, std::uint64_t bytes) {
  c.sessions_max = std::clamp<std::uint64_t>(bytes / session_state_bytes, 1, sessions_max_default);
}

std::size_t devices(const EndpointConfig& c) { return c.connections_max; }

bool on_loopback(const std::string& listen) {
  return listen.starts_with("127.") || listen.starts_with("[::1]");
}

InputPlan plan_of(const EndpointConfig& c) {
  InputPlan plan;
  plan.claims = {"listen " + c.listen};
  if (c.tls.enabled) plan.claims.push_back(LeftTickets::claim(c.name));
  plan.listens = true;
  plan.routes = c.routes;
  if (!c.users_file.empty()) {
    plan.needs.push_back({NeededFile::Kind::users, "users_file", c.users_file,
                          [path = c.users_file] { return look_at_users(path); }});
  }
  need_tls(plan.needs, c.tls);
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<MqttEndpoint>(parts.loop, parts.rng, parts.intake, parts.trust, parts.metrics,
                                          parts.shares, c, parts.state_dir, parts.passed_us);
  };
  return plan;
}

void check(const EndpointConfig& c, const PartConfig&, LoadedConfig& loaded) {
  const auto warn = [&](const std::string& key, const std::string& what) {
    loaded.warnings.push_back(about_key(loaded, "input", c.name, key, what));
  };
  if (c.anonymous && !on_loopback(c.listen)) {
    warn("anonymous", text("everybody who reaches ", c.listen, " can connect",
                           c.acl.empty() ? " and publish anything" : "",
                           "; give devices users_file or client_certificates, or listen on 127.0.0.1"));
  }
  if (c.client_certificates == "none" && !c.tls.ca.empty())
    warn("tls_ca",
         "nobody is asked for a certificate: that is client_certificates = \"required\", or \"optional\"");
  if (c.sessions_max == 0 && c.session_expiry_max != C{}.session_expiry_max)
    warn("session_expiry_max", "it does nothing: sessions_max = 0 keeps no session");
  check_reach(c, loaded);
  // What the whole file means is looked at where it is needed; a line of it that is none keeps nobody else
  // out.
  const auto users = c.users_file.empty() ? Result<Users>(Users{}) : read_users_file(c.users_file);
  if (!users.ok() || users.value().hashes.empty()) return;
  for (const std::string& fault : users.value().faults) warn("users_file", fault);
}

void try_online(const EndpointConfig& c, bool beside, std::vector<Trial>& trials) {
  const std::string what = text("input ", c.name, ": listening on ", c.listen);
  if (beside) return trials.push_back({Trial::State::unsure, what, "not tried: the running daemon holds it"});
  UvLoop loop;
  const auto listener = loop.listen(c.listen, [](std::unique_ptr<Stream>) {});
  if (listener.ok()) trials.push_back({Trial::State::good, what, "the port is free"});
  else trials.push_back({Trial::State::bad, what, listener.status().detail()});
  if (!c.tls.enabled) return;
  TlsServerOptions options;
  options.cert = c.tls.cert;
  options.key = c.tls.key;
  options.client_ca = c.tls.ca;
  const auto server = TlsServer::make(loop, options);
  if (server.ok())
    trials.push_back({Trial::State::good, text("input ", c.name, ": TLS"),
                      "certificate and key are there and belong together"});
  else trials.push_back({Trial::State::bad, text("input ", c.name, ": TLS"), server.status().detail()});
}

class EndpointKeeper final : public Keeper {
 public:
  EndpointKeeper(const SouthParts& parts, Duration keep_max)
      : sessions_(parts.intake, parts.passed_us, keep_max), tickets_(parts.state_dir) {}
  void look(const Present& present) override {
    sessions_.look(present);
    tickets_.look(present);
  }
  const std::map<std::string, Kept>& kept() const override { return sessions_.kept(); }

 private:
  LeftSessions sessions_;
  LeftTickets tickets_;
};

std::unique_ptr<Keeper> keeper(const SouthParts& parts, Duration keep_max) {
  return std::make_unique<EndpointKeeper>(parts, keep_max);
}

constexpr InputKind make_kind() {
  InputKind kind = kind_of<InputKind, C>(
      "mqtt_endpoint",
      "Devices publish straight to the gateway, MQTT 3.1, 3.1.1 and 5; acknowledged = fsynced. As it stands, "
      "from this machine only",
      shape);
  kind.descriptors = 6;  // its listener; certificates, key and users being read
  kind.devices = typed<devices>;
  kind.state = typed<state>;
  kind.give_state = typed<give_state>;
  kind.first = true;
  kind.plan = typed<plan_of>;
  kind.check = typed<check>;
  kind.try_online = typed<try_online>;
  kind.keeper = keeper;
  return kind;
}

}  // namespace

extern const InputKind mqtt_endpoint_input_kind;
const InputKind mqtt_endpoint_input_kind = make_kind();

}  // namespace millrace
