// Whether the wall clock can be believed, and why. The kernel knows where something synchronises it (NTP,
// PTP); a box with a battery clock, and a container whose host keeps the time, are told so by gateway.clock.
// Looked up now and then on the loop, read by drivers on any thread.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "base/time.h"

namespace millrace {

enum class ClockSource {
  kernel,  // believed when the kernel says it is synchronised
  // and as soon as it is later than the build and than the last commit under a settled clock: a battery keeps
  // it over a power cut
  rtc,
  trust,  // always: whoever runs this machine keeps its time
};

ClockSource clock_source(std::string_view name);  // as the configuration says it

struct ClockVerdict {
  bool trusted = false;
  std::string why;  // for people
};
// `not_before`: the latest time that is known to have passed (the build, the newest commit under a settled
// clock). Pure.
ClockVerdict judge_clock(ClockSource source, KernelClock kernel, WallTime wall, WallTime not_before);

class ClockTrust {
 public:
  void set(bool trusted) { trusted_.store(trusted, std::memory_order_relaxed); }
  bool trusted() const { return trusted_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> trusted_{false};
};

}  // namespace millrace
