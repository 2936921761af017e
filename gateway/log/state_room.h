// What becomes of the states of a set that find no room in the log: so that readings are not refused with
// them. Pure.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "log/log.h"

namespace millrace {

struct RoomMade {
  Status status;                  // `full`: it does not fit all the same
  std::vector<std::string> gone;  // the names of what found none
};

// Makes the states fit as far as they allow it (WriteSet::State::no_room). First those that are `removed`
// become removals, from the back and no more than must; where that is not enough those that are `left_out`
// leave, from the back. Removals stay in any case: they make room. `fit` is asked once where all fits.
using StatesFit = std::function<Status(const std::vector<WriteSet::State>&)>;
RoomMade make_room(std::vector<WriteSet::State>& states, const StatesFit& fit);

}  // namespace millrace
