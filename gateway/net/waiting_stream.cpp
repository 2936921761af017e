#include "net/waiting_stream.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "net/resolver.h"

namespace millrace {
namespace {

constexpr Duration look_whether_wanted = std::chrono::milliseconds(100);

timespec timespec_of(Duration d) {
  return {static_cast<time_t>(d.count() / 1'000'000'000), static_cast<long>(d.count() % 1'000'000'000)};
}

// 0, or the errno.
int connect_one(const Waiter& waiter, int fd, const addrinfo& to, Instant deadline) {
  int error = ::connect(fd, to.ai_addr, to.ai_addrlen) == 0 ? 0 : errno;
  if (error != EINPROGRESS) return error;
  if (!waiter.await(fd, POLLOUT, deadline)) return ETIMEDOUT;
  socklen_t length = sizeof error;
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

Result<Fd> try_address(const Waiter& waiter, const std::string& address, std::uint16_t port,
                       Instant deadline) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  const std::string where = HostPort{address, port}.to_string();
  if (const int rc = ::getaddrinfo(address.c_str(), text(port).c_str(), &hints, &found); rc != 0)
    return Status{Code::unavailable, text(where, ": ", ::gai_strerror(rc))};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  Fd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return status_from_errno(errno, "a socket");
  if (const int error = connect_one(waiter, fd.get(), *found, deadline); error != 0)
    return status_from_errno(error, "connect to " + where);
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  return fd;
}

class PlainStream final : public WaitingStream {
 public:
  PlainStream(Waiter waiter, Fd socket) : waiter_(std::move(waiter)), socket_(std::move(socket)) {}

  Status send(BytesView bytes, Instant deadline) override {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN || errno == EINTR) {
        if (!waiter_.await(socket_.get(), POLLOUT, deadline)) return {Code::timeout, "it takes nothing more"};
      } else {
        return status_from_errno(errno, "send");
      }
    }
    return {};
  }

  Result<std::size_t> receive(std::span<std::byte> to, Instant deadline) override {
    while (waiter_.await(socket_.get(), POLLIN, deadline)) {
      const ssize_t got = ::recv(socket_.get(), to.data(), to.size(), 0);
      if (got > 0) return static_cast<std::size_t>(got);
      if (got == 0) return Status{Code::unavailable, "the connection was closed"};
      if (errno != EAGAIN && errno != EINTR) return status_from_errno(errno, "receive");
    }
    return Status{Code::timeout, "nothing came"};
  }

 private:
  Waiter waiter_;
  Fd socket_;
};

}  // namespace

bool Waiter::await(int fd, short events, Instant deadline) const {
  while (wanted()) {
    const Duration left = std::max(deadline - clock.now(), Duration{0});
    pollfd one{fd, events, 0};
    const timespec some = timespec_of(std::min(left, look_whether_wanted));
    if (::ppoll(&one, 1, &some, nullptr) > 0) return true;
    if (left.count() == 0) return false;
  }
  return false;
}

void Waiter::rest(Duration duration) const {
  const Instant end = clock.now() + duration;
  for (Duration left = duration; left.count() > 0 && wanted(); left = end - clock.now()) {
    const timespec some = timespec_of(std::min(left, look_whether_wanted));
    ::ppoll(nullptr, 0, &some, nullptr);
  }
}

Result<Fd> connect_waiting(const Waiter& waiter, const HostPort& where, Instant deadline) {
  auto addresses = look_up_waiting(waiter.clock, where.host, deadline - waiter.clock.now(), waiter.wanted);
  if (!addresses.ok()) return addresses.status();
  Status last{Code::unavailable, text(where.host, " has no address")};
  auto left = static_cast<std::int64_t>(addresses.value().size());
  for (const std::string& address : addresses.value()) {
    const Instant now = waiter.clock.now();
    auto fd = try_address(waiter, address, where.port, now + std::max(deadline - now, Duration{0}) / left--);
    if (fd.ok()) return fd;
    last = fd.status();
  }
  return last;
}

std::unique_ptr<WaitingStream> plain_stream(Waiter waiter, Fd socket) {
  return std::make_unique<PlainStream>(std::move(waiter), std::move(socket));
}

}  // namespace millrace
