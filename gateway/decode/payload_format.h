// A payload format turns payload bytes into records. Pure: no clock, no I/O; equal arrivals give equal results.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "config/config.h"
#include "ingest/arrival.h"
#include "record/record.h"

namespace millrace {

class PayloadFormat {
 public:
  virtual ~PayloadFormat() = default;
  // Appends the records of `arrival` to `out`, each a copy of `prototype` with metric, value, time and quality filled in.
  // On error `out` is as it was: a payload is decoded whole or not at all.
  virtual Status decode(const Arrival& arrival, const Record& prototype, std::vector<Record>& out) const = 0;
};

// The format a route asks for. `invalid` for paths that make no sense.
Result<std::unique_ptr<PayloadFormat>> make_format(const RouteConfig& route);

}  // namespace millrace
