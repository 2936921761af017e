// How many bytes of the log a batch may have, where the far side answers a batch at a time: as many as make
// waiting for its answer cheap. Small at first; doubled after each full one that did not take long. What the
// link carries is the shipper's business (uplink/pace.h). Pure.
#pragma once

#include <algorithm>
#include <cstddef>

namespace millrace {

class BatchGrowth {
 public:
  // `of_rows`: what is sent is rows as they lie in the log. `batch_size`: at most, as it lies there.
  BatchGrowth(bool of_rows, std::size_t batch_size)
      : each_(!of_rows), most_(batch_size * (each_ ? single : 1)) {}

  // Records one by one become several times as large as they lie in the log: fewer of them at once.
  std::size_t bytes() const { return each_ ? std::max<std::size_t>(bytes_ / single, least) : bytes_; }
  bool is_full(std::size_t batch) const { return batch * 2 >= bytes(); }
  void grow() { grow_to(most_); }
  void grow_to(std::size_t most) { bytes_ = std::min(bytes_ * 2, most); }

 private:
  static constexpr std::size_t first = 64 << 10, least = 4096, single = 8;
  bool each_;
  std::size_t most_, bytes_ = first;
};

}  // namespace millrace
