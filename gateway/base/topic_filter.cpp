#include "base/topic_filter.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {
namespace {

constexpr std::string_view shared = "$share/";
constexpr std::size_t bytes_max = 65535;  // section 1.5.4

}  // namespace

Status check_topic_filter(std::string_view filter) {
  if (filter.empty()) return {Code::invalid, "a topic filter has at least one character"};
  if (filter.size() > bytes_max) return {Code::invalid, "a topic filter has at most 65535 bytes"};
  if (!good_utf8(filter)) return {Code::invalid, "a topic filter is UTF-8 without U+0000"};
  if (filter.starts_with(shared) || filter == "$share") {
    return {
        Code::invalid,
        text("\"", filter, "\" is a subscription that is shared: give the filter behind the share's name")};
  }
  const auto levels = split(filter, '/');
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i].find_first_of("+#") == std::string_view::npos) continue;
    if (levels[i].size() > 1)
      return {Code::invalid,
              text("\"", filter, "\": a wildcard takes a whole level, and \"", levels[i], "\" is more")};
    if (levels[i] == "#" && i + 1 != levels.size())
      return {Code::invalid, text("\"", filter, "\": # must be the last level")};
  }
  return {};
}

Status check_subscription(std::string_view filter) {
  if (!filter.starts_with(shared)) return check_topic_filter(filter);
  const std::string_view name = filter.substr(shared.size(), filter.find('/', shared.size()) - shared.size());
  const std::string_view topics = topics_of_subscription(filter);
  if (name.empty() || name.find_first_of("+#") != std::string_view::npos || topics.empty()) {
    return {Code::invalid, text("\"", filter, "\": a shared subscription is $share/NAME/FILTER")};
  }
  return check_topic_filter(topics);
}

std::string_view topics_of_subscription(std::string_view filter) {
  if (!filter.starts_with(shared)) return filter;
  const std::size_t slash = filter.find('/', shared.size());
  return slash == std::string_view::npos ? std::string_view{} : filter.substr(slash + 1);
}

bool filter_matches(std::string_view filter, std::string_view topic) {
  if (filter.empty() || (topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'))))
    return false;
  for (;;) {
    const std::size_t wanted_end = std::min(filter.find('/'), filter.size()),
                      end = std::min(topic.find('/'), topic.size());
    const std::string_view wanted = filter.substr(0, wanted_end);
    const bool more_wanted = wanted_end < filter.size(), more = end < topic.size();
    if (wanted == "#") return !more_wanted;
    if (wanted != "+" &&
        (wanted != topic.substr(0, end) || wanted.find_first_of("+#") != std::string_view::npos))
      return false;
    if (!more) return !more_wanted || filter.substr(wanted_end) == "/#";  // "a/#" matches "a" too
    if (!more_wanted) return false;
    filter.remove_prefix(wanted_end + 1);
    topic.remove_prefix(end + 1);
  }
}

}  // namespace millrace
