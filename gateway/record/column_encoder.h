// One column of values: which of Column's types is exact and smallest, and its bytes. The rule is in the
// comments of column_encoder.cpp; every form gives back each value to the bit.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"

namespace millrace {

// Appends the fields of Column (all but `metric`) for doubles given by their bits.
void encode_numbers(std::span<const std::uint64_t> bits, Bytes& out);
// The same for int64 values (Type INT) and for booleans (Type BOOL).
void encode_integers(std::span<const std::uint64_t> bits, bool flags, Bytes& out);

// A packed field of zigzag varints, without its tail of zeros; nothing at all when every value is 0.
void encode_packed_sint(std::uint32_t field, std::span<const std::int64_t> values, Bytes& out);

}  // namespace millrace
