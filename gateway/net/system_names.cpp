#include "net/system_names.h"

#include <netdb.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/files.h"
#include "base/text.h"

namespace millrace {
namespace {

using Addresses = std::vector<std::string>;

std::atomic<int> threads{0};

Result<Addresses> look_up(const std::string& host) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  if (const int rc = ::getaddrinfo(host.c_str(), nullptr, &wanted, &found); rc != 0)
    return Status{Code::unavailable, ::gai_strerror(rc)};
  Addresses addresses;
  for (const addrinfo* at = found; at; at = at->ai_next) {
    char number[NI_MAXHOST] = {};
    if (::getnameinfo(at->ai_addr, at->ai_addrlen, number, sizeof number, nullptr, 0, NI_NUMERICHOST) != 0)
      continue;
    if (std::find(addresses.begin(), addresses.end(), number) == addresses.end())
      addresses.emplace_back(number);
  }
  ::freeaddrinfo(found);
  if (addresses.empty()) return Status{Code::unavailable, "the name has no address"};
  return addresses;
}

}  // namespace

struct SystemNames::Shared {
  Fd ready;
  std::mutex mutex;
  std::optional<Result<Addresses>> answer;
};

bool names_mdns(std::string_view nsswitch_conf) {
  for (std::string_view line : split(nsswitch_conf, '\n')) {
    line = trim(line.substr(0, line.find('#')));
    if (line.starts_with("hosts:") && line.find("mdns") != std::string_view::npos) return true;
  }
  return false;
}

bool SystemNames::wanted_for(const std::string& host) {
  std::string_view name = host;
  if (name.ends_with('.')) name.remove_suffix(1);
  constexpr std::string_view local = ".local";
  if (name.size() <= local.size()) return false;
  const auto same = [](char a, char b) { return (a | 0x20) == b || a == b; };
  if (!std::equal(local.begin(), local.end(), name.end() - local.size(),
                  [&](char l, char n) { return same(n, l); }))
    return false;
  const auto content = read_file("/etc/nsswitch.conf", 64 << 10);
  return content.ok() && names_mdns(content.value());
}

Result<std::unique_ptr<SystemNames>> SystemNames::ask(const std::string& host) {
  const Status too_many{Code::unavailable, text("the system has not answered ", threads_max,
                                                " earlier questions for names yet")};
  if (threads.fetch_add(1) >= threads_max) {
    --threads;
    return too_many;
  }
  auto shared = std::make_shared<Shared>();
  shared->ready = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Status started = shared->ready.valid() ? Status{} : Status{Code::unavailable, std::strerror(errno)};
  sigset_t all, old;  // signals belong to the loop's thread
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &old);
  try {
    if (started.ok())
      std::thread([shared, host] {
        auto answer = look_up(host);
        {
          const std::lock_guard lock(shared->mutex);
          shared->answer = std::move(answer);
        }
        const std::uint64_t one = 1;
        (void)!::write(shared->ready.get(), &one, sizeof one);
        --threads;
      }).detach();
  } catch (const std::system_error& error) { started = {Code::unavailable, error.what()}; }
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (!started.ok()) {
    --threads;
    return started;
  }
  return std::unique_ptr<SystemNames>(new SystemNames(std::move(shared)));
}

int SystemNames::fd() const { return shared_->ready.get(); }

std::optional<Result<Addresses>> SystemNames::answer() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->answer;
}

}  // namespace millrace
