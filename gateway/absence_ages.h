// How long ago uplinks left the configuration, in time that passed (log_age.h), and who has been gone for
// long enough. A clock that jumps makes nobody old; time without power counts where the clock was right at
// both ends. On the loop.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "log/log.h"
#include "log_age.h"
#include "loop/loop.h"

namespace millrace {

class AbsenceAges {
 public:
  AbsenceAges(Loop& loop, Log& log, LogAge& age, Duration forget_after)
      : loop_(loop), log_(log), age_(age), forget_after_(forget_after) {}

  // Now and then: who is absent (a lane that its uplink takes no longer counts as one). Who has been for long
  // enough is returned: forget it, and then forgotten().
  std::vector<std::string> look(const std::set<std::string>& absent);
  void forgotten(const std::string& name);
  // When it is, as far as one can tell now.
  WallTime until(const std::string& name) const;

 private:
  std::optional<std::int64_t> left_at_us(const std::string& name) const;
  std::int64_t age_us(const std::string& name) const;

  Loop& loop_;
  Log& log_;
  LogAge& age_;
  Duration forget_after_;
};

}  // namespace millrace
