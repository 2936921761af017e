// How the machine is, as the kernel tells it: load, memory that is left, and how warm it is at its warmest
// place. For gauges and words. Reads a few small files of /proc and /sys: not more often than somebody looks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace millrace {

struct BoxHealth {
  std::optional<double> load;  // of the last minute (proc(5), loadavg)
  std::optional<double>
      celsius;  // of the warmest thermal zone; many boards and all virtual machines have none
  std::uint64_t memory_total = 0, memory_left = 0;  // bytes; left: MemAvailable; 0, 0: not known
};

// `root`: where proc and sys are, for tests.
BoxHealth box_health(const std::string& root = "");

}  // namespace millrace
