#include "drivers/serial/serial_driver.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/logger.h"

namespace millrace {
namespace {

constexpr Duration look_at_errors = std::chrono::seconds(10);

}  // namespace

SerialCounters::SerialCounters(Metrics& metrics, const std::string& input)
    : frames(
          metrics.counter("millrace_serial_lines_total", "Lines and other frames read", {{"input", input}})),
      discarded_bytes(metrics.counter("millrace_serial_discarded_bytes_total",
                                      "Bytes of no frame, and of frames that were too long or cut off",
                                      {{"input", input}})),
      bad_frames(metrics.counter("millrace_serial_bad_frames_total",
                                 "Frames whose check was wrong, or a byte of them", {{"input", input}})),
      dropped_frames(metrics.counter("millrace_serial_dropped_lines_total",
                                     "Frames that found the inbox full", {{"input", input}})),
      framing_errors(metrics.counter("millrace_serial_line_errors_total", "What the adapter's driver counts",
                                     {{"input", input}, {"error", "framing"}})),
      parity_errors(metrics.counter("millrace_serial_line_errors_total", "What the adapter's driver counts",
                                    {{"input", input}, {"error", "parity"}})),
      overruns(metrics.counter("millrace_serial_line_errors_total", "What the adapter's driver counts",
                               {{"input", input}, {"error", "overrun"}})),
      breaks(metrics.counter("millrace_serial_line_errors_total", "What the adapter's driver counts",
                             {{"input", input}, {"error", "break"}})),
      timeouts(metrics.counter("millrace_serial_timeouts_total", "Requests that nobody answered in time",
                               {{"input", input}})),
      late_answers(metrics.counter("millrace_serial_late_answers_total",
                                   "Frames that came when none was asked for: not taken",
                                   {{"input", input}})),
      cut_answers(metrics.counter("millrace_serial_cut_answers_total",
                                  "M-Bus answers that had more telegrams than were taken",
                                  {{"input", input}})),
      unplugged(metrics.counter("millrace_serial_unplugged_total", "Times an open port went away",
                                {{"input", input}})),
      up(metrics.gauge("millrace_input_up", "Whether the input is connected", {{"input", input}})) {}

SerialDriver::SerialDriver(Loop& loop, Rng& rng, Inbox& inbox, Intake& intake, const ClockTrust& trust,
                           Metrics& metrics, SerialInputConfig config)
    : loop_(loop),
      rng_(rng),
      inbox_(inbox),
      trust_(trust),
      config_(std::move(config)),
      framer_(make_framer(config_.framing, config_.frame_max)),
      backoff_(config_.reopen_min, config_.reopen_max),
      count_(metrics, config_.name) {
  if (config_.acknowledge)
    acknowledger_ =
        std::make_unique<Acknowledger>(loop, intake, trust, metrics, config_.name, config_.ack_interval,
                                       [this](BytesView ack) { acknowledge(ack); });
}

Status SerialDriver::start() {
  open();
  return {};
}

// ---- the port

void SerialDriver::open() {
  reopen_timer_.reset();
  if (paused_ || stopping_) return;
  auto port = open_serial_port(config_);
  if (!port.ok()) return close(port.status().detail());
  port_ = std::move(port).value();
  baud_ = config_.baud;
  framer_->reset();
  marks_.reset();
  errors_ = line_errors(port_.fd.get());
  if (!trouble_.empty()) LOG_INFO("input ", config_.name, ": ", config_.device, " is open");
  trouble_.clear();
  count_.up.set(1);
  backoff_.on_success(loop_.now());
  watch();
}

void SerialDriver::watch() {
  watch_ = loop_.watch_readable(port_.fd.get(), [this] { (void)read_some(); });
  if (errors_) errors_timer_ = loop_.after(look_at_errors, [this] { count_errors(); });
  if (!config_.requests.empty() && !ask_timer_) ask_timer_ = loop_.after(Duration::zero(), [this] { ask(); });
}

// Nothing is read, asked or waited for.
void SerialDriver::rest() {
  for (auto* timer : {&pause_timer_, &ask_timer_, &answer_timer_, &errors_timer_, &speed_timer_})
    timer->reset();
  watch_.reset();
  asking_ = false;
  answer_.reset();
}

void SerialDriver::close(const std::string& why) {
  rest();
  port_.fd.reset();
  framer_->reset();
  count_.up.set(0);
  if (trouble_ != why) LOG_WARN("input ", config_.name, ": ", why, "; will keep trying");
  trouble_ = why;
  reopen_timer_ = loop_.after(backoff_.next(rng_), [this] { open(); });
}

void SerialDriver::unplugged() {
  count_.unplugged.add();
  close(text(config_.device, " is gone"));
}

// False: there was nothing to read, or the port is closed now.
bool SerialDriver::read_some() {
  char buffer[4096];
  const ssize_t got = ::read(port_.fd.get(), buffer, sizeof buffer);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  // A tty whose other side is gone reads as end of file or gives EIO: unplugged. Reading on would spin.
  if (got <= 0) {
    unplugged();
    return false;
  }
  backoff_.on_success(loop_.now());
  take_bytes(bytes_of({buffer, static_cast<std::size_t>(got)}));
  return true;
}

void SerialDriver::take_bytes(BytesView bytes) {
  if (port_.marked) {
    marks_.push(
        bytes, [this](BytesView good) { push(good); },
        [this](std::byte wrong) {
          push({&wrong, 1}, true);
        });
  } else {
    push(bytes);
  }
  count_.discarded_bytes.add(framer_->bytes_discarded() -
                             std::exchange(discarded_seen_, framer_->bytes_discarded()));
  count_.bad_frames.add(framer_->frames_bad() - std::exchange(bad_seen_, framer_->frames_bad()));
  if (acknowledger_) acknowledger_->flush();
  wait_for_pause();
}

// `wrong`: the first of them was not received as it was sent.
void SerialDriver::push(BytesView bytes, bool wrong) {
  while (!echo_.empty() && !bytes.empty()) {
    if (static_cast<char>(bytes.front()) != echo_.front()) {
      echo_.clear();
      break;
    }
    echo_.erase(0, 1);
    bytes = bytes.subspan(1);
  }
  if (bytes.empty()) return;
  if (wrong) framer_->spoil();
  if (sign_on_.waiting() && !take_sign_on(bytes)) return;
  framer_->push(bytes, [this](const Framer::Frame& frame) { take_frame(frame); });
  if (const std::string more = answer_.next_request(); !more.empty()) ask_for_more(more);
}

// A loop that was busy for longer than the pause has bytes waiting: then the line was not silent.
void SerialDriver::wait_for_pause() {
  if (framer_->pause() == Duration::zero()) return;
  pause_timer_ = loop_.after(framer_->pause(), [this] {
    if (read_some() || !port_.fd.valid()) return;
    framer_->on_pause([this](const Framer::Frame& frame) { take_frame(frame); });
  });
}

void SerialDriver::count_errors() {
  const auto now = line_errors(port_.fd.get());
  if (!now || !errors_) return;
  const auto add = [](Counter& counter, std::uint64_t before, std::uint64_t after) {
    counter.add(after > before ? after - before : 0);
  };
  add(count_.framing_errors, errors_->framing, now->framing);
  add(count_.parity_errors, errors_->parity, now->parity);
  add(count_.overruns, errors_->overrun, now->overrun);
  add(count_.breaks, errors_->breaks, now->breaks);
  errors_ = now;
  errors_timer_ = loop_.after(look_at_errors, [this] { count_errors(); });
}

// ---- frames

void SerialDriver::take_frame(const Framer::Frame& frame) {
  if (!config_.requests.empty() && !asking_) return count_.late_answers.add();
  answered_ = true;
  count_.frames.add();
  if (answer_.take(frame)) keep_gathered(false);
  else keep(frame);
}

void SerialDriver::keep_gathered(bool over) {
  const auto whole = answer_.done(over);
  if (!whole) return;
  if (whole->cut) count_.cut_answers.add();
  keep({whole->bytes, whole->channel});
}

void SerialDriver::keep(const Framer::Frame& frame) {
  Arrival arrival;
  arrival.input = config_.name;
  arrival.channel = frame.channel;
  arrival.bytes = frame.bytes;
  arrival.clock_trusted = trust_.trusted();
  arrival.received = loop_.wall();
  arrival.received_monotonic = loop_.now();
  if (!acknowledger_) store(arrival);
  else if (!acknowledger_->take(arrival)) count_.bad_frames.add();
}

void SerialDriver::store(const Arrival& arrival) {
  const bool stored = inbox_.put(arrival).ok();
  if (!stored) count_.dropped_frames.add();
  if (!stored && !dropping_)
    LOG_ERROR("input ", config_.name,
              ": the inbox is full; frames are lost (millrace_serial_dropped_lines_total)");
  dropping_ = !stored;
}

// Into the tty's buffer or not at all: who hears nothing sends its frame again, and is told again.
void SerialDriver::acknowledge(BytesView acknowledgement) {
  Bytes frame;
  if (!port_.fd.valid() || !framer_->wrap(acknowledgement, frame)) return;
  if (::write(port_.fd.get(), frame.data(), frame.size()) < 0 && errno != EAGAIN && errno != EINTR)
    unplugged();
}

// ---- asking

// What comes until the timeout is the answer. Later it is late: nobody can tell it from the answer to the
// next request, so it is not taken, and what has begun of it is forgotten.
void SerialDriver::ask() {
  if (asking_) give_up_asking();
  const auto requests = config_.requests.size();
  next_ask_ = loop_.now() + config_.request_interval / requests;
  ask_timer_ = loop_.after(next_ask_ - loop_.now(), [this] { ask(); });
  framer_->reset();
  speed_timer_.reset();
  if (config_.sign_on) {
    speak_at(config_.baud);
    sign_on_.begin();
  }
  if (!port_.fd.valid()) return;
  const std::string& request = config_.requests[next_request_++ % requests];
  send(request);
  if (!port_.fd.valid()) return;
  if (config_.gathers()) answer_.begin(request, static_cast<std::size_t>(config_.telegrams_max));
  asking_ = true;
  answered_ = false;
  answer_timer_ = loop_.after(config_.request_timeout, [this] { give_up_asking(); });
}

// The next request waits for the telegram, and for its time.
void SerialDriver::ask_for_more(const std::string& request) {
  send(request);
  if (!port_.fd.valid()) return;
  answer_timer_ = loop_.after(config_.request_timeout, [this] { give_up_asking(); });
  ask_timer_ = loop_.after(std::max(next_ask_ - loop_.now(), config_.request_timeout), [this] { ask(); });
}

void SerialDriver::send(const std::string& bytes) {
  const ssize_t sent = ::write(port_.fd.get(), bytes.data(), bytes.size());
  if (sent < 0 && errno != EAGAIN && errno != EINTR) return unplugged();
  echo_ = config_.request_echo ? bytes : std::string();
}

void SerialDriver::speak_at(int baud) {
  if (baud == baud_) return;
  if (Status status = change_speed(port_, config_, baud); !status.ok()) return close(status.detail());
  baud_ = baud;
}

// The identification is the beginning of the telegram, too. False: there is nothing behind it.
bool SerialDriver::take_sign_on(BytesView& bytes) {
  std::size_t taken = 0;
  const auto answer = sign_on_.push(bytes, taken);
  framer_->push(bytes.first(taken), [this](const Framer::Frame& frame) { take_frame(frame); });
  bytes = bytes.subspan(taken);
  if (!answer) return false;
  if (!answer->acknowledgement.empty()) send(answer->acknowledgement);
  if (!port_.fd.valid() || answer->baud == 0) return port_.fd.valid() && !bytes.empty();
  // What is on its way is sent at the old speed, ten bits a character; the meter takes 20 ms at least to go
  // on (6.3.14).
  const auto bits = static_cast<std::int64_t>(answer->acknowledgement.size()) * 10;
  speed_timer_ =
      loop_.after(std::chrono::microseconds(bits * 1'000'000 / baud_) + std::chrono::milliseconds(10),
                  [this, baud = answer->baud] { speak_at(baud); });
  return !bytes.empty();
}

void SerialDriver::give_up_asking() {
  if (!answered_) count_.timeouts.add();
  keep_gathered(true);
  asking_ = false;
  sign_on_.end();
  framer_->reset();
  echo_.clear();
}

// ---- pausing and stopping

// Not reading leaves the bytes in the kernel's buffer (4 KiB for a tty) and then, with flow control, with the
// device.
void SerialDriver::pause() {
  if (paused_ || stopping_) return;
  paused_ = true;
  rest();
}

void SerialDriver::resume() {
  if (!paused_ || stopping_) return;
  paused_ = false;
  if (port_.fd.valid()) watch();
  else if (!reopen_timer_) open();
}

void SerialDriver::stop(std::function<void()> done) {
  stopping_ = true;
  reopen_timer_.reset();
  rest();
  acknowledger_.reset();
  port_.fd.reset();
  count_.up.set(0);
  loop_.post(std::move(done));
}

}  // namespace millrace
