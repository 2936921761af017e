// MILLRACE_CHECK states what can only be false through a bug of our own. It stays on in release builds:
// stopping is safe because the log and the inbox are, and going on is not.
#pragma once

namespace millrace {

[[noreturn]] void check_failed(const char* expression, const char* file, int line);

}  // namespace millrace

#define MILLRACE_CHECK(expression)                      \
  (static_cast<bool>(expression) ? static_cast<void>(0) \
                                 : ::millrace::check_failed(#expression, __FILE__, __LINE__))
