#include "net/dial.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/text.h"

namespace millrace {
namespace {

// The addresses of a host as numbers, in the order the system prefers (RFC 6724). Blocks. Any thread.
Result<std::vector<std::string>> resolve(const HostPort& where) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  if (const int rc = ::getaddrinfo(where.host.c_str(), nullptr, &wanted, &found); rc != 0) {
    return Status{Code::unavailable, text("cannot resolve ", where.host, ": ", ::gai_strerror(rc))};
  }
  std::vector<std::string> addresses;
  for (const addrinfo* at = found; at; at = at->ai_next) {
    char host[NI_MAXHOST] = {};
    if (::getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0) continue;
    std::string address = HostPort{host, where.port}.to_string();
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) addresses.push_back(std::move(address));
  }
  ::freeaddrinfo(found);
  if (addresses.empty()) return Status{Code::unavailable, text("cannot resolve ", where.host, ": no address")};
  return addresses;
}

}  // namespace

struct Dial::Prepared {
  Status status;
  std::vector<std::string> addresses;
  std::shared_ptr<TlsClient::Credentials> credentials;
};

Dial::Dial(Loop& loop, HostPort where, TlsClient* tls, Duration timeout, Done done)
    : loop_(loop), where_(std::move(where)), tls_(tls), deadline_(loop.now() + timeout), done_(std::move(done)) {
  timer_ = loop_.after(timeout, [this] { finish(Status{Code::timeout, text("cannot connect: ", where_.to_string(), " did not answer in time")}); });
  auto prepared = std::make_shared<Prepared>();
  // The worker may be held up by a resolver without an answer: what nobody waits for any more is not begun.
  auto load = tls_ ? tls_->loader() : nullptr;
  loop_.run_blocking(
      "resolve",
      [prepared, wanted = wanted_, host = where_, load = std::move(load)] {
        if (!*wanted) return;
        if (load) {
          auto credentials = load();
          if (!credentials.ok()) prepared->status = {Code::invalid, "TLS: " + credentials.status().detail()};
          else prepared->credentials = std::move(credentials).value();
        }
        if (!prepared->status.ok()) return;
        auto addresses = resolve(host);
        if (addresses.ok()) prepared->addresses = std::move(addresses).value();
        else prepared->status = {addresses.status().code(), "cannot connect: " + addresses.status().detail()};
      },
      [this, prepared, wanted = wanted_] {
        if (*wanted) on_prepared(*prepared);
      });
}

Dial::~Dial() { *wanted_ = false; }

void Dial::on_prepared(Prepared& prepared) {
  if (!prepared.status.ok()) return finish(prepared.status);
  credentials_ = std::move(prepared.credentials);
  addresses_ = std::move(prepared.addresses);
  try_next({});
}

void Dial::try_next(Status last) {
  stream_.reset();
  if (addresses_.empty()) return finish(Status{last.code(), "cannot connect: " + last.detail()});
  const std::string address = addresses_.front();
  addresses_.erase(addresses_.begin());
  const Duration left = std::max(deadline_ - loop_.now(), Duration{0}) / static_cast<int>(addresses_.size() + 1);
  timer_ = loop_.after(left, [this, address] { try_next({Code::timeout, text("connect to ", address, ": no answer in time")}); });
  auto stream = loop_.connect(address, [this](Status status) { on_connected(std::move(status)); });
  if (stream.ok()) {
    stream_ = std::move(stream).value();
    return;
  }
  // Not from inside the constructor's or a callback's own call: the last failure ends in `done`, which may destroy us.
  timer_ = loop_.after(Duration{0}, [this, status = stream.status()] { try_next(status); });
}

void Dial::on_connected(Status status) {
  if (!status.ok()) return try_next(std::move(status));
  if (!tls_) return finish(std::move(stream_));
  timer_ = loop_.after(std::max(deadline_ - loop_.now(), Duration{0}), [this] { finish(Status{Code::timeout, "TLS: no answer in time"}); });
  auto secured = tls_->connect(std::move(stream_), where_.host, credentials_, [this](const Status& shaken, const TlsPeer&) {
    if (shaken.ok()) finish(std::move(stream_));
    else finish(shaken);
  });
  if (!secured.ok()) return finish(Status{Code::invalid, "TLS: " + secured.status().detail()});
  stream_ = std::move(secured).value();
  stream_->read([](BytesView) {});  // the handshake needs reading; what comes later is the owner's
}

void Dial::finish(Result<std::unique_ptr<Stream>> result) {
  timer_.reset();
  const auto done = std::move(done_);
  done(std::move(result));
}

}  // namespace millrace
