#include "decode/timestamps.h"

#include <algorithm>
#include <charconv>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "base/ascii.h"
#include "decode/reading_value.h"

namespace millrace {
namespace {

constexpr std::int64_t earliest_us = -2'208'988'800'000'000;  // 1900
constexpr std::int64_t latest_us = 9'214'646'400'000'000;     // 2262

WallTime in_bounds(std::int64_t us) { return {std::clamp(us, earliest_us - 1, latest_us + 1)}; }

// What is too large for an integer is its end, which is out of all bounds.
std::int64_t product(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  return __builtin_mul_overflow(a, b, &out) ? (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN : out;
}
std::int64_t sum(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  return __builtin_add_overflow(a, b, &out) ? a < 0 ? INT64_MIN : INT64_MAX : out;
}

// Days since 1970-01-01 of a proleptic Gregorian date.
std::int64_t days_from_civil(int year, int month, int day) {
  year -= month <= 2;
  const int era = (year >= 0 ? year : year - 399) / 400;
  const int of_era = year - era * 400;
  const int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return static_cast<std::int64_t>(era) * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
         719468;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}
  bool digits(std::size_t count, int& out) {
    if (rest_.size() < count) return false;
    out = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (rest_[i] < '0' || rest_[i] > '9') return false;
      out = out * 10 + (rest_[i] - '0');
    }
    rest_.remove_prefix(count);
    return true;
  }
  bool take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  // Microseconds of a fraction; further digits are cut.
  bool fraction(int& us) {
    us = 0;
    int place = 100'000;
    std::size_t n = 0;
    while (n < rest_.size() && rest_[n] >= '0' && rest_[n] <= '9') {
      us += (rest_[n] - '0') * place;
      place /= 10;
      ++n;
    }
    rest_.remove_prefix(n);
    return n > 0;
  }
  // One or two digits; two where another field of digits follows.
  bool short_number(bool both, int& out) { return digits(2, out) || (!both && digits(1, out)); }
  bool take_any(std::string_view those, char& taken) {
    if (rest_.empty() || those.find(rest_.front()) == std::string_view::npos) return false;
    taken = rest_.front();
    rest_.remove_prefix(1);
    return true;
  }
  void blanks() {
    while (take(' ') || take('\t')) {}
  }
  bool done() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }
  void skip(std::size_t n) { rest_.remove_prefix(n); }

 private:
  std::string_view rest_;
};

// The number that eight digits spell; false, and `out` as it was, when they are not all digits. Two, then
// four, then all of them are summed side by side in one word.
bool eight_digits(const char* at, std::int64_t& out) {
  std::uint64_t eight = 0;
  std::memcpy(&eight, at, 8);
  if constexpr (std::endian::native == std::endian::big) eight = __builtin_bswap64(eight);
  eight ^= 0x3030303030303030;
  if (((eight + 0x7676767676767676) | eight) & 0x8080808080808080) return false;
  eight = eight * 10 + (eight >> 8);
  eight = ((eight & 0x000000FF000000FF) * (100 + (std::uint64_t{1'000'000} << 32)) +
           ((eight >> 16) & 0x000000FF000000FF) * (1 + (std::uint64_t{10'000} << 32))) >>
          32;
  out = static_cast<std::int64_t>(eight);
  return true;
}

// What a calendar and a clock show.
struct Shown {
  int year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0, us = 0;
  std::optional<int> offset_minutes;

  std::optional<WallTime> in_utc(const TimeZone* zone) const {
    static constexpr int days_in[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (month < 1 || month > 12 || day < 1 || day > days_in[month - 1]) return std::nullopt;
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2 && day == 29 && !leap) return std::nullopt;
    // :60 is a leap second and reads as the next :00
    if (hour > 23 || minute > 59 || second > 60) return std::nullopt;
    std::int64_t seconds = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    if (offset_minutes) seconds -= *offset_minutes * 60;
    else if (zone) seconds = zone->utc_of_local(seconds);
    return in_bounds(seconds * 1'000'000 + us);
  }
};

// "Z", "+01:00", "+0100", "+01"; nothing of these leaves `out` empty.
bool take_offset(Scanner& scan, std::optional<int>& out) {
  const bool plus = scan.take('+');
  if (plus || scan.take('-')) {
    int hour, minute = 0;
    if (!scan.digits(2, hour)) return false;
    if ((scan.take(':') || (!scan.done() && scan.rest().front() >= '0' && scan.rest().front() <= '9')) &&
        !scan.digits(2, minute))
      return false;
    if (hour > 23 || minute > 59) return false;
    out = (plus ? 1 : -1) * (hour * 60 + minute);
  } else if (scan.take('Z') || scan.take('z')) {
    out = 0;
  }
  return true;
}

constexpr std::string_view months = "janfebmaraprmayjunjulaugsepoctnovdec";

bool take_month(Scanner& scan, int& out) {
  std::string name(scan.rest().substr(0, 3));
  for (char& c : name) c = static_cast<char>(c | 32);
  const std::size_t at = name.size() < 3 ? std::string_view::npos : months.find(name);
  if (at == std::string_view::npos || at % 3 != 0) return false;
  out = static_cast<int>(at / 3) + 1;
  scan.skip(3);
  return true;
}

// Letters; how many.
std::size_t take_word(Scanner& scan) {
  std::size_t n = 0;
  while (n < scan.rest().size() && ((scan.rest()[n] | 32) >= 'a' && (scan.rest()[n] | 32) <= 'z')) ++n;
  scan.skip(n);
  return n;
}

// What other zones' names mean differs from country to country.
bool take_utc(Scanner& scan, std::optional<int>& offset_minutes) {
  for (const std::string_view name : {"GMT", "UTC", "Z"}) {
    if (!scan.rest().starts_with(name)) continue;
    scan.skip(name.size());
    offset_minutes = 0;
    return true;
  }
  return false;
}

// An offset, and what some write beside it: "+0000 UTC" (Go), "+01:00[Europe/Berlin]" (Java), "UTC" alone.
// The name of another zone alone is none.
bool take_zone(Scanner& scan, std::optional<int>& offset_minutes) {
  if (!take_offset(scan, offset_minutes)) return false;
  if (offset_minutes) (void)scan.take(' ');
  for (const std::string_view name : {"UTC", "GMT"}) {
    if (offset_minutes.value_or(0) != 0 || !scan.rest().starts_with(name)) continue;
    scan.skip(name.size());
    offset_minutes = 0;
    break;
  }
  const std::string_view place = scan.rest();
  if (offset_minutes && place.starts_with('[') && place.find(']') == place.size() - 1)
    scan.skip(place.size());
  return true;
}

// "/Date(1767268800000)/", "/Date(1767268800000+0100)/": milliseconds in any case, as JSON of .NET has them.
std::optional<WallTime> parse_net_date(std::string_view text) {
  constexpr std::string_view begin = "/Date(", end = ")/";
  if (!text.starts_with(begin) || !text.ends_with(end)) return std::nullopt;
  text = text.substr(begin.size(), text.size() - begin.size() - end.size());
  return parse_time_number(text.substr(0, text.find_first_of("+-", 1)), TimeFormat::ms);
}

// Digits that could be a date: 20240701, 202407011200, 20240701120000, 20240701120000123. As a number they
// would be some other time.
bool could_be_date(std::string_view spelling) {
  constexpr std::size_t day = 8, minute = 12, second = 14, millisecond = 17,
                        sizes[] = {day, minute, second, millisecond};
  if (std::ranges::find(sizes, spelling.size()) == std::end(sizes)) return false;
  int milliseconds = 0;
  Scanner scan(spelling);
  Shown shown;
  if (!scan.digits(4, shown.year) || !scan.digits(2, shown.month) || !scan.digits(2, shown.day)) return false;
  if (!scan.done() && (!scan.digits(2, shown.hour) || !scan.digits(2, shown.minute))) return false;
  if (!scan.done() && !scan.digits(2, shown.second)) return false;
  if (!scan.done() && !scan.digits(3, milliseconds)) return false;
  return shown.year >= 1970 && shown.year < 2100 && shown.in_utc(nullptr).has_value();
}

// Zeros where a date is to be: "0000-00-00 00:00:00", "00.00.2000", "000000 120000". No day has two parts of
// 0, whatever their order is.
bool names_no_day(std::string_view text) {
  const std::string_view date = text.substr(0, text.find_first_of(" Tt"));
  int parts = 1, zeros = 0;
  std::size_t digits = 0;
  bool zero = true;
  for (const char c : date) {
    if (c == '-' || c == '/' || c == '.') {
      if (digits == 0) return false;
      zeros += zero;
      ++parts;
      digits = 0;
      zero = true;
    } else if (c >= '0' && c <= '9') {
      ++digits;
      zero = zero && c == '0';
    } else {
      return false;
    }
  }
  if (digits == 0) return false;
  zeros += zero;
  return parts == 3 ? zeros >= 2 : parts == 1 && zero && (digits >= 6 || date == text);
}

}  // namespace

bool is_within_bounds(WallTime time) { return time.us >= earliest_us && time.us <= latest_us; }

std::optional<WallTime> parse_time_text(std::string_view text, const TimeZone* zone) {
  if (text.starts_with('/')) return parse_net_date(text);
  Scanner scan(text);
  Shown shown;
  char sign = 0, other = 0;
  if (!scan.digits(4, shown.year)) return std::nullopt;
  const bool basic = !scan.take_any("-/.", sign);  // "20260101T120000Z": digits alone are never guessed
  if (!scan.digits(2, shown.month) || (!basic && !scan.take_any("-/.", other))) return std::nullopt;
  if (sign != other || !scan.digits(2, shown.day) || (basic && scan.done())) return std::nullopt;
  if (!scan.done()) {
    if (!scan.take('T') && (basic || (!scan.take(' ') && !scan.take('t')))) return std::nullopt;
    if (!scan.digits(2, shown.hour) || (!basic && !scan.take(':')) || !scan.digits(2, shown.minute))
      return std::nullopt;
    if (basic ? !scan.done() && is_digit(scan.rest().front()) : scan.take(':')) {
      if (!scan.digits(2, shown.second)) return std::nullopt;
      if ((scan.take('.') || scan.take(',')) && !scan.fraction(shown.us)) return std::nullopt;
    }
    (void)scan.take(' ');
    if (!take_zone(scan, shown.offset_minutes)) return std::nullopt;
  }
  return scan.done() ? shown.in_utc(zone) : std::nullopt;
}

Status check_time_pattern(std::string_view pattern) {
  bool year = false, month = false, day = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') continue;
    const char field = ++i < pattern.size() ? pattern[i] : '\0';
    if (field == '\0' || std::string_view("YymdHIpMSfbazZ%").find(field) == std::string_view::npos) {
      return {Code::invalid, std::string("time_format: %") + field +
                                 " is not known; there are %Y %y %m %b %a %d %H %I %p %M %S %f %z %Z %%"};
    }
    year = year || field == 'Y' || field == 'y';
    month = month || field == 'm' || field == 'b';
    day = day || field == 'd';
  }
  return year && month && day ? Status()
                              : Status{Code::invalid, "time_format: a time has a year, a month and a day"};
}

std::optional<WallTime> parse_time_pattern(std::string_view text, std::string_view pattern,
                                           const TimeZone* zone) {
  Scanner scan(text);
  Shown shown;
  bool afternoon = false, twelve = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == ' ') {
      scan.blanks();
      continue;
    }
    if (pattern[i] != '%') {
      if (!scan.take(pattern[i])) return std::nullopt;
      continue;
    }
    const char field = ++i < pattern.size() ? pattern[i] : '\0';
    const bool digits_follow = i + 1 < pattern.size() && pattern[i + 1] == '%';
    bool good = true;
    switch (field) {
      case 'Y': good = scan.digits(4, shown.year); break;
      case 'y':
        good = scan.digits(2, shown.year);
        shown.year += shown.year < 69 ? 2000 : 1900;
        break;
      case 'm': good = scan.short_number(digits_follow, shown.month); break;
      case 'b': good = take_month(scan, shown.month); break;
      case 'a': good = take_word(scan) > 0; break;
      case 'd': good = scan.short_number(digits_follow, shown.day); break;
      case 'H': good = scan.short_number(digits_follow, shown.hour); break;
      case 'I':
        good = scan.short_number(digits_follow, shown.hour) && shown.hour >= 1 && shown.hour <= 12;
        twelve = true;
        break;
      case 'p': {
        char half = 0, m = 0;
        good = scan.take_any("aApP", half) && scan.take_any("mM", m);
        afternoon = (half | 32) == 'p';
        break;
      }
      case 'M': good = scan.short_number(digits_follow, shown.minute); break;
      case 'S': good = scan.short_number(digits_follow, shown.second); break;
      case 'f': good = scan.fraction(shown.us); break;
      case 'z': good = take_offset(scan, shown.offset_minutes); break;
      case 'Z': good = take_utc(scan, shown.offset_minutes); break;
      default: good = scan.take('%');
    }
    if (!good) return std::nullopt;
  }
  if (twelve) shown.hour = shown.hour % 12 + (afternoon ? 12 : 0);
  return scan.done() ? shown.in_utc(zone) : std::nullopt;
}

// What ".5" is of a day, to the nearest millisecond: tables have no more digits than that.
static std::int64_t of_day_us(std::string_view fraction) {
  double part = 0;
  (void)std::from_chars(fraction.data(), fraction.data() + fraction.size(), part);
  return std::llround(part * 86'400'000) * 1000;
}

// 1.7e9: written out, and then read like any other.
static std::optional<WallTime> parse_exponent(std::string_view spelling, TimeFormat format) {
  double value = 0;
  const auto parsed = std::from_chars(spelling.data(), spelling.data() + spelling.size(), value);
  if (parsed.ec != std::errc{} || parsed.ptr != spelling.data() + spelling.size()) return std::nullopt;
  value = std::clamp(value, -1e20, 1e20);  // which is out of all bounds in whatever unit
  char plain[64];
  const auto end = std::to_chars(plain, plain + sizeof plain, value, std::chars_format::fixed, 6);
  return parse_time_number({plain, static_cast<std::size_t>(end.ptr - plain)}, format);
}

std::optional<WallTime> parse_time_number(std::string_view spelling, TimeFormat format) {
  const bool negative = spelling.starts_with('-');
  const char* const end = spelling.data() + spelling.size();
  const char* const begin = spelling.data() + (negative ? 1 : 0);
  const char* at = begin;
  std::int64_t whole = 0;
  // Times of today have ten to nineteen digits: the first sixteen of them by eights.
  if (end - at >= 8 && eight_digits(at, whole)) {
    std::int64_t more = 0;
    at += 8;
    if (end - at >= 8 && eight_digits(at, more)) {
      whole = whole * 100'000'000 + more;
      at += 8;
    }
  }
  for (; at < end && *at >= '0' && *at <= '9'; ++at) { whole = sum(product(whole, 10), *at - '0'); }
  if (at == begin) return std::nullopt;
  const std::string_view rest(at, static_cast<std::size_t>(end - at));
  int fraction_us = 0;  // millionths of the unit
  if (!rest.empty()) {
    if (rest.find_first_of("eE") != std::string_view::npos) return parse_exponent(spelling, format);
    if (rest.front() != '.') return std::nullopt;
    Scanner scan(rest.substr(1));
    if (!scan.fraction(fraction_us) || !scan.done()) return std::nullopt;
  }
  if (format == TimeFormat::automatic || format == TimeFormat::iso8601) {
    format = whole < 100'000'000'000           ? TimeFormat::s
             : whole < 100'000'000'000'000     ? TimeFormat::ms
             : whole < 100'000'000'000'000'000 ? TimeFormat::us
                                               : TimeFormat::ns;
  }
  constexpr std::int64_t second_us = 1'000'000, day_us = 86'400 * second_us;
  std::int64_t us = 0, epoch_us = 0;  // since the epoch of the format, and what that is
  switch (format) {
    case TimeFormat::s2000: epoch_us = 946'684'800 * second_us; [[fallthrough]];
    case TimeFormat::s: us = sum(product(whole, second_us), fraction_us); break;
    case TimeFormat::ms: us = sum(product(whole, 1000), fraction_us / 1000); break;
    case TimeFormat::filetime:
    case TimeFormat::ticks:
      epoch_us = (format == TimeFormat::ticks ? -62'135'596'800 : -11'644'473'600) * second_us;
      us = whole / 10;
      break;
    case TimeFormat::excel:
      epoch_us = -25'569 * day_us;
      us = sum(product(whole, day_us), of_day_us(rest));
      break;
    case TimeFormat::us: us = whole; break;
    default: us = whole / 1000;
  }
  return in_bounds(sum(epoch_us, negative ? -us : us));
}

std::optional<WallTime> parse_seconds_and_nanos(std::string_view text) {
  const std::size_t blank = text.find(' ');
  auto time = parse_time_number(text.substr(0, blank), TimeFormat::s);
  if (!time || blank == std::string_view::npos) return time;
  const std::string_view rest = text.substr(blank + 1);
  std::uint32_t nanos = 0;
  const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), nanos);
  if (parsed.ec != std::errc{} || parsed.ptr != rest.data() + rest.size() || nanos >= 1'000'000'000)
    return std::nullopt;
  return in_bounds(sum(time->us, nanos / 1000));
}

bool is_too_far_ahead(WallTime time, WallTime now, const TimeRule& rule) {
  if (rule.future_limit_us == INT64_MAX) return false;
  std::int64_t ahead = 0;
  if (__builtin_sub_overflow(time.us, now.us, &ahead)) return time > now;
  return ahead > rule.future_limit_us;
}

TimeFound read_time(std::string_view spelling, bool number, const TimeRule& rule,
                    std::optional<WallTime> now) {
  if (rule.format == TimeFormat::uptime)
    return {stands_for_nothing(spelling) ? TimeFound::none : TimeFound::unbelieved};
  std::optional<WallTime> time;
  if (rule.format == TimeFormat::s_ns) {
    time = parse_seconds_and_nanos(spelling);
  } else if (rule.format == TimeFormat::pattern) {
    time = parse_time_pattern(spelling, rule.pattern, rule.zone.get());
  } else {
    if (!number) time = parse_time_text(spelling, rule.zone.get());
    if (!time && rule.format != TimeFormat::iso8601) {
      if (rule.format == TimeFormat::automatic && could_be_date(spelling))
        return {TimeFound::refused,
                {},
                " (digits that could be a date: time_format = \"%Y%m%d...\" or \"s\", \"ms\" says)"};
      time = parse_time_number(spelling, rule.format);
    }
  }
  if (!time)
    return {stands_for_nothing(spelling) || names_no_day(spelling) ? TimeFound::none : TimeFound::refused};
  if (!is_within_bounds(*time) || time->us < rule.past_limit_us) return {TimeFound::unbelieved, *time};
  if (now && is_too_far_ahead(*time, *now, rule)) return {TimeFound::unbelieved, *time};
  return {TimeFound::time, *time};
}

std::optional<TimeFormat> time_format_of(std::string_view name) {
  static constexpr std::pair<std::string_view, TimeFormat> formats[] = {{"auto", TimeFormat::automatic},
                                                                        {"iso8601", TimeFormat::iso8601},
                                                                        {"s", TimeFormat::s},
                                                                        {"ms", TimeFormat::ms},
                                                                        {"us", TimeFormat::us},
                                                                        {"ns", TimeFormat::ns},
                                                                        {"s2000", TimeFormat::s2000},
                                                                        {"filetime", TimeFormat::filetime},
                                                                        {"ticks", TimeFormat::ticks},
                                                                        {"excel", TimeFormat::excel},
                                                                        {"uptime", TimeFormat::uptime},
                                                                        {"s+ns", TimeFormat::s_ns}};
  for (const auto& [known, format] : formats) {
    if (known == name) return format;
  }
  return std::nullopt;
}

}  // namespace millrace
