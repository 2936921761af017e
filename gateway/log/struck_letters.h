// Dead letters that were dealt with, by their numbers: they are not kept any longer. Bounded, by whoever
// strikes: he asks has_room_for() first. None is ever forgotten: it would be there again, and be sent twice.
// Pure.
#pragma once

#include <vector>

#include "log/log.h"

namespace millrace {

class StruckLetters {
 public:
  static constexpr std::size_t ranges_max = 4096;
  static constexpr const char* full_words =
      "as many letters as the log can remember were taken out from among others; `millrace dlq drop --all` "
      "gives up those that are left";

  bool has(Sequence number) const;
  bool has_all(Range range) const;
  std::uint64_t count_in(Range range) const;
  const std::vector<Range>& ranges() const { return ranges_; }
  // Whether it joins another range, or there may be one more.
  bool has_room_for(Range range) const;
  // `oldest`: of any dead letter there is; what lies before it need not be remembered.
  void strike(const std::vector<Range>& struck, Sequence oldest);

  // As it lies in the head's state table: first and last of each range, varints.
  Bytes encode() const;
  void restore(const Bytes& bytes);

 private:
  std::vector<Range> ranges_;  // ascending, disjoint
};

}  // namespace millrace
