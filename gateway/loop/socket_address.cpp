#include "loop/socket_address.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <cstring>

#include "base/host_port.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr int listen_backlog = 1024;  // a fleet that comes back after a power cut comes at once

Status bound(int rc, std::string_view address) {
  return rc == 0 ? Status{} : Status{Code::io, text("bind ", address, ": ", std::strerror(errno))};
}

// TCP's own sign of life (RFC 1122, section 4.2.3.6): who loses power without a word, and would never have to
// say anything, is gone eight minutes after his last packet. Accepted sockets have it from the one that
// listens.
void expect_life(int fd) {
  constexpr int on = 1, idle_seconds = 300, every_seconds = 30, times = 6;
  constexpr unsigned unacknowledged_ms = (idle_seconds + every_seconds * times) * 1000;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_seconds, sizeof every_seconds);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
}

Status bind_tcp(std::string_view address, Fd& out) {
  sockaddr_storage where{};
  if (Status status = parse_address(address, where); !status.ok()) return status;
  out = Fd(::socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (out.valid()) {
    // a restart does not wait for TIME_WAIT
    ::setsockopt(out.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    expect_life(out.get());
  }
  return bound(out.valid() ? ::bind(out.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) : -1,
               address);
}

Status bind_unix(std::string_view address, const std::string& path, Fd& out) {
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  if (path.size() >= sizeof where.sun_path)
    return {Code::io, text("bind ", address, ": the path is too long for a socket")};
  std::memcpy(where.sun_path, path.data(), path.size());
  // a killed daemon leaves its socket; the log's lock already keeps a second instance out
  ::unlink(path.c_str());
  out = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const mode_t old = ::umask(0117);
  const int rc =
      out.valid() ? ::bind(out.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) : -1;
  const int error = errno;
  ::umask(old);
  errno = error;
  return bound(rc, address);
}

}  // namespace

Status parse_address(std::string_view address, sockaddr_storage& where) {
  const auto parsed = parse_host_port(address, 0, 0);
  if (!parsed.ok()) return parsed.status();
  const auto& [host, port] = parsed.value();
  if (uv_ip4_addr(host.c_str(), port, reinterpret_cast<sockaddr_in*>(&where)) == 0) return {};
  if (uv_ip6_addr(host.c_str(), port, reinterpret_cast<sockaddr_in6*>(&where)) == 0) return {};
  return {Code::invalid, text("\"", address, "\" is not a numeric address with a port")};
}

std::string address_text(const sockaddr_storage& peer) {
  char host[64] = {};
  // the port lies at the same place in sockaddr_in6
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&peer);
  if (peer.ss_family == AF_INET6) {
    uv_ip6_name(reinterpret_cast<const sockaddr_in6*>(&peer), host, sizeof host);
    return text("[", static_cast<const char*>(host), "]:", ntohs(v4->sin_port));
  }
  if (peer.ss_family != AF_INET) return "";
  uv_ip4_name(v4, host, sizeof host);
  return text(static_cast<const char*>(host), ":", ntohs(v4->sin_port));
}

Result<Fd> listening_socket(const std::string& address) {
  Fd socket;
  Status status = address.starts_with(unix_prefix)
                      ? bind_unix(address, address.substr(unix_prefix.size()), socket)
                      : bind_tcp(address, socket);
  if (status.ok() && ::listen(socket.get(), listen_backlog) != 0)
    status = {Code::io, text("listen on ", address, ": ", std::strerror(errno))};
  if (!status.ok()) return status;
  return socket;
}

std::uint16_t bound_port(const Fd& socket) {
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&where), &size) != 0 ||
      where.ss_family == AF_UNIX)
    return 0;
  // the port lies at the same place in sockaddr_in6
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&where);
  return ntohs(v4->sin_port);
}

}  // namespace millrace
