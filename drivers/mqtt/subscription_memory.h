// What a session at the broker is subscribed to, as far as we ever asked for it. A session outlives us, and
// so must this: a filter that leaves the configuration is unsubscribed from by name, and only we know the
// name. Kept in the log's state, by the names of input and server. On the loop.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/intake.h"

namespace millrace {

class SubscriptionMemory {
 public:
  static constexpr std::string_view prefix = "subscriptions/";
  struct Whose {
    std::string input, server, client_id;
  };
  // Of a state whose name begins with `prefix`; nothing: it is none of ours.
  static std::optional<Whose> whose(const Intake& intake, const std::string& state);
  // What an input claims that reads the session of this client at this server.
  static std::string claim(std::string_view server, std::string_view client_id);

  // Of another client id nothing is remembered, and that its session stays behind is told.
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
