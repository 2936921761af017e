// What a route or a metric wants of a message: comparisons of members, joined by `and`.
//   type == 'temperature' and fport >= 2 and data.state != null
// A path by decode/json_path.h, then == != < <= > >= or ~ (matches the pattern), then a number, 'text' or
// "text", true, false or null (is not there, or has no value). A path alone: it is there and has a value. A
// text from the payload that is a number compares with numbers as one. What cannot be compared is not so,
// whatever the sign; only != is.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/pattern.h"
#include "decode/reading_value.h"

namespace millrace {

struct Comparison {
  enum Sign : std::uint8_t {
    is_there,
    equal,
    not_equal,
    less,
    less_equal,
    more,
    more_equal,
    matches
  } sign = is_there;
  enum Kind : std::uint8_t { nothing, number, text, truth } kind = nothing;
  std::string path, word;  // word: of texts
  double value = 0;
  bool flag = false;
  std::shared_ptr<const Pattern> pattern;  // of matches

  // `steps`: what patterns may still cost of the payload; 0 afterwards: nothing is known of one that matches.
  // A text of more than matched_text_max bytes matches nothing.
  bool holds(const Scalar& scalar, std::uint64_t& steps) const;
};

// `invalid` with the condition and what is wrong in it.
Result<std::vector<Comparison>> parse_condition(std::string_view condition);

}  // namespace millrace
