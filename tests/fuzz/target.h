// Fuzz targets by name: one binary has many of them, so that all are built in the time of one, and
// MILLRACE_FUZZ_TARGET in the environment says which runs. For tests/fuzz.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include "base/bytes.h"

namespace millrace {

struct FuzzTarget {
  std::string_view name;
  void (*run)(BytesView bytes);
};

inline int run_target(std::span<const FuzzTarget> targets, const std::uint8_t* data, std::size_t size) {
  static const FuzzTarget* const chosen = [targets] {
    const char* said = std::getenv("MILLRACE_FUZZ_TARGET");
    for (const FuzzTarget& target : targets) {
      if (said && target.name == said) return &target;
    }
    std::fprintf(stderr, "MILLRACE_FUZZ_TARGET is none of");
    for (const FuzzTarget& target : targets) std::fprintf(stderr, " %s", target.name.data());
    std::fprintf(stderr, "\n");
    std::exit(64);
  }();
  chosen->run({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}

}  // namespace millrace
