// A payload that is one value and nothing else: "21.5", "-3", "true". Blanks around it are ignored.
#pragma once

#include <memory>

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_plain_format(const RouteConfig& route);

}  // namespace millrace
