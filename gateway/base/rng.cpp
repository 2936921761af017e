#include "base/rng.h"

#include <sys/random.h>

#include <cerrno>

#include "base/check.h"

namespace millrace {

std::uint64_t random_from_kernel() {
  std::uint64_t value = 0;
  fill_from_kernel(&value, sizeof value);
  return value;
}

void fill_from_kernel(void* to, std::size_t size) {
  auto* at = static_cast<unsigned char*>(to);
  while (size > 0) {
    const ssize_t got = ::getrandom(at, size, 0);
    if (got < 0 && errno == EINTR) continue;  // only what is larger than 256 bytes can be cut short
    MILLRACE_CHECK(got > 0);
    at += got;
    size -= static_cast<std::size_t>(got);
  }
}

}  // namespace millrace
