// A route for payloads that were seen: which format they are in, what of their topics varies, where time,
// quality and device stand, and which values are readings. A proposal for a person, as TOML with what
// was seen beside it: it loads, and was tried on what it was made of; what it cannot read is said. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace millrace {

struct RouteSample {
  std::string topic;  // empty: a frame of a serial input, whose first one may name the columns of the others
  Bytes payload;
};

struct Suggestion {
  static constexpr std::size_t samples_max = 1000, metrics_max = 60;
  std::string toml;  // the keys of the route; empty: nothing could be made of them
};

// `table`: what stands in front of it, "[[inputs.mqtt.routes]]".
Suggestion suggest_route(const std::vector<RouteSample>& samples, std::string_view table);

}  // namespace millrace
