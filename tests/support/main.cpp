// The one place where doctest's runner is compiled. MILLRACE_SEED repeats a run; it is printed when a test
// fails.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/support/seed.h"

namespace millrace {

std::uint64_t seed() {
  static const std::uint64_t value =
      std::getenv("MILLRACE_SEED") ? std::strtoull(std::getenv("MILLRACE_SEED"), nullptr, 10) : 20261120;
  return value;
}

int effort() {
  static const int value = std::getenv("MILLRACE_EFFORT") ? std::atoi(std::getenv("MILLRACE_EFFORT")) : 1;
  return value;
}

}  // namespace millrace

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  const int rc = context.run();
  if (rc != 0) std::printf("seed: MILLRACE_SEED=%llu\n", static_cast<unsigned long long>(millrace::seed()));
  return rc;
}
