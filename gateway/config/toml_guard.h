// Looks through a TOML file for what toml++ 3.3 does not survive, or tells without a place, before it is
// parsed. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "config/toml.h"

namespace millrace {

// A key's names ("a.b.c" has three), and lists and tables in one another: toml++ follows each of them by a
// call of its own, and ours have six at most.
constexpr int toml_key_parts_max = 16, toml_depth_max = 64;

// A file in UTF-16, bytes outside of texts and comments that are no ASCII, and what is deeper than the bounds
// above; nothing: there is none.
std::optional<ConfigError> fault_before_parsing(std::string_view content);

}  // namespace millrace
