// What a shipper and its rooms (shipper.h) go by: the configuration's drain and waits, whose cursor it is,
// and what the daemon knows of clocks.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/time.h"
#include "record/boot_times.h"
#include "uplink/breaker.h"
#include "uplink/duty.h"
#include "uplink/shipping.h"

namespace millrace {

struct ShipperOptions {
  std::string name;
  DrainConfig drain;
  bool start_oldest = false;
  Duration initial_interval = std::chrono::milliseconds(500), max_interval = std::chrono::minutes(1);
  Breaker::Options breaker;
  std::function<bool()> clock_trusted = [] { return true; };  // whether stamps of ours can be believed
  // The clock by which records get old; nothing while none can be told: time that jumped is not time that
  // passed.
  std::function<std::optional<WallTime>()> age_clock = [] { return std::optional<WallTime>(); };
  std::uint64_t boot_id = 0;
  // What is known of stamps that nobody vouched for, in the log this one sends from; none: nothing is
  // corrected, and nothing waits for it.
  const BootTimes* boots = nullptr;
  // How long such a stamp of this boot still waits for a clock that is trusted; 0: not any more.
  std::function<Duration()> clock_wait_left = [] { return Duration{0}; };
  std::string standby_of;     // whose cursor it sends from; empty: its own
  Duration standby_after{0};  // that one is down for longer than this
  Duty* duty = nullptr;       // of the one whose cursor it is; none: nobody else sends from it
  const std::string& consumer() const { return standby_of.empty() ? name : standby_of; }
};

}  // namespace millrace
