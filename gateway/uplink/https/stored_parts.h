// Which records of rows that are still open the far side is known to have: they are not sent again with the
// rest of their row. Lives as long as the process: after a kill they come twice, under their old identity.
// Bounded: what is beyond comes twice. Pure.
#pragma once

#include <cstddef>
#include <map>

#include "log/settled.h"

namespace millrace {

class StoredParts {
 public:
  static constexpr std::size_t ranges_max = 1 << 16;

  void add(Sequence number) {
    auto after = ranges_.upper_bound(number);
    if (after != ranges_.begin() && number <= std::prev(after)->second + 1) {
      auto before = std::prev(after);
      before->second = std::max(before->second, number);
      if (after != ranges_.end() && after->first == before->second + 1) {
        before->second = after->second;
        ranges_.erase(after);
      }
      return;
    }
    if (after != ranges_.end() && after->first == number + 1) {
      const Sequence last = after->second;
      ranges_.erase(after);
      ranges_.emplace(number, last);
    } else if (ranges_.size() < ranges_max) {
      ranges_.emplace(number, number);
    }
  }
  bool contains(Sequence number) const {
    const auto after = ranges_.upper_bound(number);
    return after != ranges_.begin() && number <= std::prev(after)->second;
  }
  // These rows are settled.
  void forget(Range range) {
    auto at = ranges_.lower_bound(range.first);
    if (at != ranges_.begin() && std::prev(at)->second >= range.first) --at;
    while (at != ranges_.end() && at->first <= range.last) {
      const Range held{at->first, at->second};
      at = ranges_.erase(at);
      if (held.first < range.first) ranges_.emplace(held.first, range.first - 1);
      if (held.last > range.last) at = std::next(ranges_.emplace(range.last + 1, held.last).first);
    }
  }
  bool empty() const { return ranges_.empty(); }

 private:
  std::map<Sequence, Sequence> ranges_;  // first to last
};

}  // namespace millrace
