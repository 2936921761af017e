#include "cli/capacity.h"

#include <algorithm>
#include <cmath>

#include "base/time.h"

namespace millrace {
namespace {

constexpr double page = 4096 + 24;            // a page in the WAL
constexpr double row_overhead = 24;           // of a row in its page
constexpr double segment_reserve = 3.0 / 16;  // kept free for roll-over (gateway/log)

}  // namespace

Capacity capacity_of(const Config& config, const CapacityInput& input) {
  Capacity out;
  const double rate = std::max(input.readings_per_second, 1e-6);
  const double commits = std::min(rate, 1.0 / to_seconds(config.log.commit_interval));
  const double row_bytes = rate / commits * input.bytes_per_reading + row_overhead;
  // What stays in the log: rows in pages. What is written: in the WAL the pages a commit touches (its rows,
  // the table's branch, the state), then each page once more at the checkpoint.
  const double kept_per_second = commits * row_bytes * 1.1;
  out.hours_held = static_cast<double>(config.log.max_size) * (1 - segment_reserve) / kept_per_second / 3600;
  const double written_per_second = commits * (std::ceil(row_bytes / 4096) + 2) * page + kept_per_second;
  out.flash_bytes_per_year =
      (input.flash_per_reading > 0 ? input.flash_per_reading * rate : written_per_second) * 365.25 * 86400;
  const LinkLoad load{commits, row_bytes, rate, input.bytes_per_reading};
  for (const PartConfig& uplink : config.uplinks) {
    if (uplink.kind->link_bytes)
      out.link_bytes_per_day += uplink.kind->link_bytes(uplink.values.get(), load) * 86400;
  }
  return out;
}

}  // namespace millrace
