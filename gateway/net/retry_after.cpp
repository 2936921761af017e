#include "net/retry_after.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "base/text.h"

namespace millrace {
namespace {

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec == std::errc::result_out_of_range && text.front() != '-') return INT64_MAX;
  if (text.empty() || parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size())
    return std::nullopt;
  return value;
}

}  // namespace

std::optional<WallTime> http_date(std::string_view text) {
  static constexpr std::string_view months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  text = trim(text);
  if (text.size() != 29 || text.substr(3, 2) != ", " || text.substr(25) != " GMT" || text[19] != ':' ||
      text[22] != ':')
    return std::nullopt;
  const auto month = std::find(std::begin(months), std::end(months), text.substr(8, 3));
  const auto day = number(text.substr(5, 2)), year = number(text.substr(12, 4));
  const auto hour = number(text.substr(17, 2)), minute = number(text.substr(20, 2)),
             second = number(text.substr(23, 2));
  if (month == std::end(months) || !day || !year || !hour || !minute || !second) return std::nullopt;
  if (*hour < 0 || *hour > 23 || *minute < 0 || *minute > 59 || *second < 0 || *second > 60)
    return std::nullopt;
  const std::chrono::year_month_day date{
      std::chrono::year(static_cast<int>(*year)),
      std::chrono::month(static_cast<unsigned>(month - std::begin(months)) + 1),
      std::chrono::day(static_cast<unsigned>(*day))};
  if (*year < 1970 || !date.ok()) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return WallTime{(((days * 24 + *hour) * 60 + *minute) * 60 + *second) * 1'000'000};
}

Duration retry_after_of(const HttpReply& reply) {
  const std::string_view words = trim(reply.header("retry-after"));
  std::int64_t seconds = 0;
  if (const auto given = number(words)) {
    seconds = *given;
  } else {
    const auto at = http_date(words), now = http_date(reply.header("date"));
    if (!at || !now) return {};
    seconds = (at->us - now->us) / 1'000'000;
  }
  const auto most = std::chrono::duration_cast<std::chrono::seconds>(retry_after_max);
  return std::chrono::seconds(std::clamp<std::int64_t>(seconds, 0, most.count()));
}

std::optional<Duration> clocks_apart(WallTime theirs, WallTime ours) {
  std::int64_t us = 0;  // nanoseconds would not hold the year 9999
  constexpr std::int64_t most = apart_max_s * 1'000'000;
  if (__builtin_sub_overflow(theirs.us, ours.us, &us) || us >= most || us <= -most) return std::nullopt;
  return std::chrono::microseconds(us);
}

}  // namespace millrace
