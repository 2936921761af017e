// Of suggest.cpp: names and values in pairs, and what stands between them. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "decode/suggest_tree.h"

namespace millrace::suggested {

// The keys of the format, and the members of all payloads as one object in `tree`; empty: `value` is no
// pairs. There are to be several names, in it or in all of them; `alone`: a single one will do.
std::string keys_of_pairs(std::string_view value, const std::vector<std::string_view>& payloads,
                          bool needs_device, bool alone, TreeBuilder& tree);

}  // namespace millrace::suggested
