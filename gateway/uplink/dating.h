// When what was stamped by a clock that nobody vouched for may go, and as what: its times are corrected as it
// is read from the log, where it is known by now what time it was (record/boot_times.h); where that may still
// come it waits, at most as long as gateway.clock_wait says, and goes as it is after that, with boot id and
// monotonic time, so that the far side can correct it. An alarm waits for no clock. On the loop.
#pragma once

#include <cstdint>

#include "base/metrics.h"
#include "log/log.h"
#include "loop/loop.h"
#include "uplink/run.h"

namespace millrace {

struct ShipperOptions;

class Dating {
 public:
  static constexpr Duration look_every = std::chrono::seconds(1);  // while something waits

  Dating(const ShipperOptions& options, Counter& corrected);

  // Corrects the stamps of a row as far as they can be told. True: others may still be.
  bool correct(Row& row);
  // Whether times can be told that could not be when this was asked last, or otherwise.
  bool news();

  // Whether this is to wait now.
  bool holds(Lane lane, const Piece& piece) const;
  // Something did, when it was looked at last: for how long at most it will. 0: nothing.
  Duration held() const { return held_; }
  void set_held(Duration left) { held_ = left; }
  Duration left() const;

 private:
  const ShipperOptions& options_;
  Counter& corrected_;
  std::uint64_t seen_ = 0;  // what was known of times when it was looked at last
  Duration held_{0};
};

}  // namespace millrace
