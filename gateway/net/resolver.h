// Looks a host's addresses up: on the loop, or for a foreign thread that must wait for them. Each lookup
// stands alone, with its own deadline: what one peer's name servers do is nobody else's business. What it
// asks and answers: name_query.h.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "loop/loop.h"
#include "net/name_query.h"

namespace millrace {

class Lookup {  // destroying it gives up: `done` does not run afterwards
 public:
  using Done = std::function<void(Result<std::vector<std::string>>)>;

  // `done` runs once, later, on the loop; it may destroy the Lookup. A number or a name of /etc/hosts asks
  // nobody.
  Lookup(Loop& loop, const std::string& host, Duration timeout, Done done);

 private:
  void proceed();

  Loop& loop_;
  Done done_;
  NameQuery query_;
  std::unique_ptr<Watch> watch_;  // dies before what it watches
  std::unique_ptr<Timer> timer_;
};

// Blocks the calling thread until there is an answer, the time is over, or `wanted` says no more (looked at
// several times a second).
Result<std::vector<std::string>> look_up_waiting(const Clock& clock, const std::string& host,
                                                 Duration timeout, const std::function<bool()>& wanted);

}  // namespace millrace
