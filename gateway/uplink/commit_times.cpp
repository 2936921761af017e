#include "uplink/commit_times.h"

#include <algorithm>

namespace millrace {

void CommitTimes::add(const Group& group) {
  if (groups_.size() == groups_max) thin();
  groups_.push_back(group);
}

// Neighbours become one, with the earlier times, where all of them lie within a third of what is past since:
// nothing looks quicker than it was, and nothing older by more than half.
void CommitTimes::thin() {
  const Instant now = groups_.back().committed;
  std::size_t to = 0;
  for (std::size_t from = 0; from < groups_.size(); ++from, ++to) {
    Group group = groups_[from];
    while (from + 2 < groups_.size() &&
           3 * (groups_[from + 2].committed - group.committed) <= now - group.committed) {
      const Group& later = groups_[++from];
      group.through = later.through;
      group.live = static_cast<std::uint8_t>(group.live & later.live);
    }
    groups_[to] = group;
  }
  groups_.resize(to);
}

const CommitTimes::Group* CommitTimes::find(Sequence number) const {
  if (number <= known_after_) return nullptr;
  const auto found = std::partition_point(groups_.begin(), groups_.end(),
                                          [number](const Group& group) { return group.through < number; });
  return found == groups_.end() ? nullptr : &*found;
}

}  // namespace millrace
