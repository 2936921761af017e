// inputs.mqtt_endpoint: devices publish straight to us.
#include "base/host_port.h"
#include "drivers/mqtt_endpoint/mqtt_endpoint.h"
#include "drivers/mqtt_endpoint/users_file.h"
#include "plugin.h"
#include "plugins/check_route.h"
#include "plugins/fingerprint.h"
#include "loop/uv_loop.h"

namespace millrace {
namespace {

bool on_loopback(const std::string& listen) { return listen.starts_with("127.") || listen.starts_with("[::1]"); }

InputPlan plan_of(const EndpointConfig& c) {
  InputPlan plan;
  plan.name = c.name;
  plan.fingerprint = Fingerprint(c.listen, c.anonymous, c.users_file, c.tls, c.client_certificates, c.ack_interval, c.receive_maximum, c.packet_max,
                                 c.connections_max, c.sessions_max, c.connect_rate, c.connect_timeout, c.keep_alive_max, c.session_expiry_max,
                                 c.refuse_when_full, c.liveness, c.acl, c.routes).take();
  plan.claims = {"listen " + c.listen};
  plan.listens = true;
  plan.routes = c.routes;
  if (!c.users_file.empty()) {
    plan.needs.push_back({NeededFile::Kind::users, "users_file", c.users_file, [path = c.users_file] { return look_at_users(path); }});
  }
  need_tls(plan.needs, c.tls);
  plan.make = [c](const SouthParts& parts) -> std::unique_ptr<Driver> {
    return std::make_unique<MqttEndpoint>(parts.loop, parts.rng, parts.intake, parts.trust, parts.metrics, parts.shares, c, parts.state_dir);
  };
  return plan;
}

std::vector<InputPlan> inputs(const Config& config) {
  std::vector<InputPlan> plans;
  for (const auto& input : config.endpoints) plans.push_back(plan_of(input));
  return plans;
}

void check(LoadedConfig& loaded) {
  for (const auto& input : loaded.config.endpoints) {
    for (const RouteConfig& route : input.routes) check_route(loaded, input.name, route);
    const auto warn = [&](const std::string& key, const std::string& what) { loaded.warnings.push_back(about_key(loaded, "input", input.name, key, what)); };
    if (input.anonymous && !on_loopback(input.listen)) {
      warn("anonymous", text("everybody who reaches ", input.listen, " can connect", input.acl.empty() ? " and publish anything" : "",
                             "; give devices users_file or client_certificates, or listen on 127.0.0.1"));
    }
    // What the whole file means is looked at where it is needed; a line of it that is none keeps nobody else out.
    const auto users = input.users_file.empty() ? Result<Users>(Users{}) : read_users_file(input.users_file);
    if (!users.ok() || users.value().hashes.empty()) continue;
    for (const std::string& fault : users.value().faults) warn("users_file", fault);
  }
}

void try_online(const Config& config, bool beside, std::vector<Trial>& trials) {
  for (const auto& input : config.endpoints) {
    const std::string what = text("input ", input.name, ": listening on ", input.listen);
    if (beside) {
      trials.push_back({Trial::State::unsure, what, "not tried: the running daemon holds it"});
      continue;
    }
    UvLoop loop;
    const auto listener = loop.listen(input.listen, [](std::unique_ptr<Stream>) {});
    if (listener.ok()) trials.push_back({Trial::State::good, what, "the port is free"});
    else trials.push_back({Trial::State::bad, what, listener.status().detail()});
    if (!input.tls.enabled) continue;
    TlsServerOptions options;
    options.cert = input.tls.cert;
    options.key = input.tls.key;
    options.client_ca = input.tls.ca;
    const auto server = TlsServer::make(loop, options);
    if (server.ok()) trials.push_back({Trial::State::good, text("input ", input.name, ": TLS"), "certificate and key are there and belong together"});
    else trials.push_back({Trial::State::bad, text("input ", input.name, ": TLS"), server.status().detail()});
  }
}

}  // namespace

extern const Plugin mqtt_endpoint_input_plugin;
const Plugin mqtt_endpoint_input_plugin{"inputs.mqtt_endpoint", inputs, nullptr, check, try_online};

}  // namespace millrace
