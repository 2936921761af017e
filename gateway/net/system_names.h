// A name that only the system can look up: ".local" by multicast DNS (RFC 6762), through whatever
// /etc/nsswitch.conf names. getaddrinfo() can neither be bounded nor called off, so each question has a
// thread to itself that nobody waits for: who gives up leaves it behind, and it ends by itself. There are at
// most `threads_max` of them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace millrace {

class SystemNames {  // destroying it gives up
 public:
  static constexpr int threads_max = 16;

  // Whether `host` ends in ".local" and the "hosts:" line of nsswitch.conf names mdns.
  static bool wanted_for(const std::string& host);
  // `unavailable` when too many questions have no answer yet.
  static Result<std::unique_ptr<SystemNames>> ask(const std::string& host);

  int fd() const;  // readable once there is an answer
  std::optional<Result<std::vector<std::string>>> answer() const;

 private:
  struct Shared;
  explicit SystemNames(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  std::shared_ptr<Shared> shared_;
};

// The line of an nsswitch.conf(5) that decides; for wanted_for() and its test.
bool names_mdns(std::string_view nsswitch_conf);

}  // namespace millrace
