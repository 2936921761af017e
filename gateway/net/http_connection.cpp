#include "net/http_connection.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::size_t together_max = 16 << 10;  // a body that is sent in one piece with its head
// A connection that a server closes for being idle crosses our request: then its end comes this soon.
constexpr Duration crossing = std::chrono::seconds(5);
// Who connects asks at once; a server may end what it has heard nothing on for longer.
constexpr Duration rests_after = std::chrono::seconds(1);

std::string head_of(const HttpAsk& ask, const HttpUrl& where) {
  std::string head = text(ask.method, " ", ask.target.empty() ? "/" : ask.target,
                          " HTTP/1.1\r\nHost: ", host_of(where), "\r\n");
  for (const auto& [name, value] : ask.headers) head += text(name, ": ", value, "\r\n");
  if (!ask.body.empty() || ask.method == "POST" || ask.method == "PUT")
    head += text("Content-Length: ", ask.body.size(), "\r\n");
  return head + "\r\n";
}

}  // namespace

HttpConnection::HttpConnection(Loop& loop, HttpUrl where, TlsClient* tls, Options options,
                               std::function<void(const Status&)> connected, std::function<void()> closed)
    : loop_(loop),
      where_(std::move(where)),
      options_(std::move(options)),
      connected_(std::move(connected)),
      closed_(std::move(closed)) {
  dial_ = std::make_unique<Dial>(
      loop, where_.where, where_.secure ? tls : nullptr, options_.connect_timeout,
      [this](Result<std::unique_ptr<Stream>> result) { on_dialled(std::move(result)); }, options_.way);
}

HttpConnection::~HttpConnection() = default;

void HttpConnection::on_dialled(Result<std::unique_ptr<Stream>> result) {
  const auto connected = std::move(connected_);
  if (!result.ok()) return connected(result.status());
  stream_ = std::move(result).value();
  dialled_ = loop_.now();
  stream_->read([this](BytesView bytes) { on_bytes(bytes); });
  // The Dial is inside its own call: it goes with us, or with the next turn.
  timer_ = loop_.after(Duration{0}, [this, connected] {
    timer_.reset();
    dial_.reset();
    if (stream_) connected({});
    else connected({Code::unavailable, "the server closed the connection at once"});
  });
}

void HttpConnection::ask(HttpAsk ask, std::function<void(HttpAnswered)> answered) {
  MILLRACE_CHECK(idle());
  ask_ = std::move(ask);
  answered_ = std::move(answered);
  reader_ = std::make_unique<HttpReplyReader>(options_.answer_max, ask_.method == "HEAD");
  begun_ = moved_ = loop_.now();
  sent_ = early_ = false;
  // What lies unread on the connection was said before we asked. By TLS it may be a ticket: a turn of the
  // loop reads it.
  timer_ = loop_.after(Duration{0}, [this] { send(); });
}

void HttpConnection::send() {
  if (stream_->unread_bytes().value_or(1) > 0 && loop_.now() - begun_ < options_.answer_timeout) {
    timer_ = loop_.after(std::chrono::milliseconds(1), [this] { send(); });
    return;
  }
  sent_ = true;
  begun_ = moved_ = loop_.now();
  rested_ = ++asked_ > 1 || begun_ - dialled_ > rests_after;
  std::string head = head_of(ask_, where_);
  const std::size_t size = head.size() + ask_.body.size();
  written_ = moved_bytes_ = 0;
  allowance_ = options_.upload ? options_.upload->rate().time_of(size) : Duration{0};
  if (options_.upload) {
    unsent_ = std::move(head) + ask_.body;
    turn_ = options_.upload->join(size, [this](std::size_t some) { feed(some); });
  } else {
    if (size <= together_max) {
      stream_->write(head + ask_.body);
    } else {
      stream_->write(std::move(head));
      stream_->write(std::move(ask_.body));
    }
    written_ = size;
  }
  ask_ = {};
  watch();
}

// What the link is to carry of it now.
void HttpConnection::feed(std::size_t size) {
  stream_->write(unsent_.substr(static_cast<std::size_t>(written_), size));
  written_ += size;
  if (written_ == unsent_.size()) unsent_ = {};
}

void HttpConnection::watch() {
  const Duration look = std::max<Duration>(options_.answer_timeout / 16, std::chrono::milliseconds(20));
  timer_ = loop_.after(look, [this] {
    const Instant now = loop_.now();
    const std::size_t unmoved = stream_->unacknowledged_bytes();
    const std::uint64_t there = written_ - std::min<std::uint64_t>(written_, unmoved);
    // Who waits for its turn on the link does not wait for the server.
    if (there > moved_bytes_ || (!unsent_.empty() && unmoved == 0)) moved_ = now;
    moved_bytes_ = std::max(moved_bytes_, there);
    const bool silent = now - moved_ >= options_.answer_timeout,
               over = now - begun_ >= 4 * options_.answer_timeout + allowance_;
    if (!silent && !over) return watch();
    HttpAnswered answer;
    answer.late = true;
    const char* what = unmoved > 0        ? "the request was not taken in time"
                       : reader_->heard() ? "the answer did not end in time"
                                          : "no answer in time";
    answer.status = {Code::timeout, what};
    stream_.reset();
    finish(std::move(answer));
  });
}

void HttpConnection::on_bytes(BytesView bytes) {
  if (!answered_ || !sent_) {
    // Nobody asked. Where a request is about to be sent it gets no answer here.
    stream_.reset();
    if (!answered_) {
      if (dial_) return;  // nobody has it yet
      const auto closed = closed_;
      return closed();
    }
    HttpAnswered answer;
    answer.stale = bytes.empty();
    answer.status = {Code::unavailable, bytes.empty() ? "the connection was closed before the request"
                                                      : "something came before it was asked for"};
    return finish(std::move(answer));
  }
  if (!reader_->begun()) early_ = !unsent_.empty() || stream_->unacknowledged_bytes() > 0;
  switch (reader_->push(bytes)) {
    case HttpReplyReader::State::reading: return;
    case HttpReplyReader::State::whole: return on_reply();
    case HttpReplyReader::State::broken: break;
  }
  HttpAnswered answer;
  answer.after = loop_.now() - begun_;
  answer.hung_up = !reader_->heard();
  answer.stale = !reader_->heard() && rested_ && answer.after < crossing;
  answer.status = {Code::unavailable, reader_->fault()};
  stream_.reset();
  finish(std::move(answer));
}

void HttpConnection::on_reply() {
  HttpAnswered answer;
  answer.after = loop_.now() - begun_;
  answer.reply = reader_->take();
  const bool good = answer.reply.status < 300;
  if (good && early_) answer.status = {Code::unavailable, "the answer came before the request was there"};
  else if (good && reader_->ahead()) answer.status = {Code::unavailable, "more came than one answer"};
  else if (good && !answer.reply.framed)
    answer.status = {Code::unavailable,
                     "the answer has no end of its own, so that nobody can tell whether it is whole"};
  if (early_ || reader_->ahead() || !answer.reply.keeps || stream_->unacknowledged_bytes() > 0)
    stream_.reset();
  finish(std::move(answer));
}

void HttpConnection::finish(HttpAnswered answer) {
  timer_.reset();
  turn_.reset();
  unsent_ = {};
  const auto answered = std::exchange(answered_, nullptr);
  answered(std::move(answer));
}

std::string host_of(const HttpUrl& url) {
  std::string host = url.where.to_string();
  if (url.where.port == (url.secure ? 443 : 80)) host.resize(host.rfind(':'));
  return host;
}

std::string percent_encoded(std::string_view text, bool keep_slash) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~' ||
        (keep_slash && c == '/')) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

}  // namespace millrace
