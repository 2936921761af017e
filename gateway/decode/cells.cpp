#include "decode/cells.h"

#include "base/ascii.h"
#include "base/lenient_json.h"

namespace millrace {
namespace {

// Digits, with a point between them and a - in front: as nearly all cells are, and as JSON has them. What
// else could be a number is looked at more closely.
bool plain_number(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto digits = [&] {
    const char* const begin = at;
    while (at < end && is_digit(*at)) ++at;
    return at != begin;
  };
  if (*at == '-') ++at;
  return digits() && (at == end || (*at++ == '.' && digits() && at == end));
}

}  // namespace

void tell_cell(JsonWalk& walk, std::string_view text, char decimal, std::string& anew) {
  if (text.empty()) return void(walk.null());
  if (decimal == '.' && plain_number(text)) return void(walk.number(text));
  if (says_no_value(text)) return void(walk.null());
  if (text == "true" || text == "false") return void(walk.boolean(text == "true"));
  // "Hall 7, 2" is no number with a name before it: a name of its own has the column.
  if (is_letter(text.front()) || text.find_first_of("=:x#") != std::string_view::npos)
    return void(walk.string(text));
  const auto number = number_in_text(text, decimal);
  if (!number || !number->unit.empty()) return void(walk.string(text));
  anew = number->number;
  (void)walk.number(anew);
}

}  // namespace millrace
