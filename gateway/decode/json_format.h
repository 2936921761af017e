// JSON payloads by path, and CBOR (RFC 8949) by the same (json_path.h). With `each`, every element of a list
// ("r[]", of the whole payload "[]") or member of a map ("sensors.*") is a message of its own; so is every
// document, where there are several in a payload.
//
// Without [metrics] every value of the message becomes a metric, named by its path, but what is time, quality
// or a name. Numbers become doubles (devices write 21 and 21.5 alike) unless the metric has a type, or unless
// a double could not hold them.
#pragma once

#include <memory>

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_json_format(const RouteConfig& route,
    const TopicPattern& pattern);

}  // namespace millrace
