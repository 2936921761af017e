// Whose denied messages are told in the journal: each client's once in a while, and of so many clients at a
// time. A sensor that says the same every second has one line, and a host that invents clients fills no disk.
// Pure.
#pragma once

#include <map>
#include <string>

#include "base/time.h"

namespace millrace {

class Denials {
 public:
  static constexpr Duration again_after = std::chrono::minutes(10);
  static constexpr std::size_t clients_max = 256;  // in that time; others are counted only

  bool tell(const std::string& client, Instant now) {
    if (const auto known = told_.find(client); known != told_.end()) {
      if (now - known->second < again_after) return false;
      known->second = now;
      return true;
    }
    if (told_.size() >= clients_max)
      std::erase_if(told_, [now](const auto& one) { return now - one.second >= again_after; });
    return told_.size() < clients_max && told_.emplace(client, now).second;
  }

 private:
  std::map<std::string, Instant> told_;
};

}  // namespace millrace
