// The standard deviation of a sample (n - 1), as SQL's STDDEV_SAMP and InfluxDB's STDDEV; none of a single
// reading. By Welford's way, which loses nothing where readings are large and close together.
#include <cmath>

#include "windows/aggregate.h"

namespace millrace {
namespace {

struct Stddev {
  std::uint64_t count = 0;
  double mean = 0, squares = 0;  // of the distances to the mean

  void add(const WindowReading& reading) {
    const double before = reading.value - mean;
    mean += before / static_cast<double>(++count);
    squares += before * (reading.value - mean);
  }
  void result(WindowDetail& out) const {
    if (count > 1) out.give("stddev", std::sqrt(squares / static_cast<double>(count - 1)));
  }
  template <typename See>
  void each(See see) {
    see(count), see(mean), see(squares);
  }
};

}  // namespace

extern const AggregateKind stddev_aggregate_kind;
const AggregateKind stddev_aggregate_kind =
    aggregate_kind<Stddev>("stddev", "the standard deviation of a sample (n - 1), of two readings and more");

}  // namespace millrace
