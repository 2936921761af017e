#include "decode/cells.h"

#include "base/lenient_json.h"

namespace millrace {

void tell_cell(JsonWalk& walk, std::string& text, char decimal) {
  if (text.empty() || says_no_value(text)) return void(walk.null());
  if (text == "true" || text == "false") return void(walk.boolean(text == "true"));
  const auto number = number_in_text(text, decimal);
  if (!number || !number->unit.empty() || text.find_first_of("=:x") != std::string::npos)
    return void(walk.string(text));
  text = number->number;
  (void)walk.number(text);
}

}  // namespace millrace
