// Files with the keys of TLS session tickets ("tls-tickets-INPUT" in the state folder) whose input is no
// longer configured, or speaks no TLS any more. They go at once: all they are good for is a quicker handshake
// within a day, and keys should not outlive their use. On the loop.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "ingest/keeper.h"

namespace millrace {

constexpr std::string_view ticket_files = "tls-tickets-";

class LeftTickets {
 public:
  // What an input claims that has such a file.
  static std::string claim(std::string_view input);

  explicit LeftTickets(std::string folder) : folder_(std::move(folder)) {}
  // Reads the folder at the first look, and where somebody came or went.
  void look(const Keeper::Present& present);

 private:
  const std::string folder_;
  bool looked_ = false;
  std::set<std::string> claims_;  // when it looked last
};

}  // namespace millrace
