// Exponential backoff with decorrelated jitter: each wait is drawn between the shortest and three times the
// last one, up to a cap. Reset only after the connection has been stable for a while, so that a flapping link
// stays slow.
#pragma once

#include <algorithm>
#include <optional>

#include "base/rng.h"
#include "base/time.h"

namespace millrace {

class Backoff {
 public:
  Backoff(Duration shortest, Duration longest, Duration stable_after = std::chrono::seconds(30))
      : shortest_(shortest), longest_(longest), stable_after_(stable_after), last_(shortest) {}

  // How long to wait before the next try.
  Duration next(Rng& rng) {
    up_since_.reset();
    const auto span = std::min<Duration>(last_ * 3, longest_) - shortest_;
    last_ = shortest_ + Duration{static_cast<std::int64_t>(
                            rng.unit() * static_cast<double>(std::max<std::int64_t>(span.count(), 0)))};
    return last_;
  }
  void on_success(Instant now) {
    if (!up_since_) up_since_ = now;
    if (now - *up_since_ >= stable_after_) last_ = shortest_;
  }

 private:
  Duration shortest_, longest_, stable_after_, last_;
  std::optional<Instant> up_since_;
};

}  // namespace millrace
