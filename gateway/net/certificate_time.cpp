#include "net/certificate_time.h"

#include <algorithm>
#include <atomic>

namespace millrace {
namespace {

constexpr std::int64_t build_us = std::int64_t{MILLRACE_BUILD_TIME} * 1'000'000;
std::atomic<std::int64_t> known_us{build_us};

}  // namespace

WallTime certificate_time(WallTime wall) {
  return {std::max(wall.us, known_us.load(std::memory_order_relaxed))};
}

void set_certificate_floor(WallTime known) {
  known_us.store(std::max(known.us, build_us), std::memory_order_relaxed);
}

}  // namespace millrace
