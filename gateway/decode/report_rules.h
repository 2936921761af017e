// What a route, or a driver with a decoder of its own, wants done with its readings beyond decoding: said in
// Unread beside them (unread.h), and done by who asked (pipeline/report_filter.h, gateway/liveness.h). A
// value that does not change.
#pragma once

#include <memory>

#include "config/report.h"

namespace millrace {

struct ReportRules {
  ReportConfig report;
  Duration expected_interval{0};  // of messages of a device; 0: it is learned

  // Null: nothing.
  static std::shared_ptr<const ReportRules> make(const ReportConfig& report, Duration expected_interval) {
    if (!report.any() && expected_interval == Duration{0}) return nullptr;
    return std::make_shared<const ReportRules>(ReportRules{report, expected_interval});
  }
};

// Readings that were appended by somebody with rules: [from, to) of the payload's.
struct RuledReadings {
  const ReportRules* rules = nullptr;
  std::size_t from = 0, to = 0;
};

}  // namespace millrace
