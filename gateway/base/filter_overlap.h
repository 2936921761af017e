// Whether two MQTT topic filters (topic_filter.h) have topics in common.
#pragma once

#include <algorithm>
#include <string_view>

namespace millrace {

// Both are well formed. Topics that begin with $ are not matched by a wildcard at the front (section 4.7.2).
inline bool filters_meet(std::string_view a, std::string_view b) {
  const auto hides = [](std::string_view own, std::string_view other) {
    return own.starts_with('$') && (other.starts_with('+') || other.starts_with('#'));
  };
  if (a.empty() || b.empty() || hides(a, b) || hides(b, a)) return false;
  for (;;) {
    const std::size_t a_end = std::min(a.find('/'), a.size()), b_end = std::min(b.find('/'), b.size());
    const std::string_view a_level = a.substr(0, a_end), b_level = b.substr(0, b_end);
    if (a_level == "#" || b_level == "#") return true;
    if (a_level != "+" && b_level != "+" && a_level != b_level) return false;
    const bool a_more = a_end < a.size(), b_more = b_end < b.size();
    // "a/#" matches "a" too
    if (!a_more || !b_more) return a_more == b_more || a.substr(a_end) == "/#" || b.substr(b_end) == "/#";
    a.remove_prefix(a_end + 1);
    b.remove_prefix(b_end + 1);
  }
}

}  // namespace millrace
