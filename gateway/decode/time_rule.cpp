#include "decode/time_rule.h"

#include "base/text.h"

namespace millrace {

Result<TimeRule> time_rule_of(const RouteConfig& route) {
  TimeRule rule;
  if (route.time_format.find('%') != std::string::npos) {
    if (Status status = check_time_pattern(route.time_format); !status.ok()) return status;
    rule.format = TimeFormat::pattern;
    rule.pattern = route.time_format;
  } else if (const auto format = time_format_of(route.time_format)) {
    rule.format = *format;
  } else {
    return Status{
        Code::invalid,
        text(
            "time_format = \"", route.time_format,
            "\": there are auto, iso8601, s, s+ns, ms, us, ns, s2000, filetime, ticks, excel, uptime and patterns like \"%d.%m.%Y %H:%M:%S\"")};
  }
  if (!route.time_zone.empty()) {
    auto zone = TimeZone::find(route.time_zone);
    if (!zone.ok()) return zone.status();
    rule.zone = std::move(zone).value();
  }
  if (!route.past_limit.empty()) {
    const auto limit = parse_time_text(route.past_limit);
    if (!limit || !is_within_bounds(*limit))
      return Status{Code::invalid,
                    text("past_limit = \"", route.past_limit, "\" is no day like \"2010-01-01\"")};
    rule.past_limit_us = limit->us;
  }
  rule.future_limit_us = route.future_limit.count() / 1000;
  return rule;
}

}  // namespace millrace
