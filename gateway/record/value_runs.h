// Which values of a payload: runs of their places, counted from 0 in the payload's own order, whatever a
// route wants of them. A dead letter keeps those that did not enter; a later try, also by a route that was
// changed meanwhile, gives these and no others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace millrace {

struct ValueRun {
  std::uint32_t from = 0, to = 0;  // [from, to)
  bool operator==(const ValueRun&) const = default;
};
using ValueRuns = std::vector<ValueRun>;

// In order, without overlap and without empty ones.
inline void tidy_runs(ValueRuns& runs) {
  std::sort(runs.begin(), runs.end(), [](const ValueRun& a, const ValueRun& b) { return a.from < b.from; });
  std::size_t kept = 0;
  for (const ValueRun& run : runs) {
    if (run.from >= run.to) continue;
    if (kept > 0 && run.from <= runs[kept - 1].to) runs[kept - 1].to = std::max(runs[kept - 1].to, run.to);
    else runs[kept++] = run;
  }
  runs.resize(kept);
}

// `runs` must be tidy.
inline bool has_value(std::span<const ValueRun> runs, std::uint32_t place) {
  const auto behind = std::upper_bound(runs.begin(), runs.end(), place,
                                       [](std::uint32_t p, const ValueRun& run) { return p < run.from; });
  return behind != runs.begin() && place < std::prev(behind)->to;
}

// What is in both; both must be tidy.
inline ValueRuns common_runs(std::span<const ValueRun> a, std::span<const ValueRun> b) {
  ValueRuns common;
  for (std::size_t i = 0, k = 0; i < a.size() && k < b.size();) {
    const std::uint32_t from = std::max(a[i].from, b[k].from), to = std::min(a[i].to, b[k].to);
    if (from < to) common.push_back({from, to});
    if (a[i].to < b[k].to) ++i;
    else ++k;
  }
  return common;
}

}  // namespace millrace
