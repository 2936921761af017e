// What the kinds of a configuration's inputs and uplinks make of it, together.
#pragma once

#include <vector>

#include "ingest/input_kind.h"
#include "uplink/uplink_kind.h"

namespace millrace {

// Of those whose keys have no errors.
std::vector<InputPlan> plan_inputs(const Config& config);
std::vector<UplinkPlan> plan_uplinks(const Config& config);

// Those of the kinds that are built, whether or not they are configured.
std::vector<std::unique_ptr<Keeper>> make_keepers(const SouthParts& parts, Duration keep_max);

// Adds to `loaded.errors` what only the whole can show: routes that compile, a subscription that would hear
// our own uplink, what only one can have and two want. What has errors already is left out of it.
void check_whole(LoadedConfig& loaded);

// Tries everything against the world; blocks.
std::vector<Trial> try_online(const Config& config, bool beside);

}  // namespace millrace
