// What the log is told of this boot's clock, so that stamps which nobody vouched for can be corrected: which
// numbers may have some, and what time it was once that is known (record/boot_times.h). It is kept in the
// log, in the commit that the first such stamp is in or before it, and read by the next process, of this boot
// or a later one. The moment a clock becomes trusted after such stamps is also an event "clock_set" in the
// alarm lane, with boot id and monotonic time: by it the centre corrects what went before. On the loop.
#pragma once

#include <cstdint>

#include "log/log.h"
#include "loop/loop.h"
#include "record/boot_times.h"

namespace millrace {

// What the log keeps of boots: by it stamps of 1970 are shown as they are sent.
BootTimes boot_times_of(const Log& log);

class ClockNotes {
 public:
  // Reads what is known; commits nothing. `boot_id` 0: not known, nothing is noted of it.
  ClockNotes(Loop& loop, Log& log, std::uint64_t boot_id);
  ~ClockNotes() { *alive_ = false; }

  // Whether the clock is trusted now: at the start once everybody has subscribed, before anything is stamped
  // differently, and now and then. Commits where there is news.
  void look(bool trusted);
  const BootTimes& times() const { return times_; }

 private:
  WriteSet news() const;
  void tell();

  Loop& loop_;
  Log& log_;
  const std::uint64_t boot_id_;
  BootTimes times_;
  std::uint64_t doubts_ = 0;  // how often it was found not to be trusted
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
