// What a kind of input keeps in the log for a place (an address that devices connect to) longer than somebody
// of its kind is there: it grows old, is shown, and goes. On the loop.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "base/time.h"

namespace millrace {

class Keeper {
 public:
  // Who is in the configuration, or still stopping.
  struct Present {
    std::set<std::string> names, claims;
  };
  struct Kept {
    std::uint64_t values = 0;
    Duration longest{0};  // until the last of them goes, if nobody comes
  };
  virtual ~Keeper() = default;
  // Now and then, and after a change.
  virtual void look(const Present& present) = 0;
  // As of the last look, by place.
  virtual const std::map<std::string, Kept>& kept() const = 0;
};

}  // namespace millrace
