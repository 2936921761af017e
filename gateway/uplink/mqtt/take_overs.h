// Two boxes with one client id throw each other out for ever, and MQTT 3.1.1 has no word for it: a connection
// that worked is ended by the broker soon, again and again. Pure.
#pragma once

#include "base/time.h"

namespace millrace {

class TakeOvers {
 public:
  static constexpr int enough = 4;
  static constexpr Duration soon = std::chrono::minutes(1);

  // A connection that was taken is over: who ended it, how long it lived, and whether it worked: nothing was
  // on its way without an answer, or something had been acknowledged before. What hangs up on certain data
  // only (uplink/suspicion.h) does not count.
  void on_gone(bool hung_up, Duration lived, bool worked) {
    if (!hung_up || lived > soon) in_a_row_ = 0;
    else if (worked) ++in_a_row_;
  }
  bool suspected() const { return in_a_row_ >= enough; }

 private:
  int in_a_row_ = 0;
};

}  // namespace millrace
