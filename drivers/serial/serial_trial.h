// Asks a device once, for `check --online`: sends one request, and says what answers and how soon. Blocks,
// for the request's timeout at most.
#pragma once

#include <string>

#include "base/trial.h"
#include "drivers/serial/serial_config.h"
#include "drivers/serial/serial_port.h"

namespace millrace {

// The port, or a connection to the serial server that has it. Blocks, for ten seconds at most.
Result<SerialPort> open_place(const SerialInputConfig& config);

Trial ask_once(const SerialInputConfig& config, SerialPort& port, const std::string& request);

}  // namespace millrace
