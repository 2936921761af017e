// aggregates = ["sample"]: all of a kind of aggregate in one file: here how far the readings of a window
// reach, from the least to the most, and how often they turned.
#include <algorithm>
#include <limits>

#include "windows/aggregate.h"

namespace millrace {
namespace {

struct Reach {
  double least = std::numeric_limits<double>::infinity(), most = -std::numeric_limits<double>::infinity();
  double before = 0;
  std::int64_t way = 0, turns = 0;  // way: -1 falling, 1 rising

  void add(const WindowReading& reading) {
    const bool first = least > most;
    least = std::min(least, reading.value);
    most = std::max(most, reading.value);
    const std::int64_t now = first || reading.value == before ? way : reading.value > before ? 1 : -1;
    turns += way != 0 && now != way ? 1 : 0;
    way = now;
    before = reading.value;
  }
  void result(WindowDetail& out) const {
    out.give("reach", most - least);
    out.give("turns", static_cast<double>(turns));
  }
  template <typename See>
  void each(See see) {
    see(least), see(most), see(before), see(way), see(turns);
  }
};

}  // namespace

extern const AggregateKind sample_aggregate_kind;
const AggregateKind sample_aggregate_kind =
    aggregate_kind<Reach>("sample", "how far readings reach, and how often they turned");

}  // namespace millrace
