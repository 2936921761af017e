// How much time has passed for this log, as far as that can be proven: while the process runs by the
// monotonic clock, over a restart in the same boot by the same clock, over a time without power by the wall
// clock where it was settled at both ends (clock_watch.h). Never more than has really passed; less where
// nobody can know. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/time.h"

namespace millrace {

class PassedTime {
 public:
  // `saved`: what save() gave, in this boot or another; nothing, or damaged: it begins at 0. `boot_id` 0: not
  // known.
  PassedTime(const std::optional<Bytes>& saved, std::uint64_t boot_id, Instant now);

  std::int64_t us(Instant now) const { return base_us_ + (now - started_).count() / 1000; }
  // The clock is settled: what it says now ends the time that this process does not know of.
  void settled(WallTime wall, Instant now);
  Bytes save(WallTime wall, bool settled, Instant now) const;

 private:
  std::uint64_t boot_id_;
  Instant started_;
  std::int64_t base_us_ = 0;
  std::optional<WallTime> away_since_;  // until the clock is settled
};

}  // namespace millrace
