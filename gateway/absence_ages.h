// How long ago uplinks left the configuration, in time that passed (ingest/passed_time.h), and who has been gone for long enough.
// A clock that jumps makes nobody old; time without power counts where the clock was right at both ends. On the loop.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "ingest/clock_watch.h"
#include "ingest/passed_time.h"
#include "log/log.h"
#include "loop/loop.h"

namespace millrace {

class AbsenceAges {
 public:
  AbsenceAges(Loop& loop, Log& log, const ClockWatch& clock, std::uint64_t boot_id, Duration forget_after);

  // Now and then: who is absent (a lane that its uplink takes no longer counts as one). Who has been for long enough is returned:
  // forget it, and then forgotten().
  std::vector<std::string> look(const std::set<std::string>& absent);
  void forgotten(const std::string& name);
  // When it is, as far as one can tell now.
  WallTime until(const std::string& name) const;
  // Before the log is stopped: what the process has seen pass.
  void save();

 private:
  std::optional<std::int64_t> left_at_us(const std::string& name) const;
  std::int64_t age_us(const std::string& name) const;

  Loop& loop_;
  Log& log_;
  const ClockWatch& clock_;
  Duration forget_after_;
  PassedTime passed_;
  std::optional<Instant> saved_at_;
  bool anybody_ = false;
};

}  // namespace millrace
