// The reading with the latest time, whenever it came; of equal times the one that came last: a counter as it
// stood.
#include <limits>

#include "windows/aggregate.h"

namespace millrace {
namespace {

struct Last {
  double value = 0;
  std::int64_t time_us = std::numeric_limits<std::int64_t>::min();

  void add(const WindowReading& reading) {
    if (reading.time_us < time_us) return;
    value = reading.value;
    time_us = reading.time_us;
  }
  void result(WindowDetail& out) const { out.give("last", value); }
  template <typename See>
  void each(See see) {
    see(value), see(time_us);
  }
};

}  // namespace

extern const AggregateKind last_aggregate_kind;
const AggregateKind last_aggregate_kind = aggregate_kind<Last>("last", "the latest reading, by its time");

}  // namespace millrace
