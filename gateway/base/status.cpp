#include "base/status.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace millrace {

void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "<2>millrace: broken promise at %s:%d: %s\n", file, line, expression);
  std::abort();
}

const char* code_name(Code code) {
  switch (code) {
    case Code::ok: return "ok";
    case Code::invalid: return "invalid";
    case Code::corrupt: return "corrupt";
    case Code::full: return "full";
    case Code::unavailable: return "unavailable";
    case Code::timeout: return "timeout";
    case Code::io: return "io";
    case Code::closed: return "closed";
    case Code::newer: return "newer";
  }
  return "unknown";
}

std::string Status::to_string() const { return ok() ? "ok" : detail_; }

Status status_from_errno(int error, std::string doing) {
  // says nothing about what was asked for
  const bool none_left = error == EMFILE || error == ENFILE || error == ENOMEM;
  const Code code = error == ENOSPC || error == EDQUOT ? Code::full
                    : none_left                        ? Code::unavailable
                                                       : Code::io;
  return {code, doing + ": " + std::strerror(error)};
}

}  // namespace millrace
