// Times as devices write them: ISO 8601 / RFC 3339 text, or a number of s, ms, us or ns since 1970. Exact: decimal digits
// become microseconds without a detour through floating point.
#pragma once

#include <optional>
#include <string_view>

#include "base/time.h"

namespace millrace {

enum class TimeFormat : std::uint8_t { automatic, iso8601, s, ms, us, ns };

// Nothing for what is no time, or lies before 1900 or after 2262.
std::optional<WallTime> parse_time_text(std::string_view text);
// `automatic` goes by magnitude: below 1e11 seconds, 1e14 milliseconds, 1e17 microseconds, else nanoseconds.
std::optional<WallTime> parse_time_number(std::string_view spelling, TimeFormat format);

}  // namespace millrace
