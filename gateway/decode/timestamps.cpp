#include "decode/timestamps.h"

#include <charconv>
#include <cmath>

namespace millrace {
namespace {

constexpr std::int64_t earliest_us = -2'208'988'800'000'000;  // 1900
constexpr std::int64_t latest_us = 9'214'646'400'000'000;     // 2262

std::optional<WallTime> in_range(std::int64_t us) {
  if (us < earliest_us || us > latest_us) return std::nullopt;
  return WallTime{us};
}

// Days since 1970-01-01 of a proleptic Gregorian date.
std::int64_t days_from_civil(int year, int month, int day) {
  year -= month <= 2;
  const int era = (year >= 0 ? year : year - 399) / 400;
  const int of_era = year - era * 400;
  const int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return static_cast<std::int64_t>(era) * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
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
  bool done() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

}  // namespace

std::optional<WallTime> parse_time_text(std::string_view text) {
  Scanner scan(text);
  int year, month, day, hour = 0, minute = 0, second = 0, us = 0, offset_minutes = 0;
  if (!scan.digits(4, year) || !scan.take('-') || !scan.digits(2, month) || !scan.take('-') || !scan.digits(2, day)) return std::nullopt;
  if (!scan.done()) {
    if (!scan.take('T') && !scan.take(' ') && !scan.take('t')) return std::nullopt;
    if (!scan.digits(2, hour) || !scan.take(':') || !scan.digits(2, minute)) return std::nullopt;
    if (scan.take(':')) {
      if (!scan.digits(2, second)) return std::nullopt;
      if ((scan.take('.') || scan.take(',')) && !scan.fraction(us)) return std::nullopt;
    }
    const bool plus = scan.take('+');
    if (plus || scan.take('-')) {
      int zone_hour, zone_minute = 0;
      if (!scan.digits(2, zone_hour)) return std::nullopt;
      if (scan.take(':') || !scan.done()) {
        if (!scan.digits(2, zone_minute)) return std::nullopt;
      }
      if (zone_hour > 23 || zone_minute > 59) return std::nullopt;
      offset_minutes = (plus ? 1 : -1) * (zone_hour * 60 + zone_minute);
    } else if (!scan.take('Z')) {
      (void)scan.take('z');  // no zone at all is read as UTC
    }
  }
  static constexpr int days_in[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (!scan.done() || month < 1 || month > 12 || day < 1 || day > days_in[month - 1]) return std::nullopt;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (month == 2 && day == 29 && !leap) return std::nullopt;
  if (hour > 23 || minute > 59 || second > 60) return std::nullopt;  // :60 is a leap second and reads as the next :00
  const std::int64_t seconds = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_minutes * 60;
  return in_range(seconds * 1'000'000 + us);
}

// 1.7e9: written out, and then read like any other.
static std::optional<WallTime> parse_exponent(std::string_view spelling, TimeFormat format) {
  double value = 0;
  const auto parsed = std::from_chars(spelling.data(), spelling.data() + spelling.size(), value);
  if (parsed.ec != std::errc{} || parsed.ptr != spelling.data() + spelling.size() || !(std::fabs(value) < 9e18)) return std::nullopt;
  char plain[64];
  const auto end = std::to_chars(plain, plain + sizeof plain, value, std::chars_format::fixed, 6);
  return parse_time_number({plain, static_cast<std::size_t>(end.ptr - plain)}, format);
}

std::optional<WallTime> parse_time_number(std::string_view spelling, TimeFormat format) {
  const bool negative = spelling.starts_with('-');
  std::size_t at = negative ? 1 : 0;
  const std::size_t begin = at;
  std::int64_t whole = 0;
  const auto is_digit = [&] { return at < spelling.size() && spelling[at] >= '0' && spelling[at] <= '9'; };
  for (const std::size_t fits = begin + 18; at < fits && is_digit(); ++at) whole = whole * 10 + (spelling[at] - '0');
  for (; is_digit(); ++at) {
    const int digit = spelling[at] - '0';
    if (whole > (INT64_MAX - digit) / 10) return std::nullopt;
    whole = whole * 10 + digit;
  }
  if (at == begin) return std::nullopt;
  const std::string_view rest = spelling.substr(at);
  int fraction_us = 0;  // millionths of the unit
  if (!rest.empty()) {
    if (rest.find_first_of("eE") != std::string_view::npos) return parse_exponent(spelling, format);
    if (rest.front() != '.') return std::nullopt;
    Scanner scan(rest.substr(1));
    if (!scan.fraction(fraction_us) || !scan.done()) return std::nullopt;
  }
  if (format == TimeFormat::automatic || format == TimeFormat::iso8601) {
    format = whole < 100'000'000'000 ? TimeFormat::s
             : whole < 100'000'000'000'000 ? TimeFormat::ms
             : whole < 100'000'000'000'000'000 ? TimeFormat::us : TimeFormat::ns;
  }
  std::int64_t us = 0;
  switch (format) {
    case TimeFormat::s:
      if (whole > latest_us / 1'000'000) return std::nullopt;
      us = whole * 1'000'000 + fraction_us;
      break;
    case TimeFormat::ms:
      if (whole > latest_us / 1000) return std::nullopt;
      us = whole * 1000 + fraction_us / 1000;
      break;
    case TimeFormat::us: us = whole; break;
    default: us = whole / 1000;
  }
  return in_range(negative ? -us : us);
}

}  // namespace millrace
