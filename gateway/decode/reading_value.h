// From one value as a payload has it to the value of a reading, by what the route says of the metric: its
// type, scale, default and range. The same for every format. A value that a double cannot hold exactly enough
// is refused, never rounded to something else.
#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/pattern.h"
#include "config/routes.h"
#include "record/record.h"

namespace millrace {

// One value as it stands in a payload; its text lives as long as the walk through it.
struct Scalar {
  enum Kind : std::uint8_t { none, no_value, truth, number, string, unreadable } kind = none;
  bool flag = false;
  std::uint32_t place = 0;  // among the values of the payload
  std::string_view text;
};

struct ValueSpec {
  enum Type : std::uint8_t { as_it_comes, number, integer, boolean, text } type = as_it_comes;
  bool plain = true;          // nothing of scale, offset, range and what says none is set
  mutable bool quick = true;  // and a short number or a text is taken as it comes
  double scale = 1, offset = 0;
  std::optional<double> min, max;
  std::optional<double> none;  // this number, as it comes, says that there is none
  char decimal = '.';
  // Where in a text the value stands, and its unit: groups of it, -1 where it has none.
  std::shared_ptr<const Pattern> pattern;
  int value_group = -1, unit_group = -1;
};

// Of a text that a metric's pattern looks at; what is longer, or costs more, is refused. A condition finds
// nothing in a text that is longer.
constexpr std::size_t matched_text_max = 4096;
constexpr std::uint64_t match_steps_max = 200'000;
// What all patterns may cost of one payload (base/pattern.h): a few tenths of a second on a small board.
constexpr std::uint64_t payload_steps_max = 20'000'000;

// Whether a metric's pattern is one, and has a group `value`.
Status check_pattern(const MetricConfig& metric);

ValueSpec value_spec(const MetricConfig& metric, const RouteConfig& route);
// The value that counts where the payload has none, as the configuration says it: neither scaled nor in need
// of a range.
std::optional<Value> value_if_missing(const MetricConfig& metric);

// 21.5 is meant where a float says 21.4 with more digits than it has.
double shortest(float value);

// The nearest double of at most fifteen characters, as JSON spells a number: whole digits and a power of ten
// that a double holds, divided once. Nothing: it is spelled with an exponent, or is none.
inline std::optional<double> short_number(std::string_view spelling) {
  static constexpr double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6, 1e7,
                                      1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};
  if (spelling.size() > std::size(powers)) return std::nullopt;
  const char* at = spelling.data();
  const char* const end = at + spelling.size();
  const bool negative = at < end && *at == '-';
  if (negative) ++at;
  const char* point = nullptr;
  std::int64_t whole = 0;
  for (; at < end; ++at) {
    const unsigned digit = static_cast<unsigned char>(*at) - unsigned{'0'};
    if (digit < 10) whole = whole * 10 + digit;
    else if (*at == '.' && !point) point = at;
    else return std::nullopt;
  }
  if (spelling.size() == std::size_t{negative} + std::size_t{point != nullptr})
    return std::nullopt;  // no digit
  const auto real = static_cast<double>(whole) / (point ? powers[end - point - 1] : 1);
  return negative ? -real : real;
}

// raw * scale + offset, where 215 * 0.1 is 21.5.
double scaled(double raw, double scale, double offset);

enum class Made : std::uint8_t { value, no_value, refused };
// On `refused`, `why` says so in words and `out` is as it was. `metric` is for the words only. `unit`, where
// it is empty, takes what stands behind a number in a text ("21.5 C"). `steps`: what patterns may still cost
// of the payload; once it is 0 no pattern finds anything.
Made make_value(const ValueSpec& spec, const std::string& metric, const Scalar& scalar, Value& out,
                std::string& unit, std::string& why, std::uint64_t& steps);
// Of one that comes alone.
inline Made make_value(const ValueSpec& spec, const std::string& metric, const Scalar& scalar, Value& out,
                       std::string& unit, std::string& why) {
  std::uint64_t steps = match_steps_max;
  return make_value(spec, metric, scalar, out, unit, why, steps);
}

// What stands where a number or a time is wanted and there is none: nothing, "N/A", "null", dashes
// ("--.-"); of displays, of tables, of home automation. In any case, without blanks around it.
bool stands_for_nothing(std::string_view word);
// true/false, on/off, yes/no, in any case.
std::optional<bool> truth_in_words(std::string_view word);
// What a text of the shape [NAME = or :] NUMBER [UNIT] holds: "21.5", "21.5 °C", "T=21.5", "0x1F", and
// "16#1F" of PLCs. `decimal` is its decimal point.
struct NumberInText {
  std::string number;  // as JSON spells it
  std::string_view unit;
};
std::optional<NumberInText> number_in_text(std::string_view text, char decimal);

}  // namespace millrace
