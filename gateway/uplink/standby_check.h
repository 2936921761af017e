// What `standby_of` may say: who stands by sends from another's cursor, which must be there, be its own, and
// be of the same records.
#pragma once

#include <vector>

#include "uplink/uplink_kind.h"

namespace millrace {

// Adds what is wrong with `plan`, one of `all`, to the errors.
void check_standby(const UplinkPlan& plan, const std::vector<UplinkPlan>& all, LoadedConfig& loaded);

}  // namespace millrace
