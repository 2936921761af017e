// Pieces of text that stand where a value stands: cells of CSV, what a pattern took.
#pragma once

#include <string>

#include "decode/json_walk.h"

namespace millrace {

// Tells the walk what `text` is: nothing, true or false, a number, else a text. The walk keeps views into it
// until the message ends, and a number may be spelled anew in it.
void tell_cell(JsonWalk& walk, std::string& text, char decimal);

}  // namespace millrace
