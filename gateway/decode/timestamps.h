// Times as devices write them: ISO 8601 / RFC 3339 text, a number of s, ms, us or ns since 1970, or a pattern
// of the route's. Exact: decimal digits become microseconds without a detour through floating point. Never
// guessed: digits that could be a date are a date only by a pattern.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/time.h"
#include "base/time_zone.h"

namespace millrace {

enum class TimeFormat : std::uint8_t {
  automatic,
  iso8601,
  s,
  ms,
  us,
  ns,
  s2000,
  filetime,
  ticks,
  excel,
  uptime,
  s_ns,
  pattern
};

// By the name in the configuration; nothing for another one.
std::optional<TimeFormat> time_format_of(std::string_view name);

// What is earlier than 1900 or later than 2262, however many digits it has, is told as just outside of these
// bounds: a time all the same, and one that nobody believes.
bool is_within_bounds(WallTime time);

// Nothing for what is no time. Also with / or . between year, month and day, and a blank before the offset;
// "/Date(1767268800000)/". Without an offset it is the time of `zone`; none: UTC.
std::optional<WallTime> parse_time_text(std::string_view text, const TimeZone* zone = nullptr);
// `automatic` goes by magnitude: below 1e11 seconds, 1e14 milliseconds, 1e17 microseconds, else nanoseconds.
// `s2000`: seconds since 2000-01-01T00:00:00Z. `filetime`, `ticks`: tenths of microseconds since 1601 and
// since the year 1 (Windows, .NET). `excel`: days since 1899-12-30, with a fraction.
std::optional<WallTime> parse_time_number(std::string_view spelling, TimeFormat format);
// By a pattern in the manner of strptime: %Y %y %m %d %H %I %p %M %S %f (fraction of a second) %b %a
// (English; the weekday is passed over) %z, %Z (GMT, UTC or Z) %%; a blank stands for any number of them.
std::optional<WallTime> parse_time_pattern(std::string_view text, std::string_view pattern,
                                           const TimeZone* zone = nullptr);
// `invalid` for a pattern that does not name a day.
Status check_time_pattern(std::string_view pattern);

// How a route reads the times of its payloads.
struct TimeRule {
  TimeFormat format = TimeFormat::automatic;
  std::string pattern;
  std::shared_ptr<const TimeZone> zone;    // of times that name none; none: UTC
  std::int64_t past_limit_us = INT64_MIN;  // what is earlier is not believed
  // nor what is further ahead of the gateway's clock, where that is trusted
  std::int64_t future_limit_us = INT64_MAX;
};

// "1767268800 500000000": seconds since 1970 and the nanoseconds beyond, as the cloud's clients and ROS have
// them; without the second they are none.
std::optional<WallTime> parse_seconds_and_nanos(std::string_view text);

// Whatever the two are: a clock may be anywhere.
bool is_too_far_ahead(WallTime time, WallTime now, const TimeRule& rule);

struct TimeFound {
  // `none`: it says itself that it is no time, as of a clock that is not set: "N/A", "0000-00-00 00:00:00"
  enum Kind : std::uint8_t { time, unbelieved, none, refused } kind;
  WallTime at{};
  const char* hint = "";  // of a refused one: what would read it
};
// `number`: the payload has a number there, not a text. `now`: when it arrived, by a clock that is trusted.
TimeFound read_time(std::string_view spelling, bool number, const TimeRule& rule,
                    std::optional<WallTime> now);

}  // namespace millrace
