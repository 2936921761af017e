#include "uplink/commit_times.h"

#include <algorithm>

namespace millrace {

void CommitTimes::add(const Group& group) {
  if (groups_.size() == groups_max) thin();
  groups_.push_back(group);
}

// Of the older half two become one, with the earlier times: nothing looks quicker than it was.
void CommitTimes::thin() {
  std::size_t to = 0;
  for (std::size_t from = 0; from < groups_max / 2; from += 2, ++to) {
    const Group &earlier = groups_[from], &later = groups_[from + 1];
    groups_[to] = {later.through, earlier.received, earlier.committed,
                   static_cast<std::uint8_t>(earlier.live & later.live)};
  }
  groups_.erase(groups_.begin() + static_cast<std::ptrdiff_t>(to), groups_.begin() + groups_max / 2);
}

const CommitTimes::Group* CommitTimes::find(Sequence number) const {
  if (number <= known_after_) return nullptr;
  const auto found = std::partition_point(groups_.begin(), groups_.end(),
                                          [number](const Group& group) { return group.through < number; });
  return found == groups_.end() ? nullptr : &*found;
}

}  // namespace millrace
