#include "decode/suggest_times.h"

#include <optional>

#include "base/ascii.h"

namespace millrace::suggested {
namespace {

// Java and C print the first two, HTTP the third.
constexpr std::string_view odd_formats[] = {"%a %b %d %H:%M:%S %Z %Y",
                                            "%a %b %d %H:%M:%S %Y",
                                            "%a, %d %b %Y %H:%M:%S %Z",
                                            "%d.%m.%Y %H:%M:%S",
                                            "%d.%m.%Y %H:%M",
                                            "%d-%m-%Y %H:%M:%S",
                                            "%d-%b-%Y %H:%M:%S",
                                            "%d %b %Y %H:%M:%S",
                                            "%b %d %Y %H:%M:%S",
                                            "%Y-%m-%d %H:%M:%S",
                                            "%Y-%m-%d %I:%M:%S %p",
                                            "%m/%d/%Y %I:%M:%S %p",
                                            "%d/%m/%Y %H:%M:%S",
                                            "%m/%d/%Y %H:%M:%S",
                                            "%Y%m%d%H%M%S",
                                            "%Y%m%d %H%M%S"};

// Not those that say when something else was, or will be, or how long it took.
bool sounds_like_time(std::string_view name) {
  const std::string small = lower(name);
  for (const std::string_view other : {"start", "boot", "install", "expir", "next", "build", "runtime",
                                       "uptime", "airtime", "downtime", "sun", "remaining"}) {
    if (small.find(other) != std::string::npos) return false;
  }
  return small.ends_with("time") || small.ends_with("date") || small.ends_with("epoch") ||
         small.find("timestamp") != std::string::npos;
}

std::optional<WallTime> time_by(const Tree& value, std::string_view format) {
  if (value.kind != Tree::number && value.kind != Tree::string) return std::nullopt;
  RouteConfig route;
  route.time_format = format;
  const auto rule = time_rule_of(route);
  if (!rule.ok()) return std::nullopt;
  const TimeFound found = read_time(value.text, value.kind == Tree::number, rule.value(), std::nullopt);
  return found.kind == TimeFound::time ? std::optional(found.at) : std::nullopt;
}

}  // namespace

OddTime odd_time_of(const Tree& message) {
  OddTime found;
  if (message.kind != Tree::object) return found;
  std::optional<WallTime> earliest;
  for (const auto& [name, value] : message.parts) {
    const auto at = sounds_like_time(name) ? time_by(*value, "auto") : std::nullopt;
    if (!at || (earliest && earliest->us <= at->us)) continue;
    earliest = at;
    found.member = &name;
  }
  if (found.member) return found;
  for (const auto& [name, value] : message.parts) {
    if (rank_in(time_names, name) == std::size(time_names) && !sounds_like_time(name)) continue;
    for (const std::string_view format : odd_formats) {
      if (!time_by(*value, format)) continue;
      const bool both = format.starts_with("%d/%m") && time_by(*value, "%m/%d/%Y %H:%M:%S");
      return {&name, format, both ? " # or %m/%d/%Y: the sample is both" : ""};
    }
  }
  return found;
}

}  // namespace millrace::suggested
