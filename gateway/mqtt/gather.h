// How long a subscriber's acknowledgements may lie unread, so that they cost one wake-up for many: each comes
// by itself, and nobody waits for a single one, unless the broker has sent all it may and waits for them all.
// That shows: it is silent at the end of the wait, and speaks as soon as it has its answers. Then they are
// read at once, for a while. Pure, time passed in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/time.h"

namespace millrace::mqtt {

class Gather {
 public:
  // A message goes to the subscriber, to be acknowledged.
  void message() {
    ++owed_;
    messages_ = true;
  }
  // The broker has spoken.
  void heard(Instant now) {
    if (std::exchange(quiet_, false)) {
      starving_ = now - answered_ < at_once ? starving_ + 1 : std::max(0, starving_ - 1);
      if (starving_ == starving_max) {
        starving_ = 0;
        direct_until_ = now + direct_time;
      }
    }
    heard_ = now;
  }
  // What the subscriber said goes to the broker: how long the next is left to gather; 0: not at all, as for
  // who only publishes.
  Duration answered(Instant now, std::size_t bytes) {
    const auto acks = static_cast<std::int64_t>(bytes / ack_bytes);
    owed_ = std::max<std::int64_t>(0, owed_ - acks);
    answered_ = now;
    if (!std::exchange(messages_, false) && owed_ == 0) return Duration{0};
    if (std::max(owed_, acks) >= dense) return std::chrono::milliseconds(1);
    return now < direct_until_ ? Duration{0} : Duration(std::chrono::milliseconds(5));
  }
  // That time is over.
  void over(Instant now) {
    quiet_ = now - heard_ >= silence;
    if (!quiet_) starving_ = std::max(0, starving_ - 1);
  }

 private:
  // owed, or come: the broker's window is larger, and a millisecond hardly empties it
  static constexpr std::int64_t dense = 32;
  static constexpr std::int64_t ack_bytes = 4;  // of a PUBACK or PUBREC as Paho writes it
  static constexpr int starving_max = 6;        // messages that come at random look like it one time in six
  static constexpr Duration silence = std::chrono::milliseconds(2), at_once = std::chrono::milliseconds(1);
  static constexpr Duration direct_time = std::chrono::seconds(1);

  std::int64_t owed_ = 0;  // about
  bool messages_ = false;  // since answered()
  bool quiet_ = false;
  int starving_ = 0;
  Instant heard_, answered_, direct_until_;
};

}  // namespace millrace::mqtt
