#include "observe/sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/files.h"

namespace millrace {
namespace {

// How often the watchdog wants to hear from us: half of WATCHDOG_USEC; 0: not at all.
Duration watchdog_interval() {
  const char* usec = std::getenv("WATCHDOG_USEC");
  const char* pid = std::getenv("WATCHDOG_PID");
  if (!usec || (pid && std::strtoll(pid, nullptr, 10) != ::getpid())) return Duration{0};
  return std::chrono::microseconds(std::strtoll(usec, nullptr, 10) / 2);
}

}  // namespace

void sd_notify(const std::string& state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un to{};
  if (!path || std::strlen(path) == 0 || std::strlen(path) >= sizeof to.sun_path) return;
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, path, std::strlen(path));
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';
  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  // systemd not listening is no trouble of ours.
  (void)!::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                  reinterpret_cast<const sockaddr*>(&to), size);
}

void WatchdogBeat::beat() {
  const Duration every = watchdog_interval();
  if (every.count() <= 0) return;
  sd_notify("WATCHDOG=1");
  timer_ = loop_.after(every, [this] { beat(); });
}

}  // namespace millrace
