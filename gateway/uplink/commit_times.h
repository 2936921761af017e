// When which numbers were received and committed, and in which lanes they found the way north free: what a
// latency is measured by once they are acknowledged. Kept by commit, never by reading; of an outage that
// lasts the older ones are thinned, so that it costs the same few kilobytes however long it is; what waited
// long looks older by half at most. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "log/log.h"

namespace millrace {

class CommitTimes {
 public:
  static constexpr std::size_t groups_max = 256;

  struct Group {
    Sequence through = 0;
    Instant received, committed;  // of its oldest
    std::uint8_t live = 0;        // a bit a lane: nothing was in the way when it was committed
    bool is_live(Lane lane) const { return (live >> static_cast<unsigned>(lane) & 1) != 0; }
  };

  // What is committed up to here is of another life: nothing is known of it.
  explicit CommitTimes(Sequence committed) : known_after_(committed) { groups_.reserve(groups_max); }

  void add(const Group& group);
  // What was not acknowledged yet was in an outage.
  void spoil() {
    for (Group& group : groups_) group.live = 0;
  }
  // The group of that number; null: it is not known.
  const Group* find(Sequence number) const;

 private:
  void thin();

  Sequence known_after_;
  std::vector<Group> groups_;  // ascending
};

}  // namespace millrace
