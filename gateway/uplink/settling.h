// What leaves an uplink's runs: finished rows are settled in the log, in one WriteSet with dead letters and
// losses; what is too old is not sent any more. On the loop.
#pragma once

#include "base/metrics.h"
#include "loop/loop.h"
#include "uplink/isolation.h"
#include "uplink/lane_turns.h"
#include "uplink/run.h"

namespace millrace {

struct ShipperOptions;

class Settling {
 public:
  // `expired` counts records that became too old.
  Settling(Loop& loop, Log& log, const ShipperOptions& options, Isolation& isolation, Counter& expired)
      : loop_(loop), log_(log), options_(options), isolation_(isolation), expired_(expired) {}

  // `scattered`: what is finished behind something open, too.
  void settle(Lane lane, Run& run, bool scattered = false);
  // Another sends from here on, by what is in the log: what is safe behind something open is settled, too,
  // and runs begin anew. Nothing is on its way.
  void leave(LaneTurns& lanes);
  // What waits and is older than `max_age` is settled as expired, as far as its age can be told.
  void expire(Lane lane, Run& run);
  // A run is over, and only this of its lane was left: numbers of other lanes.
  void skip(Lane lane, Range rest);

 private:
  Loop& loop_;
  Log& log_;
  const ShipperOptions& options_;
  Isolation& isolation_;
  Counter& expired_;
};

}  // namespace millrace
