#include "net/dial.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {

Dial::Dial(Loop& loop, HostPort where, TlsClient* tls, Duration timeout, Done done, DialWay way)
    : loop_(loop),
      where_(std::move(where)),
      tls_(tls),
      timeout_(timeout),
      done_(std::move(done)),
      way_(std::move(way)) {
  if (tls_) read_certificates();
  else look_up();
}

Dial::~Dial() { *alive_ = false; }

void Dial::read_certificates() {
  timer_ = loop_.after(timeout_, [this] {
    finish(Status{Code::timeout, "TLS: the certificates could not be read in time"});
  });
  auto load = tls_->loader();
  auto read = std::make_shared<Result<std::shared_ptr<TlsClient::Credentials>>>(
      Status{Code::unavailable, "not read"});
  loop_.run_blocking(
      "tls", [read, load = std::move(load)] { *read = load(); },
      [this, read, alive = alive_] {
        if (!*alive || !done_) return;
        if (!read->ok()) return finish(Status{Code::invalid, "TLS: " + read->status().detail()});
        credentials_ = std::move(*read).value();
        tls_->loaded(*credentials_);
        look_up();
      });
}

void Dial::look_up() {
  timer_.reset();  // the lookup has a deadline of its own
  const HostPort& first = way_.proxy ? way_.proxy->where : where_;
  lookup_ = std::make_unique<Lookup>(
      loop_, first.host, timeout_,
      [this](Result<std::vector<std::string>> addresses) { on_addresses(std::move(addresses)); });
}

void Dial::on_addresses(Result<std::vector<std::string>> addresses) {
  if (!addresses.ok())
    return finish(Status{addresses.status().code(), "cannot connect: " + addresses.status().detail()});
  addresses_ = std::move(addresses).value();
  deadline_ = loop_.now() + timeout_;
  try_next();
}

void Dial::try_next() {
  const Duration left = std::max(deadline_ - loop_.now(), Duration{0});
  if (addresses_.empty()) {
    if (tries_.empty() || left == Duration{0})
      return finish(Status{last_.code(), "cannot connect: " + last_.detail()});
    timer_ = loop_.after(left, [this] { try_next(); });
    return;
  }
  const std::string address =
      HostPort{addresses_.front(), way_.proxy ? way_.proxy->where.port : where_.port}.to_string();
  addresses_.erase(addresses_.begin());
  timer_ = loop_.after(left / static_cast<int>(addresses_.size() + 1), [this, address] {
    last_ = {Code::timeout, text("connect to ", address, ": no answer in time")};
    try_next();
  });
  const unsigned number = ++tried_;
  auto stream =
      loop_.connect(address, [this, number](Status status) { on_tried(number, std::move(status)); });
  if (stream.ok()) {
    tries_.push_back({number, std::move(stream).value()});
    return;
  }
  // Not from inside the constructor's or a callback's own call: the last failure ends in `done`, which may
  // destroy us.
  last_ = stream.status();
  timer_ = loop_.after(Duration{0}, [this] { try_next(); });
}

void Dial::on_tried(unsigned number, Status status) {
  const auto one =
      std::find_if(tries_.begin(), tries_.end(), [number](const Try& t) { return t.number == number; });
  auto stream = std::move(one->stream);
  tries_.erase(one);
  if (!status.ok()) {
    last_ = std::move(status);
    return try_next();
  }
  tries_.clear();
  stream_ = way_.count ? counted(std::move(stream), *way_.count) : std::move(stream);
  if (way_.proxy) ask_proxy();
  else if (tls_) shake_hands();
  else finish(std::move(stream_));
}

void Dial::ask_proxy() {
  timer_ = loop_.after(std::max(deadline_ - loop_.now(), Duration{0}), [this] {
    finish(Status{Code::timeout, text("the proxy ", way_.proxy->where.to_string(), ": no answer in time")});
  });
  tunnel_ = std::make_unique<ProxyTunnel>(loop_, *stream_, *way_.proxy, where_, [this](const Status& status) {
    tunnel_.reset();
    if (!status.ok()) {
      stream_.reset();  // nobody reads it any more, and the proxy may say more
      return finish(status);
    }
    if (tls_) shake_hands();
    else finish(std::move(stream_));
  });
}

void Dial::shake_hands() {
  timer_ = loop_.after(std::max(deadline_ - loop_.now(), Duration{0}), [this] {
    finish(Status{Code::timeout, "TLS: no answer in time"});
  });
  auto secured = tls_->connect(std::move(stream_), where_.host, credentials_,
                               [this](const Status& shaken, const TlsPeer&) {
                                 if (shaken.ok()) finish(std::move(stream_));
                                 else finish(shaken);
                               });
  if (!secured.ok()) return finish(Status{Code::invalid, "TLS: " + secured.status().detail()});
  stream_ = std::move(secured).value();
  stream_->read([](BytesView) {});  // the handshake needs reading; what comes later is the owner's
}

void Dial::finish(Result<std::unique_ptr<Stream>> result) {
  timer_.reset();
  const auto done = std::exchange(done_, nullptr);
  if (done) done(std::move(result));
}

}  // namespace millrace
