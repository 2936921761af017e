// Sessions, and wills that wait, at addresses where no endpoint listens any more. Their clients may come back
// as long as a session lives: each goes when its own expiry interval has passed since its client left, one
// without an interval after `keep_max`. A will goes with its session, unpublished: nobody is there whose
// access list would let it through. On the loop.
#pragma once

#include <string>
#include <vector>

#include "ingest/state_keeper.h"

namespace millrace {

class LeftSessions final : public StateKeeper {
 public:
  using StateKeeper::StateKeeper;

 private:
  struct Found {
    std::string place, state;
  };
  void find(const Present& present, const std::map<std::string, Kept>& before) override;
  std::vector<Found> sessions_nobody_serves(const Present& present) const;
  Duration left_of_session(const std::string& state);
  void drop_wills(const Present& present);
};

}  // namespace millrace
