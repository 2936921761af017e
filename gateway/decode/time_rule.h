// How a route reads the times of its payloads, from its configuration.
#pragma once

#include "base/status.h"
#include "config/routes.h"
#include "decode/timestamps.h"

namespace millrace {

// `invalid` for a format, a zone or a limit that is none.
Result<TimeRule> time_rule_of(const RouteConfig& route);

}  // namespace millrace
