// What is said of connections that never became a device's: one line for each source and reason in a while,
// and how many more there were. A host that tries a thousand times a second fills neither the journal nor the
// other hosts' place in it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/time.h"

namespace millrace {

class Complaints {
 public:
  static constexpr Duration every = std::chrono::seconds(10);
  static constexpr std::size_t kinds_max = 64;  // of source and reason, in that time
  static constexpr std::size_t kinds_of_source_max = 8;

  // Whether to write this one; otherwise it is counted.
  bool heard(const std::string& source, const std::string& why, Instant now);
  // Once in `every`, from the first one heard on: what to say of those that were counted; empty: nothing.
  // Then everything may be said anew.
  std::string rest(Instant now);
  bool pending() const { return !sources_.empty(); }

 private:
  struct Source {
    std::map<std::string, std::uint64_t> unsaid;  // by reason
    std::uint64_t more = 0;
  };
  std::map<std::string, Source> sources_;
  std::size_t kinds_ = 0;
  std::uint64_t of_others_ = 0;  // of sources beyond the bound
  Instant since_{};              // the first of these
};

}  // namespace millrace
