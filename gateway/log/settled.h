// Which numbers of a lane a consumer has settled: everything up to `low`, and at most eight ranges above it.
#pragma once

#include <vector>

#include "record/record.h"

namespace millrace {

struct Range {  // both included; empty when first > last
  Sequence first = 1, last = 0;
  bool empty() const { return first > last; }
  bool operator==(const Range&) const = default;
};

class SettledSet {
 public:
  static constexpr std::size_t ranges_max = 8;

  explicit SettledSet(Sequence low = 0) : low_(low) {}
  static SettledSet restore(Sequence low, std::vector<Range> ranges);

  Sequence low() const { return low_; }
  const std::vector<Range>& ranges() const { return ranges_; }  // ascending, disjoint, not touching

  // Whether settle(range) keeps to eight ranges.
  bool can_settle(Range range) const;
  // Settling a number twice is a bug of ours and checked.
  void settle(Range range);
  // Numbers in [low + 1, end] that are not settled; at most nine ranges.
  std::vector<Range> unsettled(Sequence end) const;
  // The unsettled parts of `range`.
  std::vector<Range> unsettled_in(Range range) const;

 private:
  void place(std::vector<Range>& ranges, Range range) const;

  Sequence low_;
  std::vector<Range> ranges_;
};

}  // namespace millrace
