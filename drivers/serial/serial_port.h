// Opens a tty raw: no echo, no line discipline, the given speed and framing (termios(3)). Non-blocking, not
// the controlling terminal, exclusive. Where the driver of the adapter counts errors of the line, bytes that
// were received wrongly are marked (PARMRK), for LineMarks to read.
#pragma once

#include <cstdint>
#include <optional>

#include "base/files.h"
#include "drivers/serial/serial_config.h"

namespace millrace {

struct SerialPort {
  Fd fd;
  bool marked = false;  // what is read has marks
};
Result<SerialPort> open_serial_port(const SerialInputConfig& config);

// Another speed for a port that is open.
Status change_speed(const SerialPort& port, SerialInputConfig config, int baud);

// What the adapter's driver has counted since it was plugged in (TIOCGICOUNT). Nothing: it does not count.
struct LineErrors {
  std::uint64_t framing = 0, parity = 0, overrun = 0, breaks = 0;
};
std::optional<LineErrors> line_errors(int fd);

// What the other side's modem lines are (TIOCMGET). Nothing: there are none, or nobody can tell.
struct ModemLines {
  bool cts = false, dsr = false, dcd = false, ri = false;
};
std::optional<ModemLines> modem_lines(int fd);

// What the kernel keeps and nobody has read yet.
std::size_t bytes_waiting(int fd);

// Sets a speed that termios has no name for (termios2, BOTHER). Error text, or empty.
Status set_any_speed(int fd, int baud);

}  // namespace millrace
