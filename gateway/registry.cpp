#include "registry.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {
namespace {

// A name that changes its kind is another part, whatever its values say.
template <typename Plan>
void add(std::vector<Plan>& plans, std::vector<Plan> of_kind, std::string_view kind) {
  for (Plan& plan : of_kind) {
    plan.fingerprint.insert(0, text(kind, " "));
    plans.push_back(std::move(plan));
  }
}

}  // namespace

std::vector<InputPlan> plan_inputs(const Config& config) {
  std::vector<InputPlan> plans;
  for (const Plugin* plugin : built_plugins()) {
    if (plugin->inputs) add(plans, plugin->inputs(config), plugin->name);
  }
  return plans;
}

std::vector<UplinkPlan> plan_uplinks(const Config& config) {
  std::vector<UplinkPlan> plans;
  for (const Plugin* plugin : built_plugins()) {
    if (plugin->uplinks) add(plans, plugin->uplinks(config), plugin->name);
  }
  return plans;
}

void check_whole(LoadedConfig& loaded) {
  for (const Plugin* plugin : built_plugins()) {
    if (plugin->check) plugin->check(loaded);
  }
  for (const auto& [name, line] : loaded.kinds) {
    if (std::ranges::none_of(built_plugins(), [&name = name](const Plugin* plugin) { return plugin->name == name; })) {
      loaded.errors.push_back({line, 1, text("this millrace was built without [[", name, "]] (`millrace version` says what is in it; the full profile has everything)")});
    }
  }
  std::ranges::stable_sort(loaded.errors, {}, &ConfigError::line);
}

std::vector<Trial> try_online(const Config& config, bool beside) {
  std::vector<Trial> trials;
  for (const Plugin* plugin : built_plugins()) {
    if (plugin->try_online) plugin->try_online(config, beside, trials);
  }
  return trials;
}

}  // namespace millrace
