#include "log/settled.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

SettledSet SettledSet::restore(Sequence low, std::vector<Range> ranges) {
  SettledSet set(low);
  set.ranges_ = std::move(ranges);
  return set;
}

void SettledSet::place(std::vector<Range>& ranges, Range range) const {
  auto at = std::lower_bound(ranges.begin(), ranges.end(), range,
                             [](const Range& a, const Range& b) { return a.first < b.first; });
  at = ranges.insert(at, range);
  if (at + 1 != ranges.end() && at->last + 1 == (at + 1)->first) {
    at->last = (at + 1)->last;
    ranges.erase(at + 1);
  }
  if (at != ranges.begin() && (at - 1)->last + 1 == at->first) {
    (at - 1)->last = at->last;
    ranges.erase(at);
  }
}

bool SettledSet::can_settle(Range range) const {
  if (range.first == low_ + 1) return true;
  std::vector<Range> ranges = ranges_;
  place(ranges, range);
  return ranges.size() <= ranges_max;
}

void SettledSet::settle(Range range) {
  MILLRACE_CHECK(!range.empty() && range.first > low_);
  for (const Range& r : ranges_) MILLRACE_CHECK(range.last < r.first || range.first > r.last);
  if (range.first == low_ + 1) {
    low_ = range.last;
    while (!ranges_.empty() && ranges_.front().first == low_ + 1) {
      low_ = ranges_.front().last;
      ranges_.erase(ranges_.begin());
    }
    return;
  }
  place(ranges_, range);
  MILLRACE_CHECK(ranges_.size() <= ranges_max);  // the caller asked can_settle()
}

std::vector<Range> SettledSet::unsettled_in(Range range) const {
  std::vector<Range> out;
  Sequence from = std::max(range.first, low_ + 1);
  for (const Range& r : ranges_) {
    if (r.first > range.last) break;
    if (from < r.first) out.push_back({from, r.first - 1});
    from = std::max(from, r.last + 1);
  }
  if (from <= range.last) out.push_back({from, range.last});
  return out;
}

std::vector<Range> SettledSet::unsettled(Sequence end) const { return unsettled_in({low_ + 1, end}); }

}  // namespace millrace
