// SenML packs (RFC 8428) as JSON or CBOR: base fields, times relative to the arrival, numbers, texts,
// booleans, data and sums. The name of a metric is the record's own ("n"); of a record without one the base
// name's. {.bn}, {.n}, {.name} can name the device: the base name without the sign at its end, the record's
// own name, both. A sum is a reading "NAME.sum". Fields that end with _ must be understood: none is, so a
// record that has one is refused.
#pragma once

#include <memory>

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_senml_format(const RouteConfig& route,
    const TopicPattern& pattern);

}  // namespace millrace
