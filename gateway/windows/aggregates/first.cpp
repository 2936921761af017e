// The reading with the earliest time, whenever it came; of equal times the one that came first.
#include <limits>

#include "windows/aggregate.h"

namespace millrace {
namespace {

struct First {
  double value = 0;
  std::int64_t time_us = std::numeric_limits<std::int64_t>::max();

  void add(const WindowReading& reading) {
    if (reading.time_us >= time_us) return;
    value = reading.value;
    time_us = reading.time_us;
  }
  void result(WindowDetail& out) const { out.give("first", value); }
  template <typename See>
  void each(See see) {
    see(value), see(time_us);
  }
};

}  // namespace

extern const AggregateKind first_aggregate_kind;
const AggregateKind first_aggregate_kind =
    aggregate_kind<First>("first", "the earliest reading, by its time");

}  // namespace millrace
