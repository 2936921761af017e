// What a gateway tells the centre of itself, so that a fleet is seen without being scraped: a flat JSON
// object, the value of an event "health" in the alarm lane (gateway.health_interval). Flat, and its members
// are for ever: SQL of any database reads it (packaging/consumers/fleet_*.sql). Spans are whole seconds,
// sizes bytes; some 400 bytes. Pure.
#pragma once

#include <string>
#include <vector>

#include "observe/faults.h"
#include "observe/gateway_state.h"

namespace millrace {

std::string health_json(const GatewayState& state, const std::vector<Fault>& faults, Duration interval);

}  // namespace millrace
