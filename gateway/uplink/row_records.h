// The records of a row of the log, for uplinks that send them one by one. Pure.
#pragma once

#include <vector>

#include "base/status.h"
#include "log/log.h"

namespace millrace {

// In the order of their numbers. `corrupt`: it cannot be read, and is to be refused as it is; `out` is empty
// then.
Status records_of(const Row& row, std::vector<Record>& out);

}  // namespace millrace
