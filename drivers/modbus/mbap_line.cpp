#include "drivers/modbus/mbap_line.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "net/waiting_tls.h"

namespace millrace {
namespace {

unsigned word_of(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<unsigned>(bytes[at]) << 8 | static_cast<unsigned>(bytes[at + 1]);
}

}  // namespace

MbapLine::MbapLine(const Clock& clock, const ModbusInputConfig& config,
                   std::shared_ptr<const std::atomic<bool>> stopping)
    : config_(config), waiter_{clock, [stopping = std::move(stopping)] { return !*stopping; }} {}

void MbapLine::close() {
  stream_.reset();
  came_ = 0;
}

Status MbapLine::open() {
  close();
  const auto where = parse_host_port(config_.server, config_.port());
  if (!where.ok()) return where.status();
  const Instant deadline = waiter_.clock.now() + config_.connect_timeout;
  auto socket = connect_waiting(waiter_, where.value(), deadline);
  if (!socket.ok()) return socket.status();
  if (!config_.tls.enabled) {
    stream_ = plain_stream(waiter_, std::move(socket).value());
  } else {
    auto secured = secure_waiting(waiter_, std::move(socket).value(), config_.tls, where.value().host,
                                  {"input", config_.name, "server"}, deadline);
    if (!secured.ok())
      return {secured.status().code(), text(config_.server, ": ", secured.status().detail())};
    stream_ = std::move(secured).value();
  }
  last_ = waiter_.clock.now();
  return {};
}

Reply MbapLine::ask(std::uint8_t unit, const Span& span, Duration timeout) {
  const Instant now = waiter_.clock.now();
  if (const Duration since = now - last_; since < config_.pause) wait(config_.pause - since);
  const Duration least = std::chrono::milliseconds(1);
  Reply outcome = ask_now(unit, span, waiter_.clock.now() + std::max<Duration>(timeout, least));
  last_ = waiter_.clock.now();
  if (outcome.answer == Answer::damaged || outcome.answer == Answer::gone)
    close();  // out of step, or no more
  return outcome;
}

Reply MbapLine::ask_now(std::uint8_t unit, const Span& span, Instant deadline) {
  Reply outcome;
  if (!stream_) {
    lose({Code::unavailable, "the connection was closed"}, outcome);
    return outcome;
  }
  const std::uint16_t transaction = ++transaction_;
  const auto high = [](unsigned v) { return static_cast<std::byte>(v >> 8); };
  const auto low = [](unsigned v) { return static_cast<std::byte>(v & 0xFF); };
  const std::byte request[] = {high(transaction),
                               low(transaction),
                               std::byte{0},
                               std::byte{0},
                               std::byte{0},
                               std::byte{6},
                               static_cast<std::byte>(unit),
                               static_cast<std::byte>(function_of(span.table)),
                               high(span.first),
                               low(span.first),
                               high(span.count),
                               low(span.count)};
  if (Status status = stream_->send(request, deadline); !status.ok()) {
    lose(status, outcome);
    return outcome;
  }
  while (true) {
    if (!read_up_to(mbap_head, deadline, outcome)) return outcome;
    const std::size_t length = word_of(frame_, 4);
    outcome.answer = Answer::damaged;
    if (word_of(frame_, 2) != 0 || length < body_least || length > body_most) return outcome;
    if (!read_up_to(mbap_head + length, deadline, outcome)) return outcome;
    const bool ours = word_of(frame_, 0) == transaction;
    if (ours) outcome = take(unit, span, {frame_.data() + mbap_head, length}, std::move(outcome));
    came_ -= mbap_head + length;
    std::memmove(frame_.data(), frame_.data() + mbap_head + length, came_);
    if (ours) return outcome;
    outcome.answer = Answer::silent;  // so far: it was an old one
    if (++outcome.strays >= late_strays_max && waiter_.clock.now() >= deadline) return outcome;
  }
}

// Until so many bytes of the frame are there. False: `outcome` says why not; what came of a frame that is not
// whole puts the stream out of step.
bool MbapLine::read_up_to(std::size_t bytes, Instant deadline, Reply& outcome) {
  while (came_ < bytes) {
    const auto got = stream_->receive(std::span(frame_).subspan(came_), deadline);
    if (got.ok()) {
      came_ += got.value();
    } else if (got.status().code() == Code::timeout) {
      outcome.answer = came_ > 0 ? Answer::damaged : Answer::silent;
      return false;
    } else {
      lose(got.status(), outcome);
      return false;
    }
  }
  return true;
}

// Units 0 and 255 are a device's own name for itself where it hangs on the network without a gateway.
Reply MbapLine::take(std::uint8_t unit, const Span& span, BytesView body, Reply outcome) {
  const auto from = static_cast<std::uint8_t>(body[0]);
  if (from != unit && from != 0 && from != 255) return outcome;
  const auto data = data_of(span, body.subspan(1), outcome.exception);
  if (!data.ok()) return outcome;
  outcome.answer = outcome.exception == Exception::none ? Answer::data : Answer::exception;
  outcome.data.assign(data.value().begin(), data.value().end());
  return outcome;
}

void MbapLine::lose(const Status& status, Reply& outcome) const {
  outcome.answer = Answer::gone;
  outcome.needs_person = status.code() == Code::invalid;
  outcome.words = text(config_.server, ": ", status.detail());
}

}  // namespace millrace
