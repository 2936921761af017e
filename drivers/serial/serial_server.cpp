#include "drivers/serial/serial_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "loop/socket_address.h"

namespace millrace {
namespace {

// The loop watches for what can be read; that a connection stands is seen by looking.
constexpr Duration connect_look = std::chrono::milliseconds(20);

// A socket on its way to "192.0.2.7:4001".
Result<Fd> begin_connecting(const std::string& address) {
  sockaddr_storage to{};
  if (Status status = parse_address(address, to); !status.ok()) return status;
  Fd socket(::socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return status_from_errno(errno, "a socket");
  const int on = 1, idle = 30, between = 15, times = 4;
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
  (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
  (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const auto size =
      static_cast<socklen_t>(to.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), size) != 0 && errno != EINPROGRESS)
    return status_from_errno(errno, "connect to " + address);
  return socket;
}

// Once it can be written to: whether it stands.
Status connected(const Fd& socket) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  return error == 0 ? Status{} : status_from_errno(error, "connect");
}

}  // namespace

ServerDial::ServerDial(Loop& loop, HostPort where, Duration timeout, Done done)
    : loop_(loop), where_(std::move(where)), timeout_(timeout), done_(std::move(done)) {
  lookup_ =
      std::make_unique<Lookup>(loop_, where_.host, timeout_, [this](Result<std::vector<std::string>> found) {
        if (!found.ok()) return try_next(found.status());
        addresses_ = std::move(found).value();
        std::ranges::reverse(addresses_);
        try_next({Code::unavailable, text("no address of ", where_.host)});
      });
}

void ServerDial::try_next(Status last) {
  timer_.reset();
  socket_.reset();
  while (!addresses_.empty()) {
    const std::string address = HostPort{addresses_.back(), where_.port}.to_string();
    addresses_.pop_back();
    auto socket = begin_connecting(address);
    if (socket.ok()) {
      socket_ = std::move(socket).value();
      deadline_ = loop_.now() + timeout_;
      timer_ = loop_.after(Duration::zero(), [this] { look(); });
      return;
    }
    last = socket.status();
  }
  const Done done = std::move(done_);
  done(std::move(last));
}

void ServerDial::look() {
  pollfd waits{socket_.get(), POLLOUT, 0};
  if (::poll(&waits, 1, 0) <= 0) {
    if (loop_.now() >= deadline_)
      return try_next({Code::timeout, text(where_.to_string(), " does not answer")});
    timer_ = loop_.after(connect_look, [this] { look(); });
    return;
  }
  if (Status status = connected(socket_); !status.ok()) return try_next(std::move(status));
  const Done done = std::move(done_);
  done(std::move(socket_));
}

}  // namespace millrace
