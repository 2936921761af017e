#include "base/time_zone.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/files.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::int64_t day_s = 86400;

std::int64_t days_before_year(int year) {
  const std::int64_t y = year - 1;
  return y * 365 + y / 4 - y / 100 + y / 400 - 719162;
}
bool leap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

int year_of(std::int64_t utc) {
  int year = 1970 + static_cast<int>(utc / (365 * day_s + day_s / 4));
  while (days_before_year(year) * day_s > utc) --year;
  while (days_before_year(year + 1) * day_s <= utc) ++year;
  return year;
}

// Big-endian numbers out of a file; zeros behind its end, which is then `short_`.
class Reader {
 public:
  explicit Reader(std::string_view rest) : rest_(rest) {}
  std::int64_t number(std::size_t bytes) {
    if (rest_.size() < bytes) {
      short_ = true;
      return 0;
    }
    std::uint64_t value = bytes > 0 && static_cast<signed char>(rest_[0]) < 0 ? ~std::uint64_t{0} : 0;
    for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<unsigned char>(rest_[i]);
    rest_.remove_prefix(bytes);
    return static_cast<std::int64_t>(value);
  }
  void skip(std::uint64_t bytes) {
    short_ = short_ || bytes > rest_.size();
    rest_.remove_prefix(std::min<std::uint64_t>(bytes, rest_.size()));
  }
  std::string_view rest() const { return rest_; }
  bool is_short() const { return short_; }

 private:
  std::string_view rest_;
  bool short_ = false;
};

struct Counts {
  std::uint64_t utc = 0, standard = 0, leaps = 0, times = 0, types = 0, letters = 0;
  std::uint64_t bytes(std::uint64_t time_size) const {
    return times * (time_size + 1) + types * 6 + letters + leaps * (time_size + 4) + standard + utc;
  }
};

bool read_header(Reader& file, Counts& counts) {
  if (file.rest().substr(0, 4) != "TZif") return false;
  file.skip(20);
  for (std::uint64_t* count :
       {&counts.utc, &counts.standard, &counts.leaps, &counts.times, &counts.types, &counts.letters}) {
    *count = static_cast<std::uint32_t>(file.number(4));
    if (*count > 10'000) return false;
  }
  return !file.is_short() && counts.types > 0;
}

// What POSIX writes into TZ, piece by piece.
class Footer {
 public:
  explicit Footer(std::string_view text) : rest_(text) {}
  bool done() const { return rest_.empty(); }
  bool take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool name() {
    const bool quoted = take('<');
    std::size_t n = 0;
    while (n < rest_.size() && (quoted ? rest_[n] != '>' : (rest_[n] | 32) >= 'a' && (rest_[n] | 32) <= 'z'))
      ++n;
    rest_.remove_prefix(n);
    return n > 0 && (!quoted || take('>'));
  }
  bool number(int& out) {
    const auto parsed = std::from_chars(rest_.data(), rest_.data() + rest_.size(), out);
    if (parsed.ec != std::errc{}) return false;
    rest_.remove_prefix(static_cast<std::size_t>(parsed.ptr - rest_.data()));
    return true;
  }
  // [+-]hh[:mm[:ss]] in seconds.
  bool time(std::int64_t& out) {
    const bool negative = take('-');
    if (!negative) (void)take('+');
    int hour = 0, minute = 0, second = 0;
    if (!number(hour) || (take(':') && !number(minute)) || (take(':') && !number(second))) return false;
    const auto within = [](int value, int most) { return value >= 0 && value <= most; };
    if (!within(hour, 167) || !within(minute, 59) || !within(second, 59)) return false;  // RFC 9636, 3.3.1
    out = (hour * 3600 + minute * 60 + second) * (negative ? -1 : 1);
    return true;
  }

 private:
  std::string_view rest_;
};

Result<std::shared_ptr<const TimeZone>> fixed(std::string_view name) {
  std::int64_t seconds = 0;
  Footer offset(name);
  if (!offset.time(seconds) || !offset.done() || seconds < -day_s || seconds > day_s) {
    return Status{Code::invalid, text("\"", name, "\" is no offset like \"+02:00\"")};
  }
  // A zone of one type: as a file would say it, POSIX counts west of Greenwich.
  return TimeZone::parse(
      text("<F>", seconds > 0 ? "-" : "", std::abs(seconds) / 3600, ":", std::abs(seconds) % 3600 / 60));
}

}  // namespace

Result<std::shared_ptr<const TimeZone>> TimeZone::find(const std::string& name) {
  if (name == "UTC" || name == "Z") return fixed("+00:00");
  if (name.starts_with('+') || name.starts_with('-')) return fixed(name);
  const auto good = [](unsigned char c) {
    return std::isalnum(c) || c == '/' || c == '_' || c == '-' || c == '+';
  };
  if (name.empty() || name.front() == '/' || !std::all_of(name.begin(), name.end(), good)) {
    return Status{Code::invalid,
                  text("\"", name, "\" is no time zone (\"Europe/Berlin\", \"+02:00\", \"UTC\", \"local\")")};
  }
  auto file =
      read_file(name == "local" ? std::string("/etc/localtime") : "/usr/share/zoneinfo/" + name, 1 << 20);
  if (!file.ok())
    return Status{Code::invalid, text("time zone \"", name, "\": ", file.status().detail(),
                                      " (Debian's package tzdata has the zones)")};
  auto zone = parse(file.value());
  return zone.ok() ? zone : Status{Code::invalid, text("time zone \"", name, "\": ", zone.status().detail())};
}

Result<std::shared_ptr<const TimeZone>> TimeZone::parse(std::string_view content) {
  auto zone = std::make_shared<TimeZone>();
  if (!content.starts_with("TZif")) {
    zone->take_footer(content);
    return std::shared_ptr<const TimeZone>(std::move(zone));
  }
  Reader file(content);
  Counts counts;
  const Status bad{Code::invalid, "not a time zone file of version 2 or later"};
  if (!read_header(file, counts)) return bad;
  file.skip(counts.bytes(4));
  if (!read_header(file, counts)) return bad;
  std::vector<std::int64_t> times(counts.times);
  std::vector<std::size_t> types(counts.times);
  for (std::int64_t& at : times) at = file.number(8);
  for (std::size_t& type : types) type = static_cast<std::size_t>(file.number(1));
  std::vector<int> offsets(counts.types);
  for (int& offset : offsets) {
    offset = static_cast<int>(file.number(4));
    file.skip(2);
  }
  file.skip(counts.letters + counts.leaps * 12 + counts.standard + counts.utc);
  if (file.is_short()) return bad;
  zone->first_ = zone->standard_ = offsets[0];
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (types[i] >= offsets.size() || (i > 0 && times[i] <= times[i - 1])) return bad;
    zone->changes_.push_back({times[i], offsets[types[i]]});
    zone->standard_ = offsets[types[i]];
  }
  const std::string_view footer = trim(file.rest());
  if (!footer.empty()) zone->take_footer(footer);
  return std::shared_ptr<const TimeZone>(std::move(zone));
}

// "CET-1CEST,M3.5.0,M10.5.0/3": what holds behind the last change. What cannot be read changes nothing.
void TimeZone::take_footer(std::string_view footer) {
  Footer in(footer);
  std::int64_t west = 0;
  if (!in.name() || !in.time(west)) return;
  standard_ = static_cast<int>(-west);
  if (changes_.empty()) first_ = standard_;
  if (in.done() || !in.name()) return;
  std::int64_t summer_west = west - 3600;
  if (!in.take(',')) {
    if (!in.time(summer_west) || !in.take(',')) return;
  }
  summer_ = static_cast<int>(-summer_west);
  for (Rule* rule : {&to_summer_, &to_standard_}) {
    if (in.take('M')) {
      if (!in.number(rule->month) || !in.take('.') || !in.number(rule->week) || !in.take('.') ||
          !in.number(rule->weekday))
        return;
      if (rule->month < 1 || rule->month > 12 || rule->week < 1 || rule->week > 5 || rule->weekday < 0 ||
          rule->weekday > 6)
        return;
    } else {
      rule->leap_days = !in.take('J');
      if (!in.number(rule->day)) return;
    }
    if (in.take('/') && !in.time(rule->second)) return;
    if (rule == &to_summer_ && !in.take(',')) return;
  }
  yearly_ = true;
}

// In seconds since 1970, as the clock on the wall shows it then.
std::int64_t TimeZone::start_of(const Rule& rule, int year) {
  std::int64_t day = days_before_year(year);
  if (rule.day >= 0) {
    day += rule.day;
    // J1 is the first day, and February has 28
    if (!rule.leap_days) day += (leap(year) && rule.day >= 60 ? 1 : 0) - 1;
    return day * day_s + rule.second;
  }
  static constexpr int days_in[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const auto length = [&](int month) { return days_in[month - 1] + (month == 2 && leap(year) ? 1 : 0); };
  for (int month = 1; month < rule.month; ++month) day += length(month);
  const std::int64_t weekday = ((day + 4) % 7 + 7) % 7;  // 1970 began on a Thursday
  std::int64_t in_month = (rule.weekday - weekday + 7) % 7 + 7 * (rule.week - 1);
  while (in_month >= length(rule.month)) in_month -= 7;
  return (day + in_month) * day_s + rule.second;
}

int TimeZone::offset_at(std::int64_t utc) const {
  if (!changes_.empty() && utc < changes_.back().at) {
    const auto behind =
        std::upper_bound(changes_.begin(), changes_.end(), utc,
                         [](std::int64_t at, const Change& change) { return at < change.at; });
    return behind == changes_.begin() ? first_ : std::prev(behind)->offset;
  }
  if (!yearly_) return standard_;
  const int year = year_of(utc + standard_);
  const std::int64_t summer = start_of(to_summer_, year) - standard_,
                     standard = start_of(to_standard_, year) - summer_;
  const bool in_summer =
      summer < standard ? utc >= summer && utc < standard : utc >= summer || utc < standard;
  return in_summer ? summer_ : standard_;
}

std::int64_t TimeZone::utc_of_local(std::int64_t local, bool second) const {
  const int before = offset_at(local - day_s), after = offset_at(local + day_s);
  if (before == after || (!second && offset_at(local - before) == before)) return local - before;
  return offset_at(local - after) == after ? local - after : local - before;
}

}  // namespace millrace
