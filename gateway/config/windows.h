// [[windows]] of the configuration: what is made of readings, how late they may be, and what that may take.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/keys.h"

namespace millrace {

constexpr std::size_t window_panes_max =
    2048;  // that are remembered of a key: open ones, and closed ones within allowed_lateness

struct WindowConfig {
  std::string name;
  Duration size = std::chrono::minutes(1);
  Duration allowed_lateness = std::chrono::minutes(1);
  Duration idle_close =
      std::chrono::seconds(10);  // a device silent for this long after a window's end closes it
  Duration future_max =
      std::chrono::minutes(5);  // a time further ahead of the gateway's clock is not aggregated
  std::vector<std::string> metrics;                 // which; empty: all numbers
  std::size_t keys_max = 100'000;
  std::uint64_t state_max =
      8 << 20;  // bytes its state may take in the log; default: an eighth of the log, shared, up to 8 MiB
  int line = 0;
};

extern const Shape window_shape;

}  // namespace millrace
