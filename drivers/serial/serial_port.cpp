#include "drivers/serial/serial_port.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/text.h"

namespace millrace {
namespace {

std::optional<speed_t> speed_of(int baud) {
  static constexpr std::pair<int, speed_t> speeds[] = {
      {300, B300},       {600, B600},       {1200, B1200},     {2400, B2400},     {4800, B4800},     {9600, B9600},
      {19200, B19200},   {38400, B38400},   {57600, B57600},   {115200, B115200}, {230400, B230400}, {460800, B460800},
      {500000, B500000}, {576000, B576000}, {921600, B921600}, {1000000, B1000000}, {1500000, B1500000}, {2000000, B2000000}};
  for (const auto& [number, speed] : speeds) {
    if (number == baud) return speed;
  }
  return std::nullopt;
}

}  // namespace

bool known_baud(int baud) { return speed_of(baud).has_value(); }

Result<Fd> open_serial_port(const SerialInputConfig& config) {
  Fd fd(::open(config.device.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return status_from_errno(errno, "open " + config.device);
  termios port{};
  if (::tcgetattr(fd.get(), &port) != 0) return status_from_errno(errno, config.device + " is not a serial port");
  ::cfmakeraw(&port);
  port.c_cflag |= CLOCAL | CREAD;
  port.c_cflag &= ~static_cast<tcflag_t>(CSIZE | CSTOPB | PARENB | PARODD | CRTSCTS);
  port.c_cflag |= config.data_bits == 7 ? CS7 : CS8;
  if (config.stop_bits == 2) port.c_cflag |= CSTOPB;
  if (config.parity != "none") port.c_cflag |= PARENB;
  if (config.parity == "odd") port.c_cflag |= PARODD;
  port.c_cc[VMIN] = 1;
  port.c_cc[VTIME] = 0;
  const auto speed = speed_of(config.baud);
  if (!speed) return Status{Code::invalid, text(config.baud, " baud is not a standard speed")};
  ::cfsetispeed(&port, *speed);
  ::cfsetospeed(&port, *speed);
  if (::tcsetattr(fd.get(), TCSANOW, &port) != 0) return status_from_errno(errno, "set up " + config.device);
  if (::ioctl(fd.get(), TIOCEXCL) != 0) return status_from_errno(errno, "lock " + config.device);
  return fd;
}

}  // namespace millrace
