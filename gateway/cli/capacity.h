// What a configuration means in numbers: hours the log holds, bytes a day on the link, bytes a year on flash.
// A model, and `millrace check` says so; its constants were measured (tests/bench) and are stated beside the
// code.
#pragma once

#include "config/config.h"

namespace millrace {

struct CapacityInput {
  double readings_per_second = 100;
  double bytes_per_reading = 6;  // of a row, compressed
  double flash_per_reading = 0;  // observed; 0: by the model
};

struct Capacity {
  double hours_held = 0;          // of outage, from an empty log
  double link_bytes_per_day = 0;  // over all uplinks that take raw readings
  double flash_bytes_per_year = 0;
};

Capacity capacity_of(const Config& config, const CapacityInput& input);

}  // namespace millrace
