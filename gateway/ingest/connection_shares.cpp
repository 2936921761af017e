#include "ingest/connection_shares.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace millrace {

std::size_t ConnectionShares::Share::allowed() const {
  const std::uint64_t all = std::accumulate(shares_.wanted_.begin(), shares_.wanted_.end(), std::uint64_t{0});
  if (all <= shares_.total_) return *wanted_;
  return static_cast<std::size_t>(std::uint64_t{*wanted_} * shares_.total_ / all);
}

}  // namespace millrace
