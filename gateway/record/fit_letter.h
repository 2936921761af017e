// A dead letter that no row of the log has room for is not stored at all: then its head stays, and its size.
// Pure.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "record/record.h"

namespace millrace {

// Of a payload that does not fit, so many bytes are kept at most.
constexpr std::size_t letter_head_bytes = 4096;

// Not ok: only its head was kept, and another try is none.
Status whole_letter(const DeadDetail& letter);

// Cuts what is too large for a row of so many bytes (LogStats::row_bytes_max), the payload first; other
// records stay as they are.
void make_fit(Record& letter, std::size_t row_bytes_max);

}  // namespace millrace
