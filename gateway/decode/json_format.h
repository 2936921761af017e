// JSON payloads by path. A path is names joined by dots, with [n] for the n-th and [] for each element of an array:
// "value", "data.temp", "samples[0].v". With `each`, every element of that array (of the whole payload: "[]") is a message
// of its own; paths are then relative to the element, or to the root when they begin with "$.".
//
// Without [metrics] every scalar member of the message becomes a metric, named by its path, but time and quality.
// Numbers become doubles (devices write 21 and 21.5 alike) unless type = "integer", or unless a double could not hold them.
#pragma once

#include <memory>

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_json_format(const RouteConfig& route);

}  // namespace millrace
