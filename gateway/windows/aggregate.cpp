#include "windows/aggregate.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

WindowAggregates::WindowAggregates(const WindowConfig& window, const ChoiceKinds& built) {
  for (const ChoiceKind* choice : built) {
    const auto& kind = *static_cast<const AggregateKind*>(choice);
    const bool wanted =
        std::find(window.aggregates.begin(), window.aggregates.end(), kind.name) != window.aggregates.end();
    if (!kind.always && !wanted) continue;
    items_.push_back({&kind, bytes_});
    bytes_ += kind.bytes;
    saved_bytes_ += kind.saved_bytes;
  }
  // check says so of a file: a pane has a bit for each
  MILLRACE_CHECK(items_.size() <= window_aggregates_max);
}

bool WindowAggregates::only_summary() const {
  return items_.size() == 1 && items_[0].kind->name == summary_name &&
         items_[0].kind->saved_bytes == summary_saved_bytes;
}

}  // namespace millrace
