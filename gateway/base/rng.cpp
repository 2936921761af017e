#include "base/rng.h"

#include <sys/random.h>

#include "base/check.h"

namespace millrace {

std::uint64_t random_from_kernel() {
  std::uint64_t value = 0;
  MILLRACE_CHECK(getrandom(&value, sizeof value, 0) == sizeof value);  // eight bytes are never cut short
  return value;
}

}  // namespace millrace
