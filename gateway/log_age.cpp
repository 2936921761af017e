#include "log_age.h"

namespace millrace {
namespace {

constexpr const char* passed_state = "passed";
constexpr Duration save_every = std::chrono::hours(1);

}  // namespace

LogAge::LogAge(Loop& loop, Log& log, const ClockWatch& clock, std::uint64_t boot_id)
    : loop_(loop), log_(log), clock_(clock), passed_(log.state(passed_state), boot_id, loop.now()) {}

std::int64_t LogAge::us() {
  asked_ = true;
  return passed_.us(loop_.now());
}

void LogAge::look() {
  const Instant now = loop_.now();
  if (clock_.settled(now)) passed_.settled(loop_.wall(), now);
  if (asked_ && (!saved_at_ || now - *saved_at_ >= save_every)) save();
}

void LogAge::save() {
  if (!asked_ && !saved_at_) return;  // nothing in the log goes by it
  const Instant now = loop_.now();
  saved_at_ = now;
  asked_ = false;
  log_.commit({.states = {{passed_state, passed_.save(loop_.wall(), clock_.settled(now), now)}}}, {});
}

}  // namespace millrace
