// Pieces of text that stand where a value stands: cells of CSV, what a pattern took.
#pragma once

#include <string>
#include <string_view>

#include "decode/json_walk.h"

namespace millrace {

// Tells the walk what `text` is: nothing, true or false, a number, else a text. The walk keeps views into it
// until the message ends, or into `anew`, where a number is spelled that JSON would spell otherwise.
void tell_cell(JsonWalk& walk, std::string_view text, char decimal, std::string& anew);

}  // namespace millrace
