// What a server's clock tells: when it wants to be asked again (RFC 9110, section 10.2.3), told as a duration
// of ours, because our clock need not be right; and how far ours is from it. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "base/time.h"
#include "net/http_reply.h"

namespace millrace {

constexpr Duration retry_after_max = std::chrono::minutes(15);

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, section 5.6.7); nothing: it is another text.
std::optional<WallTime> http_date(std::string_view text);
// Of the Retry-After header, at most retry_after_max; a date counts from the reply's own Date. Zero where
// there is none, where it lies in the past, or is no such text.
Duration retry_after_of(const HttpReply& reply);

// a board without a clock wakes in 1970: less would not do
constexpr std::int64_t apart_max_s = 100LL * 366 * 24 * 3600;
// How far `theirs` is ahead of `ours`. Nothing: a century or more; it is no clock.
std::optional<Duration> clocks_apart(WallTime theirs, WallTime ours);

}  // namespace millrace
