#include "shutdown.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/logger.h"
#include "cli/command.h"
#include "loop/worker.h"

namespace millrace {
namespace {

constexpr Duration whole_within = std::chrono::seconds(8);
constexpr Duration step_within = std::chrono::seconds(3);  // for inputs to stop, and for uplinks
constexpr Duration log_within = std::chrono::seconds(1);   // is left to close it, at least
constexpr unsigned ends_after = 9;                         // seconds; also when the loop itself hangs

// What was accepted is in the log or the inbox by then, whatever becomes of the process; only an open log is
// not as it should be.
std::atomic<int> code_at_last{exit_io};

// A worker that is inside a system's or a library's call cannot be ended, and the end of a process waits for
// its threads (or the loop itself hangs): after this long the process ends as it is, and says who was at
// work.
void end_at_last(unsigned seconds) {
  struct sigaction action {};
  action.sa_handler = [](int) {
    constexpr std::string_view words = "stopping took too long; ending without those that still work: ";
    char line[512];
    std::copy(words.begin(), words.end(), line);
    std::size_t size = words.size() + busy_workers(line + words.size(), sizeof line - words.size() - 1);
    line[size++] = '\n';
    (void)!::write(STDERR_FILENO, line, size);
    ::_exit(code_at_last);
  };
  ::sigaction(SIGALRM, &action, nullptr);
  ::alarm(seconds);
}

std::string busy_workers_text() {
  char names[256];
  return {names, busy_workers(names, sizeof names)};
}

}  // namespace

bool Shutdown::begin() {
  if (std::exchange(begun_, true)) return false;
  end_at_last(ends_after);
  ends_ = loop_.now() + whole_within;
  whole_ = loop_.after(whole_within, [] {
    LOG_ERROR("the log was not closed within ", format_duration(whole_within),
              " (a disk that does not answer?); ending. What was accepted is in it "
              "or in the inbox. Still at work: ",
              busy_workers_text());
    std::_Exit(exit_io);
  });
  return true;
}

Duration Shutdown::left_but(Duration kept) const {
  return std::max<Duration>(ends_ - loop_.now() - kept, std::chrono::seconds(1));
}

std::function<void()> Shutdown::step(std::function<std::string()> who, std::function<void()> next) {
  auto once = [this, going_on = std::make_shared<bool>(false), next = std::move(next)] {
    if (std::exchange(*going_on, true)) return;
    step_.reset();
    next();
  };
  const Duration patience = std::min(step_within, left_but(log_within));
  step_ = loop_.after(patience, [this, once, patience, who = std::move(who)] {
    abandoned_ = true;
    const std::string at_work = busy_workers_text();
    LOG_WARN(who(), " did not stop within ", format_duration(patience), "; ending without",
             at_work.empty() ? "" : ". Still at work: ", at_work);
    loop_.post(once);
  });
  return once;
}

void Shutdown::log_closed() { code_at_last = exit_ok; }

}  // namespace millrace
