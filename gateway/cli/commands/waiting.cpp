#include "cli/commands/waiting.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <atomic>

namespace millrace {
namespace {

std::atomic<bool> end_now{false};

}  // namespace

void end_on_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { end_now = true; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

bool ended() { return end_now; }

bool wait_readable(int descriptor, Duration at_most) {
  pollfd one{descriptor, POLLIN, 0};
  const int ready =
      ::poll(&one, descriptor < 0 ? 0 : 1, static_cast<int>(std::max<std::int64_t>(0, to_ms(at_most))));
  return ready == 1 && (one.revents & (POLLIN | POLLHUP)) != 0;
}

}  // namespace millrace
