// Patterns of names as shells have them: * any number of characters, ? one. No classes, no escapes. Pure.
#pragma once

#include <string_view>

namespace millrace {

bool glob_matches(std::string_view pattern, std::string_view text);

}  // namespace millrace
