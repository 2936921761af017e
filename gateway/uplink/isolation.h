// What becomes of what a far side does not take: refused in words, by hanging up, by silence. A refused batch
// is halved until the record that will never be taken stands alone; that one is buried (the dead lane gets
// it), its neighbours go through. Who says nothing is judged by suspicion.h. Works on the runs that a shipper
// hands it; sends and settles nothing. Time is an argument.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "uplink/run.h"
#include "uplink/suspicion.h"
#include "uplink/uplink.h"

namespace millrace {

class Isolation {
 public:
  // A batch that was on its way.
  struct Trip {
    Lane lane = Lane::raw;
    std::vector<Sequence> firsts;  // of its rows
    Duration control{0};
    std::optional<Suspicion::Part> stands_for;  // it is a neighbour of this suspect
  };

  // `refused` counts records that are given up; `blocked`: nobody can be blamed but the far side itself.
  Isolation(std::string uplink, Counter& refused, std::function<void(const std::string& reason)> blocked)
      : uplink_(std::move(uplink)), refused_(refused), blocked_(std::move(blocked)) {}

  const Suspicion& suspicion() const { return suspicion_; }
  // It left in another way: acknowledged, expired.
  void on_passed(Lane lane, const Row& row, Instant now);
  void forget(Lane lane, const Row& row) { suspicion_.forget(part_of(lane, row)); }
  void keep_only(Lane lane, const std::vector<Range>& open) { suspicion_.keep_only(lane, open); }
  // A run was read: it is cut where it was cut before.
  void cut_again(Lane lane, Run& run) const;

  // ---- before something is sent
  // What is known to be too large is split, records of it are buried: true, where there is something to
  // settle now.
  bool sift(Lane lane, Run& run, Instant now);
  // Of those that need a neighbour the one that waits in this run.
  std::optional<Suspicion::Part> suspect_in(Lane lane, Run& run) const;
  // The next piece to go: the first that waits; or, where a suspect needs one, a smaller neighbour of it
  // (`trip` says so then). end(): there is none.
  Run::Pieces::iterator pick(Run& run, Trip& trip) const;
  // There was none: true, where the suspect could be judged without, and there may be something to settle.
  bool without_neighbour(Run& run, const Suspicion::Part& suspect, Instant now);

  // ---- when it came back
  // Lost with a connection, or never answered. It is looked at once `all_back`: nothing is on its way any
  // more; or at once where it was `apart` from what else is.
  void on_lost(Run& run, const Trip& trip, const Outcome& outcome, bool all_back, bool apart, Instant now);
  // Something smaller than a suspect passed, or shared its fate.
  void on_neighbour(Run& run, const Suspicion::Part& suspect, bool passed, Instant now);
  // Halves what was refused: first the number of rows in a batch, then a row, until one record stands alone.
  // `in_order`: nothing can go before the first that is open.
  void on_refused(Run& run, const Trip& trip, const std::vector<Sequence>& refused, const Outcome& outcome,
                  bool in_order);

 private:
  void bury(Run& run, Run::Pieces::iterator at, const std::string& reason);

  const std::string uplink_;
  Counter& refused_;
  const std::function<void(const std::string&)> blocked_;
  Suspicion suspicion_;
  std::vector<Suspicion::Part> lost_, swallowed_;  // with the connection, of all that was on its way
};

}  // namespace millrace
