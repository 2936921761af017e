#include "drivers/serial/serial_trial.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "base/utf8.h"
#include "decode/framer.h"
#include "drivers/serial/hearing.h"
#include "drivers/serial/line_marks.h"
#include "drivers/serial/sign_on.h"
#include "net/waiting_stream.h"

namespace millrace {
namespace {

constexpr const char* came_back_words =
    "what was asked came back: an adapter that gives back what it sends needs request_echo = true";

class Answer {
 public:
  Answer(const SerialInputConfig& config, const std::string& request)
      : framer_(make_framer(config.framing, config.frame_max)),
        identifies_(config.sign_on),
        request_(request),
        echo_(config.request_echo ? request : std::string()) {
    sign_on_.begin();
  }

  Duration pause() const { return framer_->pause(); }
  bool any() const { return heard_ > 0; }
  // In words, once a frame is whole.
  const std::string& words() const { return words_; }
  bool echoed() const { return echoed_; }
  std::string unframed() const {
    return text("no whole frame in ", heard_, " bytes: ", shown(begin_, 40),
                "; framing and baud are as configured?");
  }

  void push(BytesView bytes, bool marked) {
    if (!marked) return take(bytes);
    marks_.push(
        bytes, [this](BytesView good) { take(good); },
        [this](std::byte wrong) {
          framer_->spoil();
          take({&wrong, 1});
        });
  }
  void silent() {
    framer_->on_pause([this](const Framer::Frame& frame) { keep(frame); });
  }

 private:
  void take(BytesView bytes) {
    bytes = behind_echo(echo_, bytes);
    if (bytes.empty()) return;
    heard_ += bytes.size();
    if (begin_.size() < 64) begin_ += text_of(bytes.first(std::min<std::size_t>(bytes.size(), 64)));
    // The speed that it offers is for the daemon to take.
    if (identifies_) {
      std::size_t taken = 0;
      if (sign_on_.push(bytes, taken)) words_ = text("identifies itself: ", shown(begin_, 40));
      return;
    }
    framer_->push(bytes, [this](const Framer::Frame& frame) { keep(frame); });
  }
  void keep(const Framer::Frame& frame) {
    if (!words_.empty()) return;
    echoed_ = echoed_ || came_back(frame.bytes, request_);
    if (came_back(frame.bytes, request_)) return;
    const std::string_view channel = frame.channel;
    words_ =
        text("answers ", shown(text_of(frame.bytes), 60), channel.empty() ? "" : text(" (", channel, ")"));
  }

  const std::unique_ptr<Framer> framer_;
  const bool identifies_;
  const std::string request_;
  std::string echo_, begin_, words_;
  bool echoed_ = false;
  std::size_t heard_ = 0;
  LineMarks marks_;
  SignOn sign_on_;
};

}  // namespace

Result<SerialPort> open_place(const SerialInputConfig& config) {
  if (config.server.empty()) return open_serial_port(config);
  const auto where = parse_host_port(config.server);
  if (!where.ok()) return where.status();
  const SystemClock clock;
  auto socket =
      connect_waiting({clock, [] { return true; }}, where.value(), clock.now() + std::chrono::seconds(10));
  if (!socket.ok()) return socket.status();
  return SerialPort{std::move(socket).value()};
}

Trial ask_once(const SerialInputConfig& config, SerialPort& port, const std::string& request) {
  const std::string what = text("input ", config.name, ": request '", request_name(request), "'");
  const auto bad = [&](std::string words) { return Trial{Trial::State::bad, what, std::move(words)}; };
  const int fd = port.fd.get();
  char before[4096];
  while (::read(fd, before, sizeof before) > 0) {  // what was said before is no answer
  }
  const SystemClock clock;
  const Instant begin = clock.now();
  const ssize_t sent = config.server.empty() ? ::write(fd, request.data(), request.size())
                                             : ::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(request.size())) return bad("cannot be sent whole");
  Answer answer(config, request);
  Instant last = begin;
  while (answer.words().empty() && clock.now() - begin < config.request_timeout) {
    Duration wait = config.request_timeout - (clock.now() - begin);
    if (answer.any() && answer.pause() > Duration::zero()) wait = std::min(wait, answer.pause());
    pollfd waits{fd, POLLIN, 0};
    const int ready = ::poll(&waits, 1, static_cast<int>(std::max<std::int64_t>(1, to_ms(wait))));
    if (ready == 0 && answer.any()) answer.silent();
    if (ready <= 0) continue;
    char buffer[1024];
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return bad("the port went away");
    last = clock.now();
    answer.push(bytes_of({buffer, static_cast<std::size_t>(got)}), port.marked);
  }
  if (!answer.words().empty())
    return {Trial::State::good, what,
            text(answer.words(), ", in ", to_ms(last - begin), " ms", answer.echoed() ? "; " : "",
                 answer.echoed() ? came_back_words : "")};
  return bad(answer.echoed() ? came_back_words
             : answer.any()  ? answer.unframed()
                             : text("no answer within ", format_duration(config.request_timeout)));
}

}  // namespace millrace
