// When a server wants to be asked again (RFC 9110, section 10.2.3), told as a duration of ours: our clock need not be right.
// Pure.
#pragma once

#include <optional>
#include <string_view>

#include "base/time.h"
#include "net/http_reply.h"

namespace millrace {

constexpr Duration retry_after_max = std::chrono::minutes(15);

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, section 5.6.7); nothing: it is another text.
std::optional<WallTime> http_date(std::string_view text);
// Of the Retry-After header, at most retry_after_max; a date counts from the reply's own Date. Zero where there is none, where
// it lies in the past, or is no such text.
Duration retry_after_of(const HttpReply& reply);

}  // namespace millrace
