// How the monotonic clock of a boot stands to time, and which numbers of the log may hold records that were
// stamped while nobody vouched for the wall clock. By that a stamp of 1970 is corrected once the clock was
// set: also after a restart, also when a later boot sends it. Of the boots that stamped something so the last
// 64 are known; what an older one stamped stays as it is. Pure. On the loop.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "record/record.h"

namespace millrace {

class BootTimes {
 public:
  static constexpr const char* state_name = "boots";  // in the log
  static constexpr std::size_t boots_max = 64;

  // ---- what is learned
  // What enters the log behind `committed` may be stamped by a clock that nobody vouches for. True: that is
  // news.
  bool began(std::uint64_t boot, Sequence committed);
  // A clock that is trusted: wall minus monotonic, now. Whatever this boot stamped until now is told by it.
  // True: something was, and could not be told before, or by two seconds or more differently.
  bool trusted(std::uint64_t boot, std::int64_t offset_us, Instant now);
  // Nothing behind `committed` was stamped so. True: that is news.
  bool ended(std::uint64_t boot, Sequence committed);
  // The same of every other boot: it is over.
  void others_ended(std::uint64_t boot, Sequence committed);

  // ---- what is asked
  // Cheap: whether any of these numbers may be a record of such a time.
  bool may_hold(Sequence first, Sequence last) const;
  // What time it was when the monotonic clock of that boot said so; nothing while nobody knows.
  std::optional<WallTime> time_of(std::uint64_t boot, std::int64_t monotonic_us) const {
    const Boot* known = find(boot);
    // A monotonic clock begins at 0: less was said by bytes of others.
    if (!known || !known->offset_us || monotonic_us < 0 || monotonic_us > known->through_us) return {};
    return WallTime{monotonic_us + *known->offset_us};
  }
  bool knows(std::uint64_t boot) const { return find(boot) != nullptr; }
  // Another whenever times can be told that could not be.
  std::uint64_t version() const { return version_; }

  Bytes save() const;
  // Damaged: what stands before the damage.
  void restore(BytesView saved);

 private:
  static constexpr Sequence open_end = UINT64_MAX;
  struct Boot {
    std::uint64_t id = 0;
    Sequence first = 0, last = open_end;    // both included
    std::optional<std::int64_t> offset_us;  // wall minus monotonic, as the last trusted clock said
    std::int64_t through_us = 0;            // it was trusted then, by the monotonic clock
    bool untold = true;                     // what was stamped since cannot be told yet
  };
  // The boot that is asked for is mostly this one, the newest.
  const Boot* find(std::uint64_t id) const {
    for (auto at = boots_.end(); at != boots_.begin();) {
      if ((--at)->id == id) return &*at;
    }
    return nullptr;
  }
  Boot* find(std::uint64_t id) { return const_cast<Boot*>(std::as_const(*this).find(id)); }

  std::vector<Boot> boots_;  // oldest first
  std::uint64_t version_ = 0;
};

}  // namespace millrace
