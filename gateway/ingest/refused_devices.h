// Devices that an input turned away or takes nothing of, the last few: who, from where, since when, and what
// is to be done. Whoever invents names takes the places of his own source first. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace millrace {

struct RefusedDevice {
  std::string client, user;  // as far as it said who it is
  std::string from;          // the source it is counted under (an address without its port)
  std::string topic;         // that it may not publish to; empty: it was not let in
  std::string why, next;
  Instant since, last;  // of this reason

  bool let_in() const { return !topic.empty(); }
  bool is(const RefusedDevice& other) const {
    return client == other.client && user == other.user && from == other.from && let_in() == other.let_in();
  }
};

class RefusedDevices {
 public:
  static constexpr std::size_t kept_max = 8, name_max = 64, topic_max = 128, words_max = 300;
  static constexpr Duration kept_for = std::chrono::hours(1);

  // What it says is bounded and without control characters afterwards.
  void note(RefusedDevice one, Instant now);
  // It was let in: what kept it out is over.
  void came_in(std::string_view client);
  // The last first, of the last hour.
  std::vector<RefusedDevice> list(Instant now) const;

 private:
  std::vector<RefusedDevice>::iterator least_wanted(const std::string& from);

  std::vector<RefusedDevice> devices_;
};

}  // namespace millrace
