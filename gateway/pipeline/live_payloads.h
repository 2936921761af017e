// The payloads of an input as they come, for whoever tries a route on them (`millrace test --live`): the last
// few, kept only while somebody asks. On the loop.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "ingest/arrival.h"
#include "record/record.h"

namespace millrace {

class LivePayloads {
 public:
  // Of one input, and of how many inputs at a time; a larger payload is passed over. So long after it was
  // asked for the last time an input's are kept.
  static constexpr std::size_t kept_max = 256, bytes_max = 256 << 10, inputs_max = 4;
  static constexpr Duration asked_for = std::chrono::seconds(10);

  // Cheap while nobody asks.
  void see(const Arrival& arrival, Instant now) {
    if (!watched_.empty()) keep(arrival, now);
  }

  struct Page {
    // As letters (pipeline/dead_letters.h), each with its number; numbers of an input rise by one.
    std::vector<std::pair<std::uint64_t, Record>> letters;
    std::uint64_t next = 0;  // to ask from the next time
    bool refused = false;    // somebody asks for so many others already
  };
  // What came since `from`; 0: from now on. Numbers that are missing were passed over.
  Page since(const std::string& input, std::uint64_t from, Instant now);

 private:
  struct Watched {
    std::deque<std::pair<std::uint64_t, Record>> kept;
    std::size_t bytes = 0;
    std::uint64_t next = 1;
    Instant asked;
  };
  void keep(const Arrival& arrival, Instant now);

  std::map<std::string, Watched, std::less<>> watched_;
};

}  // namespace millrace
