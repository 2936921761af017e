#include "drivers/serial/serial_port.h"

#include <fcntl.h>
#include <linux/serial.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "base/text.h"

namespace millrace {
namespace {

speed_t speed_of(int baud) {
  static constexpr std::pair<int, speed_t> speeds[] = {
      {300, B300},         {600, B600},         {1200, B1200},      {2400, B2400},     {4800, B4800},
      {9600, B9600},       {19200, B19200},     {38400, B38400},    {57600, B57600},   {115200, B115200},
      {230400, B230400},   {460800, B460800},   {500000, B500000},  {576000, B576000}, {921600, B921600},
      {1000000, B1000000}, {1500000, B1500000}, {2000000, B2000000}};
  for (const auto& [number, speed] : speeds) {
    if (number == baud) return speed;
  }
  return B0;
}

tcflag_t character_of(const SerialInputConfig& config) {
  tcflag_t flags = CLOCAL | CREAD;
  flags |= config.data_bits == 7 ? CS7 : CS8;
  if (config.stop_bits == 2) flags |= CSTOPB;
  if (config.parity != "none") flags |= PARENB;
  if (config.parity == "odd") flags |= PARODD;
  if (config.flow_control) flags |= CRTSCTS;
  return flags;
}

Status set_up(int fd, const SerialInputConfig& config, bool marked) {
  termios port{};
  if (::tcgetattr(fd, &port) != 0) return status_from_errno(errno, config.device + " is not a serial port");
  ::cfmakeraw(&port);
  port.c_iflag &= ~static_cast<tcflag_t>(IGNBRK | IGNPAR | INPCK);
  if (marked) port.c_iflag |= PARMRK | (config.parity == "none" ? 0 : INPCK);
  port.c_cflag &= ~static_cast<tcflag_t>(CSIZE | CSTOPB | PARENB | PARODD | CRTSCTS);
  port.c_cflag |= character_of(config);
  port.c_cc[VMIN] = 1;
  port.c_cc[VTIME] = 0;
  const speed_t speed = speed_of(config.baud);
  if (speed != B0) {
    ::cfsetispeed(&port, speed);
    ::cfsetospeed(&port, speed);
  }
  if (::tcsetattr(fd, TCSANOW, &port) != 0) {
    if (errno != EINVAL) return status_from_errno(errno, "set up " + config.device);
    return {Code::invalid, text(config.device, " cannot do ", config.baud, " baud with ", config.data_bits,
                                " data bits, parity ", config.parity)};
  }
  return speed == B0 ? set_any_speed(fd, config.baud) : Status{};
}

// Which way an RS-485 transceiver looks is RTS' doing, and only the kernel is quick enough for it. Adapters
// that switch by themselves know nothing of this.
Status set_direction(int fd, const SerialInputConfig& config) {
  if (config.rs485 == "no") return {};
  serial_rs485 bus{};
  bus.flags =
      SER_RS485_ENABLED | (config.rs485 == "rts_high" ? SER_RS485_RTS_ON_SEND : SER_RS485_RTS_AFTER_SEND);
  const auto ms = [](Duration delay) {  // the kernel counts no finer, and too little cuts bits off
    return static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::milliseconds>(delay).count());
  };
  bus.delay_rts_before_send = ms(config.rs485_before);
  bus.delay_rts_after_send = ms(config.rs485_after);
  if (::ioctl(fd, TIOCSRS485, &bus) == 0) return {};
  return status_from_errno(
      errno, config.device +
                 " has no RS-485 direction control (an adapter that switches by itself needs no \"rs485\")");
}

// Both locks: the kernel's keeps out everybody but root, the other those who ask (as most terminal programs
// do).
Status claim(int fd, const std::string& device) {
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
    return errno == EWOULDBLOCK ? Status{Code::unavailable, device + " is in use by another program"}
                                : status_from_errno(errno, "lock " + device);
  if (::ioctl(fd, TIOCEXCL) == 0) return {};
  if (errno == ENOTTY) return {Code::unavailable, device + " is no serial port"};
  return status_from_errno(errno, "lock " + device);
}

}  // namespace

Result<SerialPort> open_serial_port(const SerialInputConfig& config) {
  SerialPort port{Fd(::open(config.device.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC))};
  const int fd = port.fd.get();
  if (!port.fd.valid()) {
    return errno == EBUSY ? Status{Code::unavailable, config.device + " is in use by another program"}
                          : status_from_errno(errno, "open " + config.device);
  }
  if (Status status = claim(fd, config.device); !status.ok()) return status;
  port.marked = line_errors(fd).has_value();
  if (Status status = set_up(fd, config, port.marked); !status.ok()) return status;
  if (Status status = set_direction(fd, config); !status.ok()) return status;
  return port;
}

Status change_speed(const SerialPort& port, SerialInputConfig config, int baud) {
  config.baud = baud;
  return set_up(port.fd.get(), config, port.marked);
}

std::optional<ModemLines> modem_lines(int fd) {
  int bits = 0;
  if (::ioctl(fd, TIOCMGET, &bits) != 0) return std::nullopt;
  return ModemLines{(bits & TIOCM_CTS) != 0, (bits & TIOCM_DSR) != 0, (bits & TIOCM_CAR) != 0,
                    (bits & TIOCM_RNG) != 0};
}

std::size_t bytes_waiting(int fd) {
  int bytes = 0;
  return ::ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}

std::optional<LineErrors> line_errors(int fd) {
  serial_icounter_struct counts{};
  if (::ioctl(fd, TIOCGICOUNT, &counts) != 0) return std::nullopt;
  const auto of = [](int count) { return static_cast<std::uint64_t>(static_cast<unsigned>(count)); };
  return LineErrors{of(counts.frame), of(counts.parity), of(counts.overrun) + of(counts.buf_overrun),
                    of(counts.brk)};
}

}  // namespace millrace
