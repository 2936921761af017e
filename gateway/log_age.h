// How much time has passed for the log of this gateway (ingest/passed_time.h), kept in it: what grows old
// over restarts goes by that, never by the wall clock alone. On the loop.
#pragma once

#include <optional>

#include "ingest/clock_watch.h"
#include "ingest/passed_time.h"
#include "log/log.h"
#include "loop/loop.h"

namespace millrace {

class LogAge {
 public:
  LogAge(Loop& loop, Log& log, const ClockWatch& clock, std::uint64_t boot_id);

  // For whoever notes when something began. Less than what was noted before where commits were lost: that
  // makes nothing older.
  std::int64_t us();
  // Now and then. While somebody asks, what has passed is saved each hour: a power cut costs no more than
  // that.
  void look();
  // Before the log is stopped.
  void save();

 private:
  Loop& loop_;
  Log& log_;
  const ClockWatch& clock_;
  PassedTime passed_;
  std::optional<Instant> saved_at_;
  bool asked_ = false;  // since it was saved
};

}  // namespace millrace
