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

Status status_from_errno(int error, std::string doing) {
  // says nothing about what was asked for
  const bool none_left = error == EMFILE || error == ENFILE || error == ENOMEM;
  const Code code = error == ENOSPC || error == EDQUOT ? Code::full
                    : none_left                        ? Code::unavailable
                                                       : Code::io;
  return {code, doing + ": " + std::strerror(error)};
}

}  // namespace millrace
