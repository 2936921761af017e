// What a site's clock does, by chance: it is right for a while, an hour ahead for 20 s, in 1970 until
// somebody sets it, set back by 55 minutes, 50 years ahead, a leap second off, not synchronised; and the
// machine sleeps, for seconds or for a week, whatever its clock says. Whether it is trusted goes with that,
// as the kernel would say it: a clock that is wrong may well be trusted.
#pragma once

#include "base/rng.h"
#include "base/time.h"

namespace millrace::sim {

class ClockHistory {
 public:
  enum class Kind { steady, random };
  ClockHistory(std::uint64_t seed, Kind kind, Duration longest_sleep)
      : rng_(seed), kind_(kind), longest_sleep_(kind == Kind::steady ? Duration{0} : longest_sleep) {}

  std::int64_t error_us() const { return error_us_; }
  bool trusted() const { return trusted_; }
  // How long the machine sleeps now, mostly not at all; the clock is as it is after waking.
  Duration sleep();
  // Something happens to it; `right` is the time it should say. How long that lasts.
  Duration next(WallTime right);
  // The power was gone, and no battery keeps the time.
  void boot(WallTime right);
  void set_right();
  // What a story wants: wrong by so much, and whether anybody vouches for it.
  void set(std::int64_t error_us, bool trusted) {
    error_us_ = error_us;
    trusted_ = trusted;
  }

 private:
  Duration some(Duration least, Duration most);
  void wake_in_1970(WallTime right);

  Rng rng_;
  Kind kind_;
  Duration longest_sleep_;
  std::int64_t error_us_ = 0;
  bool trusted_ = true;
};

}  // namespace millrace::sim
