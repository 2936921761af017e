// What a session at the broker is subscribed to, as far as we ever asked for it. A session outlives us, and
// so must this: a filter that leaves the configuration is unsubscribed from by name, and only we know the
// name. Kept in the log's state, by the names of input and server. On the loop.
#pragma once

#include <string>
#include <vector>

#include "ingest/intake.h"

namespace millrace {

class SubscriptionMemory {
 public:
  // Of another client id nothing is remembered.
  SubscriptionMemory(Intake& intake, std::string_view input, std::string_view server, std::string client_id);

  // What the session may still be subscribed to beside `wanted`.
  std::vector<std::string> left_over(const std::vector<std::string>& wanted) const;
  // Before `wanted` is asked for: it is remembered beside what was.
  void add(const std::vector<std::string>& wanted);
  // The session has these and no others.
  void settle(std::vector<std::string> filters);

 private:
  void save(std::vector<std::string> filters);

  Intake& intake_;
  std::string name_, client_id_;
  std::vector<std::string> filters_;  // sorted
};

}  // namespace millrace
