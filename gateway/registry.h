// What the kinds of a configuration's inputs and uplinks make of it, together.
#pragma once

#include <vector>

#include "ingest/input_kind.h"
#include "uplink/uplink_kind.h"

namespace millrace {

std::vector<InputPlan> plan_inputs(const Config& config);
std::vector<UplinkPlan> plan_uplinks(const Config& config);

// Adds to `loaded.errors` what only the whole can show: routes that compile, a subscription that would hear
// our own uplink.
void check_whole(LoadedConfig& loaded);

// Tries everything against the world; blocks.
std::vector<Trial> try_online(const Config& config, bool beside);

}  // namespace millrace
