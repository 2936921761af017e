// The newest rows of the log, kept in memory for the shippers: so that who keeps up reads no file. Pure.
#pragma once

#include <deque>
#include <vector>

#include "log/log.h"

namespace millrace {

class RowCache {
 public:
  explicit RowCache(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // Rows come in the order of their numbers; one that is there already, or lies before the cache, is left
  // out.
  void add(const Row& row);
  // Forgets them; what is added from here on ends after `committed`.
  void begin_after(Sequence committed);
  // Whether every committed row that ends at or after this number is here.
  bool reaches(Sequence number) const { return number >= from_; }
  // Rows of `lane` that touch `range`, ascending; about `bytes_max` of them, and at least one if there is
  // one.
  std::vector<Row> read(Lane lane, Range range, std::size_t bytes_max) const;

 private:
  const std::size_t bytes_max_;
  std::deque<Row> rows_;
  std::size_t bytes_ = 0;
  Sequence from_ = 0;
};

}  // namespace millrace
