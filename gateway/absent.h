// Uplinks that are not in the configuration, and whose records the log keeps: an uplink that left keeps its
// cursor and its data for `forget_after` (time that passed: absence_ages.h), then it is settled as forgotten.
// Files beside the log are kept and given up likewise, also where there is no cursor (a standby has none).
// A lane that an uplink takes no longer is given up at once, by the log (Log::subscribe). Windows that left
// are forgotten at once, too: their cursor would fill the log, and nothing is sent of it. On the loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absence_ages.h"
#include "leftover.h"
#include "log/sqlite_log.h"
#include "parts.h"
#include "uplink_files.h"

namespace millrace {

// What the records take that a consumer has not settled in a log, by what those of their lanes take there on
// the average.
std::uint64_t bytes_kept_for(const SqliteLog& log, const std::string& consumer);

class AbsentUplinks {
 public:
  struct Absent {
    std::string name;
    std::uint64_t records = 0;
    std::uint64_t bytes = 0;  // about
    WallTime until;           // then it is forgotten
  };

  AbsentUplinks(Loop& loop, SqliteLog& log, const std::vector<std::unique_ptr<Leftover>>& leftovers,
                Uplinks& uplinks, LogAge& age, Duration forget_after, std::string folder)
      : log_(log),
        leftovers_(leftovers),
        uplinks_(uplinks),
        forget_after_(forget_after),
        ages_(loop, log, age, forget_after),
        files_(std::move(folder)) {}

  std::vector<Absent> list() const;
  // In the journal, those that something is kept for; or `only` one of them.
  void tell(const std::string& only = "") const;
  // Whose time is over is forgotten. Whether anybody was.
  bool forget_due();
  // False: nothing was kept for such an uplink.
  bool forget(const std::string& uplink);

 private:
  SqliteLog& log_;
  const std::vector<std::unique_ptr<Leftover>>& leftovers_;
  Uplinks& uplinks_;
  const Duration forget_after_;
  AbsenceAges ages_;
  UplinkFiles files_;
};

}  // namespace millrace
