// A route for payloads that were seen: which format they are in, what of their topics varies, where time,
// quality and device stand, and which values are readings. A proposal for a person, as TOML with the reasons
// beside it; it has been tried on the samples, and says how that went. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace millrace {

struct RouteSample {
  std::string topic;  // empty: a frame of a serial input
  Bytes payload;
};

struct Suggestion {
  static constexpr std::size_t samples_max = 1000, metrics_max = 60;
  std::string toml;           // the keys of the route; empty: nothing could be made of them
  std::size_t read = 0;       // samples that became readings wholly
  std::size_t readings = 0;
};

// `table`: what stands in front of it, "[[inputs.mqtt.routes]]".
Suggestion suggest_route(const std::vector<RouteSample>& samples, std::string_view table);

}  // namespace millrace
