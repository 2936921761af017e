// A circuit breaker: closed while things go well, open after some failures in a row, half open after a while:
// then one probe decides. Pure, time is an argument.
#pragma once

#include <algorithm>
#include <optional>

#include "base/time.h"

namespace millrace {

class Breaker {
 public:
  enum class State { closed, open, half_open };
  struct Options {
    int failures_to_open = 3;
    Duration open_for = std::chrono::seconds(10);
  };
  explicit Breaker(Options options) : options_(options) {}

  State state(Instant now) const {
    if (!opened_) return State::closed;
    return now - *opened_ >= open_for_ ? State::half_open : State::open;
  }
  bool allows(Instant now) const { return state(now) != State::open; }
  // How long until a probe is allowed.
  Duration wait(Instant now) const { return allows(now) ? Duration{0} : open_for_ - (now - *opened_); }
  void on_success() {
    failures_ = 0;
    opened_.reset();
  }
  void on_failure(Instant now) {
    if (state(now) != State::closed || ++failures_ >= options_.failures_to_open) open(now, options_.open_for);
  }
  // Opens at once: what failed will not heal by trying again soon. For no less than it would be open anyway.
  void open(Instant now, Duration for_how_long) {
    open_for_ = std::max(for_how_long, wait(now));
    opened_ = now;
  }

 private:
  Options options_;
  Duration open_for_{};
  int failures_ = 0;
  std::optional<Instant> opened_;
};

}  // namespace millrace
