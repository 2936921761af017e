// The sum of a window's readings, as they came: of what counts in portions (pulses, litres).
#include "windows/aggregate.h"

namespace millrace {
namespace {

struct Sum {
  double sum = 0;

  void add(const WindowReading& reading) { sum += reading.value; }
  void result(WindowDetail& out) const { out.give("sum", sum); }
  template <typename See>
  void each(See see) {
    see(sum);
  }
};

}  // namespace

extern const AggregateKind sum_aggregate_kind;
const AggregateKind sum_aggregate_kind = aggregate_kind<Sum>("sum", "the sum of the readings");

}  // namespace millrace
