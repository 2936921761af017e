// Apart from serial_port.cpp: the kernel's own termios and the C library's cannot be in one file.
#include <asm/termbits.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "base/text.h"
#include "drivers/serial/serial_port.h"

namespace millrace {

Status set_any_speed(int fd, int baud) {
  termios2 port{};
  if (::ioctl(fd, TCGETS2, &port) != 0) return status_from_errno(errno, "read the speed");
  port.c_cflag &= ~static_cast<tcflag_t>(CBAUD | CBAUD << IBSHIFT);
  port.c_cflag |= static_cast<tcflag_t>(BOTHER | BOTHER << IBSHIFT);
  port.c_ispeed = port.c_ospeed = static_cast<speed_t>(baud);
  if (::ioctl(fd, TCSETS2, &port) != 0 || ::ioctl(fd, TCGETS2, &port) != 0)
    return status_from_errno(errno, text("set ", baud, " baud"));
  // An adapter takes what its clock can be divided to; a UART reads rightly up to 3 % off.
  const long off = std::labs(static_cast<long>(port.c_ospeed) - baud);
  if (off * 100 > baud * 3L) return {Code::invalid, text(baud, " baud: the adapter can do ", port.c_ospeed)};
  return {};
}

}  // namespace millrace
