// CPU of this thread, and the line that tests/bench/bench.py reads.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>

namespace millrace {

inline double cpu_seconds() {
  timespec ts{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<double>(ts.tv_sec) + 1e-9 * static_cast<double>(ts.tv_nsec);
}

// Nanoseconds a reading of the best round; each does work() on `readings`.
template <typename Work>
double best_ns(int rounds, std::size_t readings, Work work) {
  double best = 1e9;
  for (int round = 0; round < rounds; ++round) {
    const double begin = cpu_seconds();
    work();
    best = std::min(best, (cpu_seconds() - begin) * 1e9 / static_cast<double>(readings));
  }
  return best;
}

inline void print(const char* id, double value, const char* unit, const char* beside, double beside_value) {
  std::printf(
      "{\"id\":\"%s\",\"value\":%.4g,\"unit\":\"%s\",\"beside\":\"%s\",\"beside_value\":%.4g,\"runs\":1}\n",
      id, value, unit, beside, beside_value);
}

}  // namespace millrace
