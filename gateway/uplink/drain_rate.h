// How fast a shipper's backlog may go, and how long it will take: what counts as backlog (committed longer
// ago than `replay_after`, or before this process), the rates of the drain block, and the time until it is
// gone. Pure, time is an argument.
#pragma once

#include <deque>
#include <utility>

#include "log/log.h"
#include "uplink/drain.h"
#include "uplink/shipping.h"

namespace millrace {

class DrainRate {
 public:
  // `committed`: what is committed so far is backlog.
  DrainRate(const DrainConfig& drain, Sequence committed) : drain_(drain), old_through_(committed) {}

  // At each commit: the last number of it, the records that the shipper's lanes had in all, and the bytes of
  // all rows, which only matter where by_bytes().
  void on_committed(Sequence last, double admitted, double row_bytes, Instant now);
  // Records that were acknowledged in all.
  void on_sent(double records, Instant now) { leaving_.observe(records, now); }
  bool is_replay(const Row& row, Instant now);

  bool by_bytes() const { return drain_.rate_bytes > 0; }
  bool limited() const { return drain_.rate_bytes > 0 || drain_.rate_records > 0; }
  // How long a backlog that is held back by its rate has to wait.
  Duration held_back(Instant now);
  // Whether a batch of so much is more than what may go now.
  bool over(std::size_t bytes, double records) const;
  void take(std::size_t bytes, double records);
  // Seconds until `records` are gone at the present rates; infinite when they grow.
  double eta_seconds(double records) const;

 private:
  void age(Instant now);

  const DrainConfig& drain_;
  TokenBucket bytes_allowed_, records_allowed_;
  RateMeter bytes_arriving_, records_arriving_, leaving_;
  // When which number was committed, as far back as `replay_after`; what is older is backlog.
  std::deque<std::pair<Sequence, Instant>> commits_;
  Sequence old_through_;
};

}  // namespace millrace
