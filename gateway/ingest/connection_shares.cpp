#include "ingest/connection_shares.h"

#include <numeric>

namespace millrace {

std::uint64_t ConnectionShares::all_wanted() const {
  return std::accumulate(wanted_.begin(), wanted_.end(), std::uint64_t{0});
}

std::size_t ConnectionShares::Share::allowed() const {
  const std::uint64_t all = shares_.all_wanted();
  if (all <= shares_.total_) return *wanted_;
  return static_cast<std::size_t>(std::uint64_t{*wanted_} * shares_.total_ / all);
}

std::size_t ConnectionShares::Share::lacking() const {
  const std::uint64_t all = shares_.all_wanted();
  return all > shares_.total_ ? static_cast<std::size_t>(all - shares_.total_) : 0;
}

}  // namespace millrace
