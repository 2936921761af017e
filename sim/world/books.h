// What a log's rows say, for tests to hold its ledger against. Both run the loop until the rows are read.
#pragma once

#include <functional>
#include <string>

#include "log/log.h"
#include "sim/world/sim_loop.h"

namespace millrace::sim {

void each_row(SimLoop& loop, Log& log, Lane lane, Range range, const std::function<void(const Row&)>& row);

// Records of `lane` that can be read and that `consumer` has not settled.
std::uint64_t unsettled_records(SimLoop& loop, Log& log, const std::string& consumer, Lane lane);

}  // namespace millrace::sim
