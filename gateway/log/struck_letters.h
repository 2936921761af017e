// Dead letters that were dealt with, by their numbers: they are not kept any longer. Bounded: beyond that the
// oldest are forgotten, and those letters are there again. Pure.
#pragma once

#include <vector>

#include "log/log.h"

namespace millrace {

class StruckLetters {
 public:
  static constexpr std::size_t ranges_max = 4096;

  bool has(Sequence number) const;
  bool has_all(Range range) const;
  // `oldest`: of any dead letter there is; what lies before it need not be remembered.
  void strike(const std::vector<Range>& struck, Sequence oldest);

  // As it lies in the head's state table: first and last of each range, varints.
  Bytes encode() const;
  void restore(const Bytes& bytes);

 private:
  std::vector<Range> ranges_;  // ascending, disjoint
};

}  // namespace millrace
