// A payload format turns payload bytes into records. Pure: no clock, no I/O; equal arrivals give equal results.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/label.h"
#include "base/status.h"
#include "config/routes.h"
#include "ingest/arrival.h"
#include "record/record.h"

namespace millrace {

class PayloadFormat {
 public:
  virtual ~PayloadFormat() = default;
  // Appends the records of `arrival` to `out`, each a copy of `prototype` with metric, value, time and quality filled in.
  // Names and texts pass the door of base/label.h; the prototype's have passed it. On error `out` is as it was: a payload is
  // decoded whole or not at all.
  virtual Status decode(const Arrival& arrival, const Record& prototype, std::vector<Record>& out) const = 0;
};

// Whether a metric of the configuration has a name and a unit that records can have.
inline Status check_names(const MetricConfig& metric) {
  if (Status status = check_label(Label::metric, metric.name); !status.ok()) return status;
  return check_label(Label::unit, metric.unit, metric.name);
}

// The format a route asks for. `invalid` for paths that make no sense.
Result<std::unique_ptr<PayloadFormat>> make_format(const RouteConfig& route);

}  // namespace millrace
