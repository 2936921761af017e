// What every window has: mean, min and max; its count the engine keeps for all. In the record these are
// fields of their own.
#include <algorithm>
#include <limits>

#include "windows/aggregate.h"

namespace millrace {
namespace {

struct Summary {
  double sum = 0;
  double min = std::numeric_limits<double>::infinity(), max = -std::numeric_limits<double>::infinity();

  void add(const WindowReading& reading) {
    sum += reading.value;
    min = std::min(min, reading.value);
    max = std::max(max, reading.value);
  }
  void result(WindowDetail& out) const {
    out.mean = sum / static_cast<double>(out.count);
    out.min = min;
    out.max = max;
  }
  template <typename See>
  void each(See see) {
    see(sum), see(min), see(max);
  }
};

constexpr AggregateKind kind() {
  AggregateKind kind =
      aggregate_kind<Summary>(summary_name, "count, mean, min and max: every window has them");
  kind.always = true;
  return kind;
}

}  // namespace

extern const AggregateKind summary_aggregate_kind;
const AggregateKind summary_aggregate_kind = kind();

}  // namespace millrace
