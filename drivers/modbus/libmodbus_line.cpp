#include "drivers/modbus/libmodbus_line.h"

#include <fcntl.h>
#include <linux/serial.h>
#include <modbus.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/text.h"
#include "decode/frame_checks.h"
#include "net/waiting_stream.h"

namespace millrace {
namespace {

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

// Of a question that comes back: libmodbus takes the upper byte of its register for the length of an answer,
// finds a wrong CRC behind so much, or waits in vain for more.
constexpr int echo_heard = 5;

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
      waiter_{clock, [stopping = std::move(stopping)] { return !*stopping; }},
      pause_(config.pause.count() > 0 ? config.pause
             : config.over_tcp()      ? Duration{0}
                                      : frame_silence(config.baud)) {}

LibmodbusLine::~LibmodbusLine() = default;

Status LibmodbusLine::open() {
  close();
  return config_.over_tcp() ? open_tcp() : open_tty();
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
  const auto where = parse_host_port(config_.server, config_.port());
  if (!where.ok()) return where.status();
  auto socket = connect_waiting(waiter_, where.value(), clock_.now() + config_.connect_timeout);
  if (!socket.ok()) return socket.status();
  // It never opens its device: it frames what goes over the socket.
  std::unique_ptr<_modbus, Free> context(modbus_new_rtu("/dev/null", 9600, 'N', 8, 1));
  if (!context) return status_from_errno(errno, "libmodbus: " + config_.server);
  modbus_set_socket(context.get(), socket.value().release());
  return adopt(std::move(context));
}

// Whether all of a request is with the adapter. tcdrain() would wait without an end for one that is stuck.
bool LibmodbusLine::sent(Duration at_most) {
  const int fd = modbus_get_socket(context_.get());
  const Instant end = clock_.now() + at_most;
  int waiting = 0;
  while (::ioctl(fd, TIOCOUTQ, &waiting) == 0 && waiting > 0) {
    if (clock_.now() >= end || !waiter_.wanted()) {
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
  while (waiter_.await(fd, POLLIN, clock_.now() + quiet)) {
    std::uint8_t piece[512];
    const ssize_t got = ::read(fd, piece, sizeof piece);
    if (got <= 0) break;  // gone: the next question says so
    bytes += static_cast<std::size_t>(got);
    last_ = clock_.now();
    if (last_ >= end) break;
  }
  return bytes;
}

void LibmodbusLine::keep_pause() {
  if (const Duration since = clock_.now() - last_; since < pause_) wait(pause_ - since);
}

Reply LibmodbusLine::ask(std::uint8_t unit, const Span& span, Duration timeout) {
  keep_pause();
  Reply outcome = ask_frame(unit, span, timeout);
  last_ = clock_.now();
  return outcome;
}

Reply LibmodbusLine::failed(int error) const {
  Reply outcome;
  if (error == ETIMEDOUT) return outcome;
  outcome.answer = line_is_gone(error) ? Answer::gone : Answer::damaged;
  outcome.words = text(config_.over_tcp() ? config_.server : config_.device, ": ", modbus_strerror(error));
  return outcome;
}

// Takes as many bytes off the line as were sent. `data`: they are the question; `damaged`: somebody spoke
// into it, or there is no echo.
Answer LibmodbusLine::take_echo(std::span<const std::uint8_t> request, Instant deadline) {
  std::vector<std::uint8_t> expected(request.begin(), request.end());
  // Modbus over Serial Line 1.02, 6.2.2; the low byte goes first.
  const std::uint16_t crc = crc16_reflected(std::as_bytes(request), 0xffff);
  expected.insert(expected.end(),
                  {static_cast<std::uint8_t>(crc & 0xFF), static_cast<std::uint8_t>(crc >> 8)});
  std::vector<std::uint8_t> heard(expected.size());
  const int fd = modbus_get_socket(context_.get());
  for (std::size_t at = 0; at < heard.size();) {
    if (!waiter_.await(fd, POLLIN, deadline)) return Answer::silent;
    const ssize_t got = ::read(fd, heard.data() + at, heard.size() - at);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return Answer::gone;
    at += static_cast<std::size_t>(got);
  }
  return heard == expected ? Answer::data : Answer::damaged;
}

Reply LibmodbusLine::ask_frame(std::uint8_t unit, const Span& span, Duration timeout) {
  modbus_t* bus = context_.get();
  const int fd = modbus_get_socket(bus);
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
  if (!config_.over_tcp()) air = Duration{(sizeof request + 2) * 11'000'000'000 / std::max(config_.baud, 1)};
  if (!config_.over_tcp() && !sent(timeout + air)) return outcome;
  const Instant deadline = clock_.now() + air + timeout;
  if (config_.hears_itself()) {
    const Answer echo = take_echo(request, deadline);
    if (echo == Answer::gone) return failed(ECONNRESET);
    outcome.answer = echo;
    if (echo != Answer::data) return outcome;
    outcome.answer = Answer::silent;
  }
  while (true) {
    const std::int64_t left = to_us(deadline - clock_.now());
    if (left <= 0 && (outcome.strays >= late_strays_max || !waiter_.await(fd, POLLIN, deadline)))
      return outcome;
    const std::int64_t us = std::max<std::int64_t>(left, 1);
    modbus_set_response_timeout(bus, static_cast<std::uint32_t>(us / 1'000'000),
                                static_cast<std::uint32_t>(us % 1'000'000));
    std::uint8_t frame[MODBUS_RTU_MAX_ADU_LENGTH] = {};
    errno = 0;
    const int size = modbus_receive_confirmation(bus, frame);
    if (size < 0) {
      Reply bad = failed(errno);
      bad.strays = outcome.strays;
      bad.echoed = bad.answer != Answer::gone && std::equal(frame, frame + echo_heard, request);
      if (bad.echoed) bad.answer = Answer::damaged;
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
