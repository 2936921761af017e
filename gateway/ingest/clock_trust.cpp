#include "ingest/clock_trust.h"

#include <cstring>

#include "base/text.h"

namespace millrace {

ClockSource clock_source(std::string_view name) {
  if (name == "trust") return ClockSource::trust;
  return name == "rtc" ? ClockSource::rtc : ClockSource::kernel;
}

ClockVerdict judge_clock(ClockSource source, KernelClock kernel, WallTime wall, WallTime not_before) {
  if (source == ClockSource::trust) return {true, "the configuration says so (gateway.clock)"};
  if (kernel.state == KernelClock::State::synchronised) return {true, "synchronised"};
  if (source == ClockSource::rtc && wall.us > not_before.us)
    return {true, "a battery clock, later than all that is known to have passed"};
  if (source == ClockSource::rtc)
    return {false, text("the battery clock says ", format_time(wall), ", but it was ",
                        format_time(not_before), " already")};
  if (kernel.state == KernelClock::State::unsynchronised) {
    return {
        false,
        "nothing synchronises it (NTP?); gateway.clock = \"rtc\" or \"trust\" where something else keeps the time"};
  }
  return {false, text("cannot be told: the kernel may not be asked (adjtimex: ", std::strerror(kernel.error),
                      "); let the unit or sandbox allow it, or set gateway.clock")};
}

}  // namespace millrace
