#include "gateway_clock.h"

#include <algorithm>
#include <cstdlib>

#include "base/logger.h"
#include "base/text.h"
#include "net/certificate_time.h"

namespace millrace {
namespace {

constexpr const char* state_name = "clock";  // what is known of it in this boot

}  // namespace

void GatewayClock::begin(SqliteLog& log, const std::string& source, Duration wait, std::uint64_t boot_id) {
  log_ = &log;
  wait_ = wait;
  notes_ = std::make_unique<ClockNotes>(loop_, log, boot_id);
  source_ = clock_source(source);
  boot_id_ = boot_id;
  not_before_ = known_ =
      std::max(WallTime{std::int64_t{MILLRACE_BUILD_TIME} * 1'000'000}, log.last_settled());
  known_at_ = loop_.now();
  watch_.restore(log.state(state_name), boot_id);
  decide();
}

void GatewayClock::decide() {
  ClockVerdict verdict = judge_clock(source_, kernel_clock(), loop_.wall(), not_before_);
  if (verdict.trusted != trust_.trusted() || why_.empty()) {
    if (verdict.trusted) LOG_INFO("clock: trusted: ", verdict.why);
    else
      LOG_WARN("clock: not trusted: ", verdict.why,
               "; readings without a time of their own are not aggregated");
  }
  trust_.set(verdict.trusted);
  why_ = std::move(verdict.why);
  look();
  if (settled()) {
    known_ = loop_.wall();
    known_at_ = loop_.now();
  }
  // While it is trusted it alone says what time it is, also where it was taken back. While it is not, no less
  // has passed than what was known and what we have seen pass.
  set_certificate_floor(trust_.trusted() ? WallTime{} : WallTime{known_.us + to_us(loop_.now() - known_at_)});
}

void GatewayClock::judge() {
  decide();
  notes_->look(trust_.trusted());
  if (auto news = watch_.take_news(boot_id_)) log_->commit({.states = {{state_name, std::move(*news)}}}, {});
}

Duration GatewayClock::wait_left() const {
  return trust_.trusted() ? Duration{0} : std::max(Duration{0}, wait_ - (loop_.now() - Instant{0}));
}

void GatewayClock::look() {
  const std::int64_t step = watch_.look(loop_.now(), loop_.wall(), trust_.trusted());
  if (step == 0) return;
  LOG_WARN("clock: it was set ", step < 0 ? "back by " : "forward by ",
           format_duration(std::chrono::microseconds(std::abs(step))), " and says ",
           format_time(loop_.wall()), " now; nothing gets older by that");
}

std::optional<WallTime> GatewayClock::for_ages() {
  look();
  return watch_.for_ages(loop_.now());
}

}  // namespace millrace
