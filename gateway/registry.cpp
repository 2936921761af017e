#include "registry.h"

#include <algorithm>
#include <map>

#include "base/text.h"
#include "base/topic_filter.h"
#include "decode/router.h"
#include "kinds.h"
#include "otlp_push.h"
#include "uplink/standby_check.h"

namespace millrace {
namespace {

const InputKind& kind_of_input(const PartConfig& part) { return static_cast<const InputKind&>(*part.kind); }
const UplinkKind& kind_of_uplink(const PartConfig& part) {
  return static_cast<const UplinkKind&>(*part.kind);
}

void check_routes(const InputPlan& plan, LoadedConfig& loaded) {
  for (const RouteConfig& route : plan.routes) {
    if (auto router = Router::make({route}); !router.ok()) {
      loaded.errors.push_back({route.line, 1, text("input \"", plan.name, "\": ", router.status().detail())});
    }
  }
}

bool share(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::ranges::any_of(a,
                             [&b](const std::string& one) { return std::ranges::find(b, one) != b.end(); });
}

// What would come back as a reading of its own, and again.
void check_echo(const InputPlan& input, const UplinkPlan& uplink, LoadedConfig& loaded) {
  if (!share(input.servers, uplink.servers)) return;
  for (const std::string& filter : input.filters) {
    for (const std::string& topic : uplink.topics) {
      if (!filter_matches(topics_of_subscription(filter), topic)) continue;
      const int line = input.routes.empty() ? 0 : input.routes.front().line;
      loaded.errors.push_back(
          {line, 1,
           text("input \"", input.name, "\" would hear what uplink \"", uplink.name, "\" sends: \"", filter,
                "\" matches \"", topic, "\" on the same broker")});
    }
  }
}

// "listen HOST:PORT", where every address of the machine is one host: it takes the port from all others;
// 0.0.0.0 from those of IPv4.
std::string_view port_of(std::string_view claim) { return claim.substr(claim.rfind(':') + 1); }
bool takes_from(std::string_view claim, std::string_view other) {
  return claim.starts_with("listen [::]:") ||
         (claim.starts_with("listen 0.0.0.0:") && !other.starts_with("listen ["));
}

// Who has it already, or the port that is part of it; empty: nobody.
std::string owner_of(const std::string& claim, const std::map<std::string, std::string>& owners) {
  if (const auto same = owners.find(claim); same != owners.end()) return same->second;
  if (!claim.starts_with("listen ")) return {};
  for (const auto& [other, owner] : owners) {
    if (other.starts_with("listen ") && port_of(other) == port_of(claim) &&
        (takes_from(other, claim) || takes_from(claim, other)))
      return owner;
  }
  return {};
}

// What only one at a time can have: a port, a client identifier at a broker, a tty.
template <typename Plan>
void check_claims(const std::vector<Plan>& plans, const std::string& side,
                  std::map<std::string, std::string>& owners, LoadedConfig& loaded) {
  for (const Plan& plan : plans) {
    const std::string who = text(side, " \"", plan.name, "\"");
    for (const std::string& claim : plan.claims) {
      if (claim.starts_with("listen ") && claim.ends_with(":0")) continue;  // any port that is free
      const std::string owner = owner_of(claim, owners);
      if (owner.empty()) owners.emplace(claim, who);
      else if (owner != who)
        loaded.fail(plan.config, "", text(who, ": \"", claim, "\" can be had once, and ", owner, " has it"));
    }
  }
}

// Who is there, and cannot be looked at.
bool has_errors(const std::vector<PartConfig>& parts, const std::string& name) {
  return std::ranges::any_of(parts, [&](const PartConfig& part) { return part.name == name && !part.sound; });
}

}  // namespace

std::vector<InputPlan> plan_inputs(const Config& config) {
  std::vector<InputPlan> plans;
  for (const PartConfig& part : config.inputs) {
    if (!part.sound) continue;
    InputPlan& plan = plans.emplace_back(kind_of_input(part).plan(part.values.get()));
    plan.name = part.name;
    plan.config = part;
  }
  return plans;
}

std::vector<UplinkPlan> plan_uplinks(const Config& config) {
  std::vector<UplinkPlan> plans;
  for (const PartConfig& part : config.uplinks) {
    if (!part.sound) continue;
    UplinkPlan& plan = plans.emplace_back(kind_of_uplink(part).plan(part.values.get(), config.gateway.name));
    plan.name = part.name;
    plan.config = part;
  }
  return plans;
}

std::vector<std::unique_ptr<Keeper>> make_keepers(const SouthParts& parts, Duration keep_max) {
  std::vector<std::unique_ptr<Keeper>> keepers;
  for (const PartKind* kind : built_kinds().inputs) {
    if (const auto keeper = static_cast<const InputKind*>(kind)->keeper)
      keepers.push_back(keeper(parts, keep_max));
  }
  return keepers;
}

void check_whole(LoadedConfig& loaded) {
  const Config& config = loaded.config;
  for (const PartConfig& part : config.inputs) {
    const auto check = kind_of_input(part).check;
    if (check && part.sound) check(part.values.get(), part, loaded);
  }
  for (const PartConfig& part : config.uplinks) {
    const auto check = kind_of_uplink(part).check;
    if (check && part.sound) check(part.values.get(), part, loaded);
  }
  const auto uplinks = plan_uplinks(config);
  const auto inputs = plan_inputs(config);
  for (const UplinkPlan& uplink : uplinks) {
    if (!has_errors(config.uplinks, uplink.shipper.standby_of)) check_standby(uplink, uplinks, loaded);
  }
  for (const InputPlan& input : inputs) {
    check_routes(input, loaded);
    for (const UplinkPlan& uplink : uplinks) check_echo(input, uplink, loaded);
  }
  std::map<std::string, std::string> owners;
  if (!config.observe.listen.empty()) owners.emplace("listen " + config.observe.listen, "observe");
  check_claims(inputs, "input", owners, loaded);
  check_claims(uplinks, "uplink", owners, loaded);
  std::ranges::stable_sort(loaded.errors, {}, &ConfigError::line);
}

std::vector<Trial> try_online(const Config& config, bool beside) {
  std::vector<Trial> trials;
  for (const PartConfig& part : config.inputs) {
    if (const auto attempt = kind_of_input(part).try_online) attempt(part.values.get(), beside, trials);
  }
  for (const PartConfig& part : config.uplinks) {
    if (const auto attempt = kind_of_uplink(part).try_online)
      attempt(part.values.get(), config.gateway.name, beside, trials);
  }
  if (config.observe.otlp.given()) trials.push_back(try_otlp(config.observe.otlp));
  return trials;
}

}  // namespace millrace
