#include "decode/reading_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/ascii.h"
#include "base/label.h"
#include "base/lenient_json.h"
#include "base/text.h"
#include "base/utf8.h"

namespace millrace {
namespace {

constexpr std::int64_t exact_max = std::int64_t{1} << 53;  // beyond it doubles have gaps

bool whole_spelling(std::string_view spelling) {
  return std::none_of(spelling.begin(), spelling.end(),
                      [](char c) { return c == '.' || c == 'e' || c == 'E'; });
}

std::optional<std::int64_t> parse_integer(std::string_view spelling) {
  std::int64_t number = 0;
  const char* end = spelling.data() + spelling.size();
  const auto parsed = std::from_chars(spelling.data(), end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return number;
}

// The nearest double. Too small for one is 0 (or the least there is); too large is none, and so is an integer
// that would be another one.
std::optional<double> parse_double(std::string_view spelling) {
  double real = 0;
  const char* end = spelling.data() + spelling.size();
  const auto parsed = std::from_chars(spelling.data(), end, real);
  if (parsed.ptr != end) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) {
    // The exponent says which end it fell off: what is below 1 has a negative one, or zeros behind its point
    // only.
    const std::size_t e = spelling.find_first_of("eE");
    const bool small = e != std::string_view::npos ? e + 1 < spelling.size() && spelling[e + 1] == '-'
                                                   : spelling.find('.') <= 2;
    return small ? std::optional(spelling.front() == '-' ? -0.0 : 0.0) : std::nullopt;
  }
  return parsed.ec == std::errc{} ? std::optional(real) : std::nullopt;
}

// Whether a double spells the same whole number: the digits of it, written out, are those that were given.
bool same_whole(std::string_view spelling, double real) {
  char digits[400];
  const auto written = std::to_chars(digits, digits + sizeof digits, real, std::chars_format::fixed, 0);
  const bool negative = spelling.starts_with('-');
  std::string_view given = spelling.substr(negative ? 1 : 0);
  while (given.size() > 1 && given.front() == '0') given.remove_prefix(1);
  std::string_view made(digits, static_cast<std::size_t>(written.ptr - digits));
  if (negative != made.starts_with('-')) return false;
  return given == made.substr(negative ? 1 : 0);
}

// -1, 0 or 1 as the first is less, the same or more; neither is rounded.
int order(std::int64_t number, double limit) {
  if (!(limit < 0x1p63)) return -1;
  if (limit < -0x1p63) return 1;
  const double whole = std::floor(limit);
  const auto as_integer = static_cast<std::int64_t>(whole);
  if (number != as_integer) return number < as_integer ? -1 : 1;
  return whole < limit ? -1 : 0;
}

// Blanks that are no ASCII: no-break, narrow no-break, thin.
std::string_view without_wide_blanks(std::string_view given) {
  for (given = trim(given);;) {
    const std::size_t before = given.size();
    for (const std::string_view blank : {"\u00a0", "\u202f", "\u2009"}) {
      if (given.starts_with(blank)) given.remove_prefix(blank.size());
      if (given.ends_with(blank)) given.remove_suffix(blank.size());
    }
    given = trim(given);
    if (given.size() == before) return given;
  }
}

class Maker {
 public:
  Maker(const ValueSpec& spec, const std::string& metric, Value& out, std::string& unit, std::string& why,
        std::uint64_t& steps)
      : spec_(spec), metric_(metric), out_(out), unit_(unit), why_(why), steps_(steps) {}

  Made from_number(std::string_view spelling) {
    if (spec_.type == ValueSpec::text) return take_text(spelling);
    // A double holds any number of fifteen digits: a longer one is looked at, and one that is to be whole.
    const bool whole = (spec_.type == ValueSpec::integer || spelling.size() > 15) && whole_spelling(spelling);
    if (spec_.scale == 1 && spec_.offset == 0 && whole) {
      const auto number = parse_integer(spelling);
      const bool exact = spec_.type == ValueSpec::integer || (spec_.type != ValueSpec::boolean && number &&
                                                              (*number > exact_max || *number < -exact_max));
      if (number && exact) return take_whole(*number, spelling);
    }
    auto real = short_number(spelling);
    if (!real) real = parse_double(spelling);
    if (!real) return refuse("does not fit a double: ", spelling);
    // 2^53 + 1 is read as 2^53.
    if (whole && spelling.size() > 15 && std::fabs(*real) >= static_cast<double>(exact_max) &&
        !same_whole(spelling, *real)) {
      return refuse("is too large to be kept exactly: ", spelling);
    }
    return take_real(*real, spelling);
  }

  Made from_text(std::string_view given) {
    if (spec_.pattern) {
      if (given.size() > matched_text_max)
        return refuse(text("is longer than the ", matched_text_max, " bytes a pattern looks at: "), given);
      std::vector<std::string_view> groups;
      const Pattern::Found found_it = find(given, groups);
      if (found_it != Pattern::Found::yes)
        return refuse(
            found_it == Pattern::Found::no ? "is not as its pattern says: " : "costs its pattern too much: ",
            given);
      const std::string_view unit = spec_.unit_group < 0
                                        ? std::string_view()
                                        : trim(groups[static_cast<std::size_t>(spec_.unit_group)]);
      if (unit_.empty() && check_label(Label::unit, unit).ok()) unit_ = unit;
      given = groups[static_cast<std::size_t>(spec_.value_group)];
      if (trim(given).empty()) return Made::no_value;
      if (const auto found = number_in_text(given, spec_.decimal);
          spec_.type == ValueSpec::as_it_comes && found && found->unit.empty())
        return from_number(found->number);
    }
    switch (spec_.type) {
      case ValueSpec::as_it_comes:
      case ValueSpec::text: return take_text(given);
      case ValueSpec::boolean:
        if (const auto said = truth_in_words(trim(given))) return take_truth(*said);
        [[fallthrough]];
      default: break;
    }
    const std::string_view word = trim(given);
    if (stands_for_nothing(word)) return Made::no_value;
    if (const auto found = number_in_text(word, spec_.decimal)) {
      if (unit_.empty() && check_label(Label::unit, found->unit).ok()) unit_ = found->unit;
      return from_number(found->number);
    }
    if (const auto said = truth_in_words(word)) return take_truth(*said);
    return refuse(spec_.type == ValueSpec::boolean ? "is neither true nor false: " : "is not a number: ",
                  word);
  }

  Made take_truth(bool flag) {
    switch (spec_.type) {
      case ValueSpec::as_it_comes:
      case ValueSpec::boolean: out_ = flag; return Made::value;
      case ValueSpec::text: return take_text(flag ? "true" : "false");
      default: return take_real(flag ? 1 : 0, flag ? "true" : "false");
    }
  }

  Made refuse(std::string_view what, std::string_view given) {
    why_ = text("\"", metric_, "\" ", what, shown(given, 40));
    return Made::refused;
  }

 private:
  Pattern::Found find(std::string_view given, std::vector<std::string_view>& groups) {
    const std::uint64_t may = std::min(steps_, match_steps_max);
    std::uint64_t left = may;
    const Pattern::Found found =
        may > 0 ? spec_.pattern->find(given, groups, left) : Pattern::Found::too_long;
    steps_ -= may - left;
    return found;
  }

  Made take_text(std::string_view given) {
    if (Status status = check_text_value(metric_, given); !status.ok()) {
      why_ = status.detail();
      return Made::refused;
    }
    out_ = std::string(given);
    return Made::value;
  }

  // As it is: a double holds no more than the first 53 bits.
  Made take_whole(std::int64_t number, std::string_view given) {
    if (spec_.none && order(number, *spec_.none) == 0) return Made::no_value;
    if (spec_.min && order(number, *spec_.min) < 0) return below(given);
    if (spec_.max && order(number, *spec_.max) > 0) return above(given);
    out_ = number;
    return Made::value;
  }
  Made below(std::string_view given) {
    return refuse(text("is below its range, which begins at ", *spec_.min, ": "), given);
  }
  Made above(std::string_view given) {
    return refuse(text("is above its range, which ends at ", *spec_.max, ": "), given);
  }

  Made take_real(double real, std::string_view given) {
    if (spec_.none && real == *spec_.none) return Made::no_value;
    if (!spec_.plain) real = scaled(real, spec_.scale, spec_.offset);
    if (!std::isfinite(real)) return refuse("does not fit a double: ", given);
    if (spec_.min && real < *spec_.min) return below(given);
    if (spec_.max && real > *spec_.max) return above(given);
    if (spec_.type == ValueSpec::boolean) {
      if (real != 0 && real != 1) return refuse("is neither 0 nor 1: ", given);
      out_ = real != 0;
    } else if (spec_.type == ValueSpec::integer) {
      if (real != std::floor(real) || std::fabs(real) > static_cast<double>(exact_max))
        return refuse("is not a whole number of 64 bits: ", given);
      out_ = static_cast<std::int64_t>(real);
    } else {
      out_ = real;
    }
    return Made::value;
  }

  const ValueSpec& spec_;
  const std::string& metric_;
  Value& out_;
  std::string& unit_;
  std::string& why_;
  std::uint64_t& steps_;
};

// What people write behind a number: "C", "%", "°C", "km/h", "m3", "µg/m³". No blank, no digit but an
// exponent at the end.
bool looks_like_unit(std::string_view unit) {
  if (unit.size() > 16 || unit.empty()) return unit.empty();
  // "1Fh" is a number in hex to those who write it; "5Ah" is a charge.
  const std::string_view before = unit.substr(0, unit.size() - 1);
  if (!before.empty() && lower(unit.back()) == 'h' && !same_word(unit, "ah") &&
      std::ranges::all_of(before, [](char c) { return hex_digit(c) >= 0; }))
    return false;
  for (const std::string_view of_time :
       {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "am", "pm"}) {
    if (same_word(unit, of_time)) return false;  // "5 Jan", "12 PM"
  }
  if (!is_letter(unit.front()) && unit.front() != '%' && static_cast<unsigned char>(unit.front()) < 0x80)
    return false;
  for (std::size_t i = 0; i < unit.size(); ++i) {
    const char c = unit[i];
    const bool exponent = (c == '2' || c == '3') && i > 0 && (i + 1 == unit.size() || unit[i + 1] == '/');
    if (!is_letter(c) && c != '%' && c != '/' && c != '^' && !exponent &&
        static_cast<unsigned char>(c) < 0x80)
      return false;
  }
  return good_utf8(unit);
}

// Of a PLC (IEC 61131-3, 6.3): "16#FF", "8#17", "2#1010_0001".
std::optional<std::uint64_t> based_integer(std::string_view given) {
  const std::size_t sign = given.find('#');
  if (sign == std::string_view::npos) return std::nullopt;
  const std::string_view base = given.substr(0, sign);
  const int of = base == "16" ? 16 : base == "8" ? 8 : base == "2" ? 2 : 0;
  if (of == 0) return std::nullopt;
  std::string digits;
  for (std::size_t i = sign + 1; i < given.size(); ++i) {
    const bool between = given[i] == '_' && !digits.empty() && given[i - 1] != '_' && i + 1 < given.size();
    if (!between) digits += given[i];
  }
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number, of);
  if (parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size()) return std::nullopt;
  return number;
}

// Behind "T=", "temp: ", "T1 = ", and the words of a scale: "ST,GS,". What could be the first half of a
// number ("Temp 21,5"), a list of them ("rgb,255,120"), a date ("Jan 5, 2024") or a time of day ("Tue 12:30")
// is no name.
std::string_view without_prefix(std::string_view given, char decimal) {
  const std::size_t sign = decimal == ',' ? given.find_first_of("=:") : given.find_last_of("=:,");
  if (sign == std::string_view::npos || sign == 0 || !is_letter(given.front())) return given;
  for (const char c : given.substr(0, sign)) {
    if (!is_letter(c) && !is_digit(c) && c != '_' && c != '-' && c != ' ' && c != ',') return given;
  }
  if (given[sign] != '=' && is_digit(given[sign - 1]) && sign + 1 < given.size() && is_digit(given[sign + 1]))
    return given;
  for (std::size_t i = 1; i < sign && given[sign] == ','; ++i) {
    const std::string_view before = given.substr(0, i);
    const bool begins =
        before.ends_with(' ') || before.ends_with(',') || before.ends_with(" -") || before.ends_with(",-");
    if (begins && is_digit(given[i])) return given;
  }
  return trim(given.substr(sign + 1));
}

}  // namespace

double shortest(float value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value);
  double out = value;
  std::from_chars(digits, end.ptr, out);
  return out;
}

double scaled(double raw, double scale, double offset) {
  // 215 * 0.1 is not 21.5 for every 215: only the quotient is exact.
  const double divisor = std::round(1 / scale);
  const bool by_division =
      std::fabs(scale) < 1 && std::fabs(divisor) <= 1e15 && std::fabs(divisor * scale - 1) < 1e-15;
  if (!by_division) return raw * scale + offset;
  // Nor is 1377 / 1000 + 1.6 2.977: where the offset is a whole number of steps it is added before.
  const double steps = std::round(offset * divisor);
  const bool whole = std::fabs(steps / divisor - offset) <= 1e-15 * std::fabs(offset) &&
                     std::fabs(steps) < 0x1p52 && std::fabs(raw) < 0x1p52;
  return whole ? (raw + steps) / divisor : raw / divisor + offset;
}

Status check_pattern(const MetricConfig& metric) {
  if (metric.pattern.empty()) return {};
  const auto pattern = Pattern::parse(metric.pattern);
  if (!pattern.ok())
    return {Code::invalid, text("metric \"", metric.name, "\": ", pattern.status().detail())};
  const auto& names = pattern.value().names();
  if (std::find(names.begin(), names.end(), "value") == names.end())
    return {Code::invalid, text("metric \"", metric.name, "\": its pattern has no group (?<value>...)")};
  return {};
}

ValueSpec value_spec(const MetricConfig& metric, const RouteConfig& route) {
  ValueSpec spec;
  static constexpr std::pair<std::string_view, ValueSpec::Type> types[] = {{"number", ValueSpec::number},
                                                                           {"integer", ValueSpec::integer},
                                                                           {"bool", ValueSpec::boolean},
                                                                           {"text", ValueSpec::text}};
  for (const auto& [name, type] : types) {
    if (name == metric.type) spec.type = type;
  }
  spec.scale = metric.scale;
  spec.offset = metric.offset;
  spec.min = metric.min;
  spec.max = metric.max;
  spec.none = metric.no_value;
  spec.decimal = route.decimal == "," ? ',' : '.';
  spec.plain = spec.scale == 1 && spec.offset == 0 && !spec.min && !spec.max && !spec.none;
  if (!spec.plain && spec.type == ValueSpec::as_it_comes) spec.type = ValueSpec::number;
  if (auto pattern = Pattern::parse(metric.pattern); pattern.ok() && !metric.pattern.empty()) {
    const auto& names = pattern.value().names();
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == "value") spec.value_group = static_cast<int>(i);
      if (names[i] == "unit") spec.unit_group = static_cast<int>(i);
    }
    // Without a value it is none: check_pattern() says so.
    if (spec.value_group >= 0) spec.pattern = std::make_shared<const Pattern>(std::move(pattern).value());
  }
  spec.quick = spec.plain && !spec.pattern && spec.type <= ValueSpec::number;
  return spec;
}

std::optional<Value> value_if_missing(const MetricConfig& metric) {
  if (!metric.if_missing) return std::nullopt;
  MetricConfig bare = metric;
  bare.scale = 1;
  bare.offset = 0;
  bare.min = bare.max = bare.no_value = std::nullopt;
  bare.pattern.clear();
  if (bare.type.empty() && number_in_text(*metric.if_missing, '.')) bare.type = "number";
  Value value;
  std::string unit, why;
  const Made made = make_value(value_spec(bare, RouteConfig()), metric.name,
                               {Scalar::string, false, 0, *metric.if_missing}, value, unit, why);
  return made == Made::value ? std::optional(value) : std::nullopt;
}

Made make_value(const ValueSpec& spec, const std::string& metric, const Scalar& scalar, Value& out,
                std::string& unit, std::string& why, std::uint64_t& steps) {
  Maker maker(spec, metric, out, unit, why, steps);
  switch (scalar.kind) {
    case Scalar::number: return maker.from_number(scalar.text);
    case Scalar::string: return maker.from_text(scalar.text);
    case Scalar::truth: return maker.take_truth(scalar.flag);
    case Scalar::unreadable: return maker.refuse("is no value: ", scalar.text);
    default: return Made::no_value;
  }
}

bool stands_for_nothing(std::string_view word) {
  // "--", "--.-", "--:--"
  if (word.find_first_not_of("-.,:/ ") == std::string_view::npos)
    return word.empty() || word.find('-') != std::string_view::npos;
  if (says_no_value(word)) return true;
  for (const std::string_view known : {"unknown", "unavailable", "n.a.", "na", "#n/a", "no data"}) {
    if (same_word(word, known)) return true;
  }
  return false;
}

std::optional<bool> truth_in_words(std::string_view word) {
  for (const std::string_view yes : {"true", "on", "yes"}) {
    if (same_word(word, yes)) return true;
  }
  for (const std::string_view no : {"false", "off", "no"}) {
    if (same_word(word, no)) return false;
  }
  return std::nullopt;
}

std::optional<NumberInText> number_in_text(std::string_view given, char decimal) {
  constexpr std::string_view long_minus = "\u2212";
  std::string_view rest = without_prefix(without_wide_blanks(given), decimal);
  NumberInText found;
  const std::size_t sign = rest.starts_with('-') || rest.starts_with('+') ? 1
                           : rest.starts_with(long_minus)                 ? long_minus.size()
                                                                          : 0;
  if (sign > 0) {
    if (rest.front() != '+') found.number = "-";
    rest = trim(rest.substr(sign));  // scales align the digits: "+  12.345kg"
  }
  if (rest.starts_with("0x") || rest.starts_with("0X")) {
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(rest.data() + 2, rest.data() + rest.size(), number, 16);
    if (parsed.ec != std::errc{} || parsed.ptr != rest.data() + rest.size()) return std::nullopt;
    found.number += text(number);
    return found;
  }
  if (const auto number = based_integer(rest)) {
    found.number += text(*number);
    return found;
  }
  std::size_t at = 0, digits = 0;
  const auto take_digits = [&] {
    for (; at < rest.size() && is_digit(rest[at]); ++at, ++digits) found.number += rest[at];
  };
  take_digits();
  if (at < rest.size() && rest[at] == decimal) {
    if (digits == 0) found.number += '0';
    ++at;
    found.number += '.';
    const std::size_t before = digits;
    take_digits();
    if (digits == before) found.number.pop_back();  // "5." is 5
  }
  if (digits == 0) return std::nullopt;
  if (at < rest.size() && (rest[at] == 'e' || rest[at] == 'E')) {
    std::size_t e = at + 1;
    if (e < rest.size() && (rest[e] == '-' || rest[e] == '+')) ++e;
    if (e < rest.size() && is_digit(rest[e])) {
      // As it stands there: where a cell names a device "12E4" is no other than that.
      for (found.number += rest[at], e = at + 1; e < rest.size() && (is_digit(rest[e]) || e == at + 1); ++e)
        found.number += rest[e];
      at = e;
    }
  }
  found.unit = without_wide_blanks(rest.substr(at));
  if (!looks_like_unit(found.unit)) return std::nullopt;
  return found;
}

}  // namespace millrace
