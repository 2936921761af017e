// Time that jumped is not time that passed. Watches the wall clock against the monotonic one, notices when it
// is set, and says by which clock ages may be judged. Pure: time is passed in. Whoever wants to know looks
// first; looking is cheap.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/time.h"

namespace millrace {

class ClockWatch {
 public:
  // Less is slewing, or a leap second.
  static constexpr std::int64_t step_us_min = 2'000'000;
  // What was said before a step may be wrong, and so may be what is said after it: this long nothing gets old
  // by it.
  static constexpr Duration settles_after = std::chrono::hours(1);

  // By how much the clock was set since the last look; 0 when it was not.
  std::int64_t look(Instant now, WallTime wall, bool trusted);

  std::uint64_t steps() const { return steps_; }
  bool trusted() const { return trusted_; }
  // It has been trusted, and was not set, for an hour: what it says now and what another such clock said can
  // be compared.
  bool settled(Instant now) const;
  // The clock for ages of records: the lowest that a trusted clock of this boot would say now. Not before an
  // hour has passed since a step, nor while the clock is not trusted. A record is never older by it than it
  // is.
  std::optional<WallTime> for_ages(Instant now) const;

  // The lowest clock is known to the next process of the same boot: what is to be saved, when there is
  // something new.
  std::optional<Bytes> take_news(std::uint64_t boot_id);
  void restore(const std::optional<Bytes>& saved, std::uint64_t boot_id);

 private:
  std::optional<std::int64_t> offset_us_;         // wall minus monotonic
  std::optional<std::int64_t> lowest_offset_us_;  // of those that were trusted
  std::optional<Instant> stepped_at_, trusted_since_;
  std::optional<std::int64_t> saved_offset_us_;
  std::uint64_t steps_ = 0;
  bool trusted_ = false;
};

}  // namespace millrace
