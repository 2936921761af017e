// Wired M-Bus (EN 13757-3): the variable data structure of a meter's answer, from the control field on, to readings with names
// and units: energy, volume, power, flow, temperatures, times. Values of other tariffs, units and storages carry them in their
// names, and those that are a maximum or a minimum say so.
#pragma once

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_mbus_format(const RouteConfig& route, const TopicPattern& pattern);

}  // namespace millrace
