// How much may be sent now on a link that is shared: so many bytes a second on the average, a tenth of a
// second's at once, but no piece below 1 KiB, which TLS would wrap dearly. What was not used is not saved up.
// Whose turn it is is the business of upload_turns.h. Pure, time is an argument.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/time.h"

namespace millrace {

class UploadRate {
 public:
  static constexpr Duration piece = std::chrono::milliseconds(100);
  static constexpr std::size_t least = 1024;

  // 0: no limit. `sharers`: who may send at a time.
  explicit UploadRate(std::size_t bytes_a_second, std::size_t sharers = 1)
      : rate_(static_cast<double>(bytes_a_second)), sharers_(static_cast<double>(sharers)) {}

  // How many of `bytes` may go now, which may be none; they are taken as sent. `among`: so many who share it
  // want something now, each of them gets a part.
  std::size_t take(std::size_t bytes, Instant now, std::size_t among = 1) {
    if (rate_ == 0) return bytes;
    const double most = std::max<double>(least, rate_ * to_seconds(piece));
    allowed_ = std::min(most, allowed_ + rate_ * std::max(0.0, to_seconds(now - seen_)));
    seen_ = now;
    if (allowed_ < static_cast<double>(std::min(bytes, least))) return 0;
    const auto all = static_cast<std::size_t>(allowed_);
    const std::size_t taken = std::min({bytes, all, std::max(all / among, least)});
    allowed_ -= static_cast<double>(taken);
    return taken;
  }
  // What so many bytes take at most, whatever the others who share it have to send.
  Duration time_of(std::size_t bytes) const {
    if (rate_ == 0) return Duration{0};
    return Duration{static_cast<std::int64_t>(sharers_ * static_cast<double>(bytes) / rate_ * 1e9)};
  }

 private:
  double rate_, sharers_, allowed_ = 0;
  Instant seen_;
};

}  // namespace millrace
