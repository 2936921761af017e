// "a/{name}/b" part by part, for texts of the configuration that stand for names: what a name may be is the
// caller's.
#pragma once

#include <functional>
#include <string_view>

#include "base/status.h"

namespace millrace {

// Calls `literal` and `name` (without its braces) in the order of the source; the first error ends it.
// `invalid` where a { has no }.
Status walk_braces(std::string_view source, const std::function<void(std::string_view)>& literal,
                   const std::function<Status(std::string_view)>& name);

}  // namespace millrace
