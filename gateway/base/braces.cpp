#include "base/braces.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {

Status walk_braces(std::string_view source, const std::function<void(std::string_view)>& literal,
                   const std::function<Status(std::string_view)>& name) {
  while (!source.empty()) {
    const std::size_t open = std::min(source.find('{'), source.size());
    if (open > 0) {
      literal(source.substr(0, open));
      source.remove_prefix(open);
      continue;
    }
    const std::size_t close = source.find('}');
    if (close == std::string_view::npos) return {Code::invalid, text("\"", source, "\": the { has no }")};
    if (Status status = name(source.substr(1, close - 1)); !status.ok()) return status;
    source.remove_prefix(close + 1);
  }
  return {};
}

}  // namespace millrace
