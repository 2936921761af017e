#include "drivers/serial/serial_driver.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/logger.h"

namespace millrace {
namespace {

constexpr Duration look_every = std::chrono::seconds(10), connect_timeout = std::chrono::seconds(10);
// From there on a tty's buffer (4096 bytes) takes nothing more, or asks its driver to stop: with marks, which
// may make three bytes of one, 128 of them before it is full.
constexpr std::size_t kernel_full = 3700;
constexpr std::int64_t gather_bytes_max = 1280;  // a third of that
constexpr Duration gather_time_max = std::chrono::milliseconds(100);
constexpr std::size_t read_max = 4096;
constexpr int drain_reads_max = 64;  // of those: what a tty's driver may keep behind that buffer, four times

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
      holes(metrics.counter("millrace_serial_holes_total",
                            "Times bytes were lost, or ran together, while nobody could take them",
                            {{"input", input}})),
      up(metrics.gauge("millrace_input_up", "Whether the input is connected", {{"input", input}})) {}

SerialDriver::SerialDriver(Loop& loop, Rng& rng, Inbox& inbox, Intake& intake, const ClockTrust& trust,
                           Metrics& metrics, SerialInputConfig config)
    : loop_(loop),
      rng_(rng),
      inbox_(inbox),
      trust_(trust),
      metrics_(metrics),
      config_(std::move(config)),
      framer_(make_framer(config_.framing, config_.frame_max)),
      backoff_(config_.reopen_min, config_.reopen_max),
      hearing_(config_.framing.kind->name, config_.frame_max, config_.requests),
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

std::string SerialDriver::health() const {
  if (!trouble_.empty()) return trouble_;
  const std::string why = hearing_.trouble(loop_.now());
  return why.empty() ? "open" : "open; " + why;
}

// ---- the port

void SerialDriver::open() {
  reopen_timer_.reset();
  if (paused_ || stopping_) return;
  if (config_.server.empty()) return opened(open_serial_port(config_));
  // It was one when the section was settled.
  const auto where = parse_host_port(config_.server);
  if (!where.ok()) return close(where.status().detail());
  dial_ = std::make_unique<ServerDial>(loop_, where.value(), connect_timeout, [this](Result<Fd> socket) {
    const auto dial = std::move(dial_);  // outlives what it called
    opened(socket.ok() ? Result<SerialPort>(SerialPort{std::move(socket).value()}) : socket.status());
  });
}

void SerialDriver::opened(Result<SerialPort> port) {
  if (!port.ok()) return close(port.status().detail());
  port_ = std::move(port).value();
  baud_ = config_.baud;
  framer_->reset();
  marks_.reset();
  errors_ = line_errors(port_.fd.get());
  overruns_seen_ = errors_ ? errors_->overrun : 0;
  hearing_.opened();
  holes_told_ = echo_told_ = outruns_ = false;
  backoff_.on_success(loop_.now());
  begin_hush(Hush::listening);
  watch();
}

void SerialDriver::tell_open() {
  if (trouble_.empty()) return;
  LOG_INFO("input ", config_.name, ": ", config_.place(), " is open");
  trouble_.clear();
  count_.up.set(1);
}

// How soon the next byte of a frame comes that has begun: two characters, and what adapters (16 ms) and busy
// machines hold it back.
Duration SerialDriver::hush_time() const {
  if (!config_.server.empty()) return std::chrono::milliseconds(300);
  return std::chrono::milliseconds(60) + std::chrono::microseconds(2 * 11 * 1'000'000LL / baud_);
}

void SerialDriver::begin_hush(Hush hush) {
  hush_ = hush;
  hush_timer_ = loop_.after(hush_time(), [this] { end_hush(); });
}

// What lies there is read first: a loop that was busy for longer has not listened.
void SerialDriver::end_hush() {
  hush_timer_.reset();
  const bool threw = hush_ == Hush::throwing;
  if (threw) drain();
  else if (hush_ == Hush::listening) (void)read_some();
  if (!port_.fd.valid()) return;
  if (threw) {
    framer_->cut();
    marks_.reset();
  }
  hush_ = Hush::none;
  tell_open();
  if (!config_.requests.empty() && !ask_timer_) ask_timer_ = loop_.after(Duration::zero(), [this] { ask(); });
}

// What waits in the kernel, but not for ever what comes.
void SerialDriver::drain() {
  for (int i = 0; i < drain_reads_max && read_some() > 0; ++i) {}
}

// The port's driver has lost bytes: a hole in the stream, which only it knows of, and not at which byte.
bool SerialDriver::overran() {
  if (!errors_) return false;
  const auto now = line_errors(port_.fd.get());
  return now && std::exchange(overruns_seen_, now->overrun) != now->overrun;
}

// Somewhere in them, or in what waits behind them, is a hole that no check would find.
void SerialDriver::throw_away(BytesView bytes) {
  hearing_.lost(loop_.now(), bytes.size(), 0);
  hush_ = Hush::throwing;
  take_bytes(bytes);
  drain();
  if (!port_.fd.valid()) return;
  hush_ = Hush::none;
  marks_.reset();
  framer_->cut();
  tell_open();
  wait_for_pause();
}

void SerialDriver::watch() {
  listen();
  show_modem_lines();
  look_timer_ = loop_.after(look_every, [this] { look(); });
  if (!config_.requests.empty() && !ask_timer_ && !hush_timer_)
    ask_timer_ = loop_.after(Duration::zero(), [this] { ask(); });
}

// How long a stream that does not end may lie in the kernel: waking for each few bytes of it costs more than
// what is done with them. Nothing: somebody waits for what we say, or the pauses in it matter.
Duration SerialDriver::gather_time() const {
  if (!config_.requests.empty() || acknowledger_ || hush_ != Hush::none || outruns_) return {};
  if (!config_.server.empty()) return gather_time_max;
  if (framer_->pause() != Duration::zero()) return {};
  return std::min<Duration>(gather_time_max,
                            std::chrono::microseconds(gather_bytes_max * 10 * 1'000'000 / baud_));
}

void SerialDriver::gather() {
  const Duration time = gather_time();
  if (time == Duration::zero()) return listen();
  watch_.reset();
  gather_timer_ = loop_.after(time, [this, time] {
    gather_timer_.reset();
    const Instant before = last_byte_;
    const std::size_t came = read_some();
    if (!port_.fd.valid()) return;
    // Full in so short a time: its speed says nothing (USB), and more would wait outside.
    outruns_ = outruns_ || (config_.server.empty() && came >= kernel_full && last_byte_ - before < 2 * time);
    if (took_all(came)) gather();
    else listen();
  });
}

// What one read leaves is taken at once.
bool SerialDriver::took_all(std::size_t came) const { return came > 0 && came < read_max; }

void SerialDriver::listen() {
  watch_ = loop_.watch_readable(port_.fd.get(), [this] {
    const Instant before = last_byte_;
    if (took_all(read_some()) && last_byte_ - before < gather_time()) gather();
  });
}

// Nothing is read, asked or waited for.
void SerialDriver::rest() {
  for (auto* timer : {&pause_timer_, &ask_timer_, &answer_timer_, &look_timer_, &speed_timer_, &hush_timer_,
                      &gather_timer_})
    timer->reset();
  watch_.reset();
  asking_ = false;
  answer_.reset();
}

void SerialDriver::close(const std::string& why) {
  rest();
  port_.fd.reset();
  framer_->reset();
  hush_ = Hush::none;
  deaf_ = false;
  count_.up.set(0);
  if (trouble_ != why) LOG_WARN("input ", config_.name, ": ", why, "; will keep trying");
  trouble_ = why;
  reopen_timer_ = loop_.after(backoff_.next(rng_), [this] { open(); });
}

void SerialDriver::unplugged() {
  count_.unplugged.add();
  close(text(config_.place(), " is gone"));
}

// How many bytes. None: there was nothing to read, or the port is closed now.
std::size_t SerialDriver::read_some(std::size_t most) {
  char buffer[read_max];
  const ssize_t got = ::read(port_.fd.get(), buffer, std::min(most, sizeof buffer));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  // A tty whose other side is gone reads as end of file or gives EIO: unplugged. Reading on would spin.
  if (got <= 0) {
    unplugged();
    return 0;
  }
  backoff_.on_success(loop_.now());
  const BytesView bytes = bytes_of({buffer, static_cast<std::size_t>(got)});
  if (overran() && hush_ != Hush::throwing && !framer_->checks()) throw_away(bytes);
  else take_bytes(bytes);
  return port_.fd.valid() ? bytes.size() : 0;
}

void SerialDriver::take_bytes(BytesView bytes) {
  last_byte_ = loop_.now();
  last_byte_wall_ = loop_.wall();
  if (hush_ == Hush::throwing) return count_.discarded_bytes.add(bytes.size());
  if (hush_ == Hush::listening) {
    hush_ = Hush::none;
    framer_->cut();
    tell_open();
  }
  if (port_.marked) {
    marks_.push(
        bytes, [this](BytesView good) { push(good); },
        [this](std::byte wrong) {
          push({&wrong, 1}, true);
        });
  } else {
    push(bytes);
  }
  const auto discarded =
      framer_->bytes_discarded() - std::exchange(discarded_seen_, framer_->bytes_discarded());
  const auto bad = framer_->frames_bad() - std::exchange(bad_seen_, framer_->frames_bad());
  count_.discarded_bytes.add(discarded);
  count_.bad_frames.add(bad);
  hearing_.lost(last_byte_, discarded, bad);
  if (acknowledger_) acknowledger_->flush();
  wait_for_pause();
}

// `wrong`: the first of them was not received as it was sent.
void SerialDriver::push(BytesView bytes, bool wrong) {
  bytes = behind_echo(echo_, bytes);
  if (bytes.empty()) return;
  if (wrong) framer_->spoil();
  if (sign_on_.waiting() && !take_sign_on(bytes)) return;
  framer_->push(bytes, [this](const Framer::Frame& frame) { take_frame(frame); });
  if (const std::string more = answer_.next_request(); !more.empty()) ask_for_more(more);
}

// A loop that was busy for longer than the pause has bytes waiting: then the line was not silent.
void SerialDriver::wait_for_pause() {
  if (framer_->pause() == Duration::zero() || !config_.server.empty()) return;  // a network has its own
  pause_timer_ = loop_.after(framer_->pause(), [this] {
    if (read_some() > 0 || !port_.fd.valid()) return;
    framer_->on_pause([this](const Framer::Frame& frame) { take_frame(frame); });
  });
}

void SerialDriver::look() {
  look_timer_ = loop_.after(look_every, [this] { look(); });
  count_errors();
  show_modem_lines();
  const std::string why = trouble_.empty() ? hearing_.trouble(loop_.now()) : "";
  if (why.empty() == !deaf_) return;
  deaf_ = !why.empty();
  if (deaf_) LOG_WARN("input ", config_.name, ": ", config_.place(), " is open, but ", why);
  else LOG_INFO("input ", config_.name, ": what comes from ", config_.place(), " can be read again");
}

void SerialDriver::show_modem_lines() {
  const auto lines = modem_lines(port_.fd.get());
  if (!lines) return;
  for (const auto& [line, up] : {std::pair{"cts", lines->cts}, std::pair{"dsr", lines->dsr},
                                 std::pair{"dcd", lines->dcd}, std::pair{"ri", lines->ri}})
    metrics_
        .gauge("millrace_serial_modem_line", "Whether the other side raises a modem line",
               {{"input", config_.name}, {"line", line}})
        .set(up ? 1 : 0);
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
}

// ---- frames

void SerialDriver::take_frame(const Framer::Frame& frame) {
  hearing_.frame();
  if (!config_.requests.empty() && !asking_) return count_.late_answers.add();
  if (asking_ && came_back(frame.bytes, config_.requests[asked_])) {
    if (!std::exchange(echo_told_, true))
      LOG_WARN(
          "input ", config_.name,
          ": what was asked came back, which is no answer: an adapter that gives back what it sends needs "
          "request_echo = true");
    return;
  }
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
  // Where the framing knows no topics, what was asked tells answers apart.
  const bool by_request = config_.requests.size() > 1 && frame.channel.empty();
  const std::string request = by_request ? request_name(config_.requests[asked_]) : std::string();
  arrival.channel = by_request ? std::string_view(request) : frame.channel;
  arrival.bytes = frame.bytes;
  arrival.clock_trusted = trust_.trusted();
  arrival.received = last_byte_wall_;
  arrival.received_monotonic = last_byte_;
  if (!acknowledger_) store(arrival);
  else if (!acknowledger_->take(arrival)) {
    count_.bad_frames.add();
    hearing_.lost(loop_.now(), 0, 1);
  }
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
// next request, so it is not taken; what waits of it in the kernel was said before the request, and the rest
// of what has begun of it, which comes behind the request, is no answer either.
void SerialDriver::ask() {
  if (asking_) give_up_asking();
  drain();
  if (!port_.fd.valid()) return;
  const auto requests = config_.requests.size();
  next_ask_ = loop_.now() + config_.request_interval / requests;
  ask_timer_ = loop_.after(next_ask_ - loop_.now(), [this] { ask(); });
  if (framer_->begun() && loop_.now() - last_byte_ < hush_time()) framer_->cut();
  else framer_->reset();
  speed_timer_.reset();
  if (config_.sign_on) {
    speak_at(config_.baud);
    sign_on_.begin();
  }
  if (!port_.fd.valid()) return;
  asked_ = next_request_++ % requests;
  asked_at_ = loop_.wall();
  const std::string& request = config_.requests[asked_];
  send(request);
  if (!port_.fd.valid()) return;
  if (config_.speaks_mbus()) answer_.begin(request, static_cast<std::size_t>(config_.telegrams_max));
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
  if (!answered_) {
    count_.timeouts.add();
    hearing_.unanswered(asked_, asked_at_);
  } else {
    hearing_.answered(asked_);
  }
  keep_gathered(true);
  asking_ = false;
  sign_on_.end();
  if (framer_->begun()) framer_->cut();
  else framer_->reset();
  echo_.clear();
}

// ---- pausing and stopping

// Not reading leaves the bytes in the kernel's buffer (4 KiB for a tty) and then, with flow control, with the
// device. Without it, what comes behind a buffer that is full is lost: what lies in it is whole, but behind
// it somewhere is a hole. Of frames that nothing but a pause tells apart all that waited are one.
void SerialDriver::pause() {
  if (paused_ || stopping_) return;
  paused_ = true;
  dial_.reset();
  rest();
}

void SerialDriver::resume() {
  if (!paused_ || stopping_) return;
  paused_ = false;
  if (!port_.fd.valid()) {
    if (!reopen_timer_ && !dial_) open();
    return;
  }
  const std::size_t waiting = bytes_waiting(port_.fd.get());
  const bool full = waiting >= kernel_full && !config_.flow_control && config_.server.empty();
  const bool blurred = waiting > 0 && framer_->begins_by_pause();
  if (full && !blurred) (void)read_some(waiting);
  if (!port_.fd.valid()) return;
  if (full || blurred) {
    count_.holes.add();
    if (!std::exchange(holes_told_, true))
      LOG_ERROR("input ", config_.name, ": ", config_.place(), " spoke while there was no room: ",
                full ? "bytes are lost" : "frames that only pauses tell apart are lost",
                " (millrace_serial_holes_total)");
  }
  if (full || blurred || hush_ == Hush::throwing) begin_hush(Hush::throwing);
  else if (!trouble_.empty()) begin_hush(Hush::listening);
  watch();
}

void SerialDriver::stop(std::function<void()> done) {
  stopping_ = true;
  if (gather_timer_) (void)read_some();  // what came is taken
  reopen_timer_.reset();
  dial_.reset();
  rest();
  acknowledger_.reset();
  port_.fd.reset();
  count_.up.set(0);
  loop_.post(std::move(done));
}

}  // namespace millrace
