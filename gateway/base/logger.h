// Lines for the operator, one a fact, to stderr with sd-daemon(3)'s priority; to the journal where it reads
// that (journal.h). WARN: nothing was lost. ERROR: a person must act. Any thread; never blocks: a line that
// there is no room for is dropped and counted. Each call site may speak 10 times in 10 seconds, then tells
// how often it was silent.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/text.h"

namespace millrace {

enum class Level : std::uint8_t { debug, info, warn, error };

class LogSite {
 public:
  // Whether this site may speak now; sets `suppressed` to how many lines it swallowed since it last did.
  bool may_speak(std::uint64_t& suppressed);

 private:
  std::atomic<std::int64_t> window_started_ns_{0};
  std::atomic<std::uint32_t> spoken_{0};
  std::atomic<std::uint64_t> swallowed_{0};
};

void set_log_level(Level level);
bool log_enabled(Level level);
void log_line(Level level, const std::string& line, std::uint64_t suppressed);
std::uint64_t log_lines_dropped();

}  // namespace millrace

#define MILLRACE_LOG_AT(level, ...)                                                      \
  do {                                                                                   \
    if (::millrace::log_enabled(level)) {                                                \
      static ::millrace::LogSite millrace_site;                                          \
      std::uint64_t millrace_suppressed = 0;                                             \
      if (millrace_site.may_speak(millrace_suppressed))                                  \
        ::millrace::log_line(level, ::millrace::text(__VA_ARGS__), millrace_suppressed); \
    }                                                                                    \
  } while (false)
#define LOG_DEBUG(...) MILLRACE_LOG_AT(::millrace::Level::debug, __VA_ARGS__)
#define LOG_INFO(...) MILLRACE_LOG_AT(::millrace::Level::info, __VA_ARGS__)
#define LOG_WARN(...) MILLRACE_LOG_AT(::millrace::Level::warn, __VA_ARGS__)
#define LOG_ERROR(...) MILLRACE_LOG_AT(::millrace::Level::error, __VA_ARGS__)
