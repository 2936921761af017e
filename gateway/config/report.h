// Report by exception: which readings of a route leave the gateway, where not all of them shall. Said under a
// route, and for a Modbus bus; what it does stands in pipeline/report_filter.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/keys.h"

namespace millrace {

// Of one metric, instead of the route's.
struct ReportMetric {
  std::string name;
  std::optional<double> deadband, deadband_percent;
};

struct ReportConfig {
  bool on_change = false;       // only what is another value than the last one that was forwarded ...
  double deadband = 0;          // ... by more than this, in the reading's unit
  double deadband_percent = 0;  // ... and by more than this share of that one
  Duration max_silence{0};      // but one so often; 0: however long nothing changes
  Duration min_interval{0};     // and none sooner than this after the last one; 0: any
  bool deduplicate = false;     // what comes again with the time and the value it had is dropped
  std::vector<ReportMetric> metrics;

  bool thins() const { return on_change || min_interval > Duration{0}; }
  bool any() const { return thins() || deduplicate; }
};

extern const Shape report_shape;

}  // namespace millrace
