// `check --online` of a bus: each device is polled once, and what each of its rows says is shown, with the
// time it took.
#pragma once

#include <vector>

#include "base/trial.h"
#include "drivers/modbus/modbus_config.h"

namespace millrace {

// Blocks. `beside`: a running daemon has the bus; nothing is tried.
void try_modbus_online(const ModbusInputConfig& config, bool beside, std::vector<Trial>& trials);

}  // namespace millrace
