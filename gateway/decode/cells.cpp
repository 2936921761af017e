#include "decode/cells.h"

#include "base/ascii.h"
#include "base/lenient_json.h"

namespace millrace {

void tell_cell(JsonWalk& walk, std::string& text, char decimal) {
  if (text.empty() || says_no_value(text)) return void(walk.null());
  if (text == "true" || text == "false") return void(walk.boolean(text == "true"));
  // "Hall 7, 2" is no number with a name before it: a name of its own has the column.
  const auto number = is_letter(text.front()) ? std::nullopt : number_in_text(text, decimal);
  if (!number || !number->unit.empty() || text.find_first_of("=:x") != std::string::npos)
    return void(walk.string(text));
  text = number->number;
  (void)walk.number(text);
}

}  // namespace millrace
