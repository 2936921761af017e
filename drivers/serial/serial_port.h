// Opens a tty raw: no echo, no line discipline, the given speed and framing (termios(3)). Non-blocking, not the controlling
// terminal, exclusive.
#pragma once

#include "base/files.h"
#include "drivers/serial/serial_config.h"

namespace millrace {

// Whether termios knows this speed.
bool known_baud(int baud);
Result<Fd> open_serial_port(const SerialInputConfig& config);

}  // namespace millrace
