// What paces a shipper: a token bucket for the backlog, and a meter of what arrives and what leaves. Pure,
// time is an argument.
#pragma once

#include <algorithm>
#include <cmath>

#include "base/time.h"

namespace millrace {

// A moving rate per second, over about the last `window`.
class RateMeter {
 public:
  explicit RateMeter(Duration window = std::chrono::seconds(10)) : window_(to_seconds(window)) {}

  // `total` only ever rises.
  void observe(double total, Instant now) {
    const double seconds = to_seconds(now - at_);
    if (started_ && seconds <= 0) return;
    if (started_) {
      const double keep = std::exp(-seconds / window_);
      rate_ = rate_ * keep + (total - total_) / seconds * (1 - keep);
    }
    started_ = true;
    total_ = total;
    at_ = now;
  }
  double per_second() const { return rate_; }

 private:
  double window_, rate_ = 0, total_ = 0;
  Instant at_;
  bool started_ = false;
};

// Lets `rate` units a second pass, one second's worth at once. One thing may be larger than what is left:
// then the next waits.
class TokenBucket {
 public:
  void refill(double rate, Instant now) {
    const double seconds = started_ ? to_seconds(now - at_) : 1;
    tokens_ = std::min(rate, tokens_ + rate * std::max(seconds, 0.0));
    rate_ = rate;
    at_ = now;
    started_ = true;
  }
  bool allows() const { return tokens_ > 0; }
  double tokens() const { return tokens_; }
  void take(double units) { tokens_ -= units; }
  // How long until something may pass.
  Duration wait() const {
    if (allows()) return Duration{0};
    return Duration{static_cast<std::int64_t>((1 - tokens_) / std::max(rate_, 1e-6) * 1e9)};
  }

 private:
  double tokens_ = 0, rate_ = 0;
  Instant at_;
  bool started_ = false;
};

}  // namespace millrace
