#pragma once

#include <cstdint>

namespace millrace {

// Where chance in tests begins; MILLRACE_SEED sets it.
std::uint64_t seed();
// How much longer than in `quick` seeded tests may run; MILLRACE_EFFORT sets it.
int effort();

}  // namespace millrace
