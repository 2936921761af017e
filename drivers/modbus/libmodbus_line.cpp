#include "drivers/modbus/libmodbus_line.h"

#include <fcntl.h>
#include <linux/serial.h>
#include <modbus.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/host_port.h"
#include "base/text.h"
#include "net/resolver.h"

namespace millrace {
namespace {

constexpr std::uint16_t modbus_port = 502;
constexpr Duration slice = std::chrono::milliseconds(100);  // of waiting that can be stopped

int ms_up(Duration d) {
  return static_cast<int>(std::clamp<std::int64_t>((d.count() + 999'999) / 1'000'000, 0, 3'600'000));
}

// Whether there is something to read, or the line is gone. Shorter than a millisecond where it must be.
bool readable(int fd, Duration for_how_long) {
  pollfd one{fd, POLLIN, 0};
  const timespec wait{static_cast<time_t>(for_how_long.count() / 1'000'000'000),
                      static_cast<long>(for_how_long.count() % 1'000'000'000)};
  return ::ppoll(&one, 1, &wait, nullptr) > 0;
}

Status enable_rs485(int fd, const Rs485Config& config, const std::string& device) {
  if (!config.enabled) return {};
  serial_rs485 rs485{};
  rs485.flags = SER_RS485_ENABLED;
  if (config.rts_on_send) rs485.flags |= SER_RS485_RTS_ON_SEND;
  if (config.rts_after_send) rs485.flags |= SER_RS485_RTS_AFTER_SEND;
  if (config.receive_own) rs485.flags |= SER_RS485_RX_DURING_TX;
  rs485.delay_rts_before_send = static_cast<std::uint32_t>(config.delay_before_ms);
  rs485.delay_rts_after_send = static_cast<std::uint32_t>(config.delay_after_ms);
  if (::ioctl(fd, TIOCSRS485, &rs485) == 0) return {};
  return status_from_errno(
      errno,
      text("RS-485 of ", device, " (its driver cannot: an adapter that switches by itself needs no rs485)"));
}

bool line_is_gone(int error) {
  static constexpr int ends[] = {ECONNRESET, EPIPE,        EIO,          EBADF,       ENXIO,    ENODEV,
                                 ENOTCONN,   ECONNABORTED, EHOSTUNREACH, ENETUNREACH, ENETDOWN, ENOTTY};
  return std::find(std::begin(ends), std::end(ends), error) != std::end(ends);
}

}  // namespace

bool known_modbus_baud(int baud) {
  static constexpr int bauds[] = {110,     300,     600,     1200,    2400,    4800,    9600,    19200,
                                  38400,   57600,   115200,  230400,  460800,  500000,  576000,  921600,
                                  1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000};
  return std::find(std::begin(bauds), std::end(bauds), baud) != std::end(bauds);
}

Duration frame_silence(int baud) {
  if (baud > 19200) return std::chrono::microseconds(1750);
  return Duration{std::int64_t{3'500'000'000} * 11 / std::max(baud, 1)};
}

void LibmodbusLine::Free::operator()(_modbus* context) const {
  modbus_close(context);
  modbus_free(context);
}

LibmodbusLine::LibmodbusLine(const Clock& clock, const ModbusInputConfig& config,
                             std::shared_ptr<const std::atomic<bool>> stopping)
    : clock_(clock),
      config_(config),
      stopping_(std::move(stopping)),
      mode_(config.mode == "tcp"   ? Mode::tcp
            : config.mode == "rtu" ? Mode::rtu
                                   : Mode::rtu_over_tcp),
      pause_(config.pause.count() > 0 ? config.pause
             : mode_ == Mode::rtu     ? frame_silence(config.baud)
                                      : Duration{0}) {}

LibmodbusLine::~LibmodbusLine() = default;

Status LibmodbusLine::open() {
  close();
  return mode_ == Mode::rtu ? open_tty() : open_tcp();
}

void LibmodbusLine::close() {
  context_.reset();
  lock_.reset();
}

// select(2) has room for so many descriptors.
Status LibmodbusLine::adopt(std::unique_ptr<_modbus, Free> context) {
  if (modbus_get_socket(context.get()) >= FD_SETSIZE)
    return {Code::unavailable,
            text("no file descriptor below ", FD_SETSIZE, " is left, and libmodbus needs one")};
  modbus_set_error_recovery(context.get(), MODBUS_ERROR_RECOVERY_NONE);
  modbus_set_byte_timeout(context.get(), 0, 0);
  context_ = std::move(context);
  last_ = clock_.now();
  return {};
}

Status LibmodbusLine::open_tty() {
  // Before libmodbus sets the line up, and as serial_port.cpp does it: TIOCEXCL does not keep root out.
  lock_.reset();
  Fd lock(::open(config_.device.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!lock.valid()) return status_from_errno(errno, "open " + config_.device);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK ? Status{Code::unavailable, config_.device + " is in use by another program"}
                                : status_from_errno(errno, "lock " + config_.device);
  }
  const char parity = config_.parity == "none" ? 'N' : config_.parity == "odd" ? 'O' : 'E';
  std::unique_ptr<_modbus, Free> context(
      modbus_new_rtu(config_.device.c_str(), config_.baud, parity, 8, config_.stop_bits));
  if (!context) return status_from_errno(errno, "libmodbus: " + config_.device);
  if (modbus_connect(context.get()) != 0) {
    const int error = errno;
    return status_from_errno(error, "open " + config_.device);
  }
  const int fd = modbus_get_socket(context.get());
  if (::ioctl(fd, TIOCEXCL) != 0) return status_from_errno(errno, "lock " + config_.device);
  if (Status status = enable_rs485(fd, config_.rs485, config_.device); !status.ok()) return status;
  lock_ = std::move(lock);
  return adopt(std::move(context));
}

Status LibmodbusLine::open_tcp() {
  auto socket = connect();
  if (!socket.ok()) return socket.status();
  // An RTU context never opens its device: it frames what goes over the socket.
  std::unique_ptr<_modbus, Free> context(mode_ == Mode::tcp ? modbus_new_tcp("127.0.0.1", modbus_port)
                                                            : modbus_new_rtu("/dev/null", 9600, 'N', 8, 1));
  if (!context) return status_from_errno(errno, "libmodbus: " + config_.server);
  modbus_set_socket(context.get(), socket.value().release());
  return adopt(std::move(context));
}

Result<Fd> LibmodbusLine::connect() {
  const auto where = parse_host_port(config_.server, modbus_port);
  if (!where.ok()) return where.status();
  const Instant deadline = clock_.now() + config_.connect_timeout;
  const auto wanted = [this] { return !*stopping_; };
  auto addresses = look_up_waiting(clock_, where.value().host, config_.connect_timeout, wanted);
  if (!addresses.ok()) return addresses.status();
  Status last{Code::unavailable, text(config_.server, " has no address")};
  std::int64_t left = static_cast<std::int64_t>(addresses.value().size());
  for (const std::string& address : addresses.value()) {
    const Instant now = clock_.now(), until = now + std::max(deadline - now, Duration{0}) / left--;
    addrinfo hints{}, *found = nullptr;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    if (::getaddrinfo(address.c_str(), text(where.value().port).c_str(), &hints, &found) != 0) continue;
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
    Fd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) return status_from_errno(errno, "a socket");
    if (const int error = connect_to(fd.get(), found->ai_addr, found->ai_addrlen, until); error != 0) {
      last = status_from_errno(error, "connect to " + config_.server);
      continue;
    }
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return fd;
  }
  return last;
}

// 0, or the errno.
int LibmodbusLine::connect_to(int fd, const sockaddr* address, unsigned size, Instant deadline) const {
  int error = ::connect(fd, address, size) == 0 ? 0 : errno;
  if (error != EINPROGRESS) return error;
  while (clock_.now() < deadline && !*stopping_) {
    pollfd one{fd, POLLOUT, 0};
    if (::poll(&one, 1, ms_up(std::min(slice, deadline - clock_.now()))) <= 0) continue;
    socklen_t length = sizeof error;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
  }
  return ETIMEDOUT;
}

void LibmodbusLine::wait(Duration duration) {
  const Instant end = clock_.now() + duration;
  for (Duration left = duration; left.count() > 0 && !*stopping_; left = end - clock_.now()) {
    const Duration some = std::min(left, slice);
    const timespec time{0, static_cast<long>(some.count())};
    ::ppoll(nullptr, 0, &time, nullptr);
  }
}

// Whether something comes within `quiet`, or the line is gone. False, too, for who is to stop.
bool LibmodbusLine::hears(Duration quiet) const {
  const int fd = modbus_get_socket(context_.get());
  while (!*stopping_) {
    const Duration some = std::min(quiet, slice);
    if (readable(fd, some)) return true;
    quiet -= some;
    if (quiet.count() <= 0) return false;
  }
  return false;
}

// Whether all of a request is with the adapter. tcdrain() would wait without an end for one that is stuck.
bool LibmodbusLine::sent(Duration at_most) {
  const int fd = modbus_get_socket(context_.get());
  const Instant end = clock_.now() + at_most;
  int waiting = 0;
  while (::ioctl(fd, TIOCOUTQ, &waiting) == 0 && waiting > 0) {
    if (clock_.now() >= end || *stopping_) {
      ::tcflush(fd, TCOFLUSH);  // nor is it said later, when nobody waits for its answer
      return false;
    }
    wait(std::chrono::microseconds(500));
  }
  return true;
}

std::size_t LibmodbusLine::drain(Duration quiet, Duration at_most) {
  if (!context_) return 0;
  if (quiet.count() == 0) keep_pause();  // what comes in it answers no question yet
  const int fd = modbus_get_socket(context_.get());
  const Instant end = clock_.now() + at_most;
  std::size_t bytes = 0;
  while (hears(quiet)) {
    std::uint8_t piece[512];
    const ssize_t got = ::read(fd, piece, sizeof piece);
    if (got <= 0) break;  // gone: the next question says so
    bytes += static_cast<std::size_t>(got);
    last_ = clock_.now();
    if (last_ >= end || *stopping_) break;
  }
  return bytes;
}

void LibmodbusLine::keep_pause() {
  if (const Duration since = clock_.now() - last_; since < pause_) wait(pause_ - since);
}

Reply LibmodbusLine::ask(std::uint8_t unit, const Span& span, Duration timeout) {
  keep_pause();
  Reply outcome = mode_ == Mode::tcp ? ask_numbered(unit, span, timeout) : ask_frames(unit, span, timeout);
  last_ = clock_.now();
  return outcome;
}

Reply LibmodbusLine::failed(int error) const {
  Reply outcome;
  if (error == ETIMEDOUT) return outcome;
  const bool unknown = error == EMBBADEXC || error == MODBUS_ENOBASE;  // a number that the protocol has not
  if (unknown || (error > MODBUS_ENOBASE && error <= EMBXGTAR)) {
    outcome.answer = Answer::exception;
    outcome.exception = unknown ? Exception::device_failure : static_cast<Exception>(error - MODBUS_ENOBASE);
    return outcome;
  }
  outcome.answer = line_is_gone(error) ? Answer::gone : Answer::damaged;
  outcome.words = text(mode_ == Mode::rtu ? config_.device : config_.server, ": ", modbus_strerror(error));
  return outcome;
}

// Reads all of `to`. False: `outcome` says why not; what came of a frame that is not whole puts the stream
// out of step.
bool LibmodbusLine::read_whole(std::span<std::uint8_t> to, Instant deadline, bool begun,
                               Reply& outcome) const {
  const int fd = modbus_get_socket(context_.get());
  std::size_t have = 0;
  while (have < to.size()) {
    const Duration left = deadline - clock_.now();
    if (left.count() <= 0 || *stopping_) {
      outcome.answer = begun || have > 0 ? Answer::damaged : Answer::silent;
      return false;
    }
    if (!readable(fd, std::min(left, slice))) continue;
    const ssize_t got = ::recv(fd, to.data() + have, to.size() - have, 0);
    if (got > 0) {
      have += static_cast<std::size_t>(got);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      outcome.answer = Answer::gone;
      outcome.words =
          text(config_.server, ": ", got == 0 ? "the connection was closed" : modbus_strerror(errno));
      return false;
    }
  }
  return true;
}

// By hand, since libmodbus looks neither at the unit of an answer nor at its lengths. Modbus Messaging on
// TCP/IP 1.0b, 3.1.3: transaction, protocol 0, length of what follows, unit; and then as on a line, without
// the CRC.
Reply LibmodbusLine::ask_numbered(std::uint8_t unit, const Span& span, Duration timeout) {
  constexpr std::size_t head = 6, least = 3, most = 254;  // unit, function, a byte; a PDU has 253
  const auto high = [](unsigned v) { return static_cast<std::uint8_t>(v >> 8); };
  const auto low = [](unsigned v) { return static_cast<std::uint8_t>(v & 0xFF); };
  const Instant deadline = clock_.now() + std::max<Duration>(timeout, std::chrono::milliseconds(1));
  const std::uint16_t transaction = ++transaction_;
  const std::uint8_t request[] = {high(transaction),
                                  low(transaction),
                                  0,
                                  0,
                                  0,
                                  6,
                                  unit,
                                  function_of(span.table),
                                  high(span.first),
                                  low(span.first),
                                  high(span.count),
                                  low(span.count)};
  Reply outcome;
  if (::send(modbus_get_socket(context_.get()), request, sizeof request, MSG_NOSIGNAL) !=
      static_cast<ssize_t>(sizeof request)) {
    outcome.answer = Answer::gone;
    outcome.words = text(config_.server, ": ", modbus_strerror(errno));
    return outcome;
  }
  while (true) {
    std::uint8_t header[head], body[most];
    if (!read_whole(header, deadline, false, outcome)) return outcome;
    const std::size_t length = static_cast<std::size_t>(header[4]) << 8 | header[5];
    outcome.answer = Answer::damaged;
    if ((header[2] | header[3]) != 0 || length < least || length > most) return outcome;
    if (!read_whole(std::span(body, length), deadline, true, outcome)) return outcome;
    if ((static_cast<unsigned>(header[0]) << 8 | header[1]) == transaction)
      return take_numbered(unit, span, {body, length}, std::move(outcome));
    ++outcome.strays;  // an old one
  }
}

// Units 0 and 255 are a device's own name for itself where it hangs on the network without a gateway.
Reply LibmodbusLine::take_numbered(std::uint8_t unit, const Span& span, std::span<const std::uint8_t> body,
                                   Reply outcome) {
  if (body[0] != unit && body[0] != 0 && body[0] != 255) return outcome;
  const auto* pdu = reinterpret_cast<const std::byte*>(body.data() + 1);
  const auto data = data_of(span, {pdu, body.size() - 1}, outcome.exception);
  if (!data.ok()) return outcome;
  outcome.answer = outcome.exception == Exception::none ? Answer::data : Answer::exception;
  outcome.data.assign(data.value().begin(), data.value().end());
  return outcome;
}

Reply LibmodbusLine::ask_frames(std::uint8_t unit, const Span& span, Duration timeout) {
  modbus_t* bus = context_.get();
  modbus_set_slave(bus, unit);
  const std::uint8_t function = function_of(span.table);
  const std::uint8_t request[] = {unit,
                                  function,
                                  static_cast<std::uint8_t>(span.first >> 8),
                                  static_cast<std::uint8_t>(span.first & 0xFF),
                                  static_cast<std::uint8_t>(span.count >> 8),
                                  static_cast<std::uint8_t>(span.count & 0xFF)};
  errno = 0;
  if (modbus_send_raw_request(bus, request, sizeof request) < 0) return failed(errno);
  Reply outcome;
  Duration air{0};  // the time counts from where the request has left, and its CRC
  if (mode_ == Mode::rtu) air = Duration{(sizeof request + 2) * 11'000'000'000 / std::max(config_.baud, 1)};
  if (mode_ == Mode::rtu && !sent(timeout + air)) return outcome;
  const Instant deadline = clock_.now() + air + timeout;
  while (true) {
    const std::int64_t us = to_us(deadline - clock_.now());
    if (us <= 0) return outcome;
    modbus_set_response_timeout(bus, static_cast<std::uint32_t>(us / 1'000'000),
                                static_cast<std::uint32_t>(us % 1'000'000));
    std::uint8_t frame[MODBUS_RTU_MAX_ADU_LENGTH];
    errno = 0;
    const int size = modbus_receive_confirmation(bus, frame);
    if (size < 0) {
      Reply bad = failed(errno);
      bad.strays = outcome.strays;
      return bad;
    }
    constexpr int head = 3, check = 2;  // unit, function, length or exception; CRC
    const bool ours = size >= head + check && frame[0] == unit;
    if (ours && frame[1] == (function | 0x80) && size == head + check && frame[2] != 0) {
      outcome.answer = Answer::exception;
      outcome.exception = static_cast<Exception>(frame[2]);
      return outcome;
    }
    if (ours && frame[1] == function && frame[2] == data_bytes(span) && size == head + check + frame[2]) {
      const auto* data = reinterpret_cast<const std::byte*>(frame + head);
      outcome.data.assign(data, data + frame[2]);
      outcome.answer = Answer::data;
      return outcome;
    }
    ++outcome.strays;  // of another device, or an old one of this
  }
}

}  // namespace millrace
