#include "drivers/serial/serial_driver.h"

#include <unistd.h>

#include <cerrno>

#include "base/logger.h"
#include "drivers/serial/serial_port.h"

namespace millrace {

SerialDriver::SerialDriver(Loop& loop, Rng& rng, Inbox& inbox, const ClockTrust& trust, Metrics& metrics, SerialInputConfig config)
    : loop_(loop),
      rng_(rng),
      inbox_(inbox),
      trust_(trust),
      config_(std::move(config)),
      framer_(config_.line_bytes_max),
      backoff_(config_.reopen_min, config_.reopen_max),
      lines_(metrics.counter("millrace_serial_lines_total", "Lines read", {{"input", config_.name}})),
      discarded_(metrics.counter("millrace_serial_discarded_bytes_total", "Bytes of lines that were too long or cut off", {{"input", config_.name}})),
      dropped_(metrics.counter("millrace_serial_dropped_lines_total", "Lines that found the inbox full", {{"input", config_.name}})),
      up_(metrics.gauge("millrace_input_up", "Whether the input is connected", {{"input", config_.name}})) {}

Status SerialDriver::start() {
  open();
  return {};
}

void SerialDriver::open() {
  reopen_timer_.reset();
  if (paused_ || stopping_) return;
  auto fd = open_serial_port(config_);
  if (!fd.ok()) return close(fd.status().detail());
  fd_ = std::move(fd).value();
  framer_.reset();
  if (!trouble_.empty()) LOG_INFO("input ", config_.name, ": ", config_.device, " is open");
  trouble_.clear();
  up_.set(1);
  backoff_.on_success(loop_.now());
  watch_ = loop_.watch_readable(fd_.get(), [this] { read_ready(); });
}

void SerialDriver::close(const std::string& why) {
  watch_.reset();
  fd_.reset();
  framer_.reset();
  up_.set(0);
  if (trouble_ != why) LOG_WARN("input ", config_.name, ": ", why, "; will keep trying");
  trouble_ = why;
  reopen_timer_ = loop_.after(backoff_.next(rng_), [this] { open(); });
}

void SerialDriver::read_ready() {
  char buffer[4096];
  const ssize_t got = ::read(fd_.get(), buffer, sizeof buffer);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  // A tty whose other side is gone reads as end of file or gives EIO: unplugged. Reading on would spin.
  if (got <= 0) return close(text(config_.device, " is gone"));
  backoff_.on_success(loop_.now());
  framer_.push(bytes_of({buffer, static_cast<std::size_t>(got)}), [this](BytesView line) { take_line(line); });
  discarded_.add(framer_.bytes_discarded() - discarded_.value());
}

bool SerialDriver::take_line(BytesView line) {
  lines_.add();
  Arrival arrival;
  arrival.input = config_.name;
  arrival.bytes = line;
  arrival.clock_trusted = trust_.trusted();
  arrival.received = loop_.wall();
  arrival.received_monotonic = loop_.now();
  if (inbox_.put(arrival).ok()) return true;
  // A line cannot be asked for again: what finds no room is lost, and said.
  dropped_.add();
  LOG_ERROR("input ", config_.name, ": the inbox is full; a line was lost");
  return false;
}

// Not reading leaves the bytes in the kernel's buffer (4 KiB for a tty) and then, with flow control, with the device.
void SerialDriver::pause() {
  if (paused_ || stopping_) return;
  paused_ = true;
  watch_.reset();
}

void SerialDriver::resume() {
  if (!paused_ || stopping_) return;
  paused_ = false;
  if (fd_.valid()) watch_ = loop_.watch_readable(fd_.get(), [this] { read_ready(); });
  else open();
}

void SerialDriver::stop(std::function<void()> done) {
  stopping_ = true;
  watch_.reset();
  reopen_timer_.reset();
  fd_.reset();
  up_.set(0);
  loop_.post(std::move(done));
}

}  // namespace millrace
