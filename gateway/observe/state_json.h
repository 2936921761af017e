// A gateway's state and its faults as JSON: what `millrace status --json` prints, and what pages and `top`
// are made of. Members are added, never taken away.
#pragma once

#include <string>
#include <vector>

#include "observe/faults.h"
#include "observe/gateway_state.h"

namespace millrace {

std::string state_json(const GatewayState& state, const std::vector<Fault>& faults);

}  // namespace millrace
