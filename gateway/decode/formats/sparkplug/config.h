// What a route says of Sparkplug alone.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.h"

namespace millrace {

struct SparkplugConfig {
  std::string births = "take";      // take, names
  std::string historical = "take";  // take, tag, ignore
  std::string transient = "take";
  bool stale = true;     // a death gives each metric's last value again, bad
  bool liveness = true;  // births and deaths become events
  bool rebirth = true;   // what is not known is asked for
  Duration rebirth_min = std::chrono::seconds(10), rebirth_max = std::chrono::minutes(10);
  std::int64_t nodes_max = 1000, metrics_max = 20'000;
  std::int64_t inflated_max = 1 << 20;
};

}  // namespace millrace
