// InfluxDB's line protocol: one record as a line. What the protocol cannot say is written as what comes next
// to it, or the record has no form and is refused. A field has one type for ever: `value` is a float,
// whatever the number looks like; what a float cannot hold exactly stands beside it as `integer`. Times are
// in microseconds. Pure.
#pragma once

#include <string>

#include "base/status.h"
#include "record/record.h"
#include "uplink/name_template.h"

namespace millrace {

struct LineOptions {
  NameTemplate measurement;
  std::string gateway;
  std::uint64_t epoch = 0;
  bool identity = false;  // the field `sequence` and the tag `epoch`
};

// Appends the line with its end; on an error `out` is as it was.
Status append_line(const LineOptions& options, Sequence sequence, Lane lane, const Record& record,
                   std::string& out);

}  // namespace millrace
