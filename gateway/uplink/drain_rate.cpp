#include "uplink/drain_rate.h"

#include <algorithm>
#include <limits>

namespace millrace {

// In an outage nothing is sent: what is remembered of commits must not grow with it.
void DrainRate::on_committed(Sequence last, double admitted, double row_bytes, Instant now) {
  commits_.emplace_back(last, now);
  age(now);
  records_arriving_.observe(admitted, now);
  if (by_bytes()) bytes_arriving_.observe(row_bytes, now);
}

void DrainRate::age(Instant now) {
  while (!commits_.empty() && now - commits_.front().second > drain_.replay_after) {
    old_through_ = commits_.front().first;
    commits_.pop_front();
  }
}

bool DrainRate::is_replay(const Row& row, Instant now) {
  age(now);
  return row.last() <= old_through_;
}

// In one queue live readings stand behind the backlog: what arrives is let through on top, or it would only
// grow.
Duration DrainRate::held_back(Instant now) {
  const double more_bytes = drain_.newest_first ? 0 : bytes_arriving_.per_second();
  const double more_records = drain_.newest_first ? 0 : records_arriving_.per_second();
  if (drain_.rate_bytes > 0) bytes_allowed_.refill(drain_.rate_bytes + more_bytes, now);
  if (drain_.rate_records > 0) records_allowed_.refill(drain_.rate_records + more_records, now);
  Duration held{0};
  if (drain_.rate_bytes > 0) held = std::max(held, bytes_allowed_.wait());
  if (drain_.rate_records > 0) held = std::max(held, records_allowed_.wait());
  return held;
}

bool DrainRate::over(std::size_t bytes, double records) const {
  return (drain_.rate_bytes > 0 && static_cast<double>(bytes) > bytes_allowed_.tokens()) ||
         (drain_.rate_records > 0 && records > records_allowed_.tokens());
}

void DrainRate::take(std::size_t bytes, double records) {
  bytes_allowed_.take(static_cast<double>(bytes));
  records_allowed_.take(records);
}

double DrainRate::eta_seconds(double records) const {
  if (records == 0) return 0;
  const double net = leaving_.per_second() - records_arriving_.per_second();
  return net > 0 ? records / net : std::numeric_limits<double>::infinity();
}

}  // namespace millrace
