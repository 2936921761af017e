#include "base/logger.h"

#include <poll.h>
#include <unistd.h>

#include <cstdlib>

#include "base/journal.h"
#include "base/utf8.h"

namespace millrace {
namespace {

std::atomic<Level> least{Level::info};
std::atomic<std::uint64_t> dropped{0};

constexpr std::uint32_t lines_per_window = 10;
constexpr std::int64_t window_ns = 10'000'000'000;
// A pipe that poll(2) calls writable takes PIPE_BUF bytes without blocking; longer lines are cut.
constexpr std::size_t line_bytes_max = 3900;

}  // namespace

bool LogSite::may_speak(std::uint64_t& suppressed) {
  const std::int64_t now = SystemClock{}.now().ns;
  std::int64_t started = window_started_ns_.load(std::memory_order_relaxed);
  if (started == 0 || now - started > window_ns) {
    if (window_started_ns_.compare_exchange_strong(started, now)) spoken_.store(0);
  }
  if (spoken_.fetch_add(1) >= lines_per_window) {
    swallowed_.fetch_add(1);
    return false;
  }
  suppressed = swallowed_.exchange(0);
  return true;
}

void set_log_level(Level level) { least.store(level); }
bool log_enabled(Level level) { return level >= least.load(std::memory_order_relaxed); }
std::uint64_t log_lines_dropped() { return dropped.load(); }

void log_line(Level level, const std::string& line, std::uint64_t suppressed) {
  static constexpr const char* prefixes[] = {"<7>debug: ", "<6>", "<4>warning: ", "<3>error: "};
  static constexpr int priorities[] = {7, 6, 4, 3};
  static const bool to_journal = journal_reads(STDERR_FILENO, std::getenv("JOURNAL_STREAM"));
  // What a line says of the outside may hold anything: it stays one line of UTF-8.
  const std::string whole = shown(line, line_bytes_max);
  const std::string_view said = cut_utf8(whole, line_bytes_max);
  if (to_journal) {
    const JournalAnswer answer =
        send_to_journal(journal_entry(priorities[static_cast<int>(level)], said, suppressed));
    if (answer == JournalAnswer::busy) dropped.fetch_add(1);
    if (answer != JournalAnswer::absent) return;
  }
  std::string out = text(prefixes[static_cast<int>(level)], said);
  if (suppressed > 0) out += text(" (", suppressed, " more like this)");
  out += '\n';
  pollfd writable{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&writable, 1, 0) != 1 || (writable.revents & POLLOUT) == 0 ||
      ::write(STDERR_FILENO, out.data(), out.size()) < 0) {
    dropped.fetch_add(1);
  }
}

}  // namespace millrace
