// "host:port" as people write it: "broker.example:1883", "192.0.2.7", "[2001:db8::7]:8883" (RFC 3986,
// section 3.2.2).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;

  // As it is written: an IPv6 address in brackets.
  std::string to_string() const;
};

// `default_port` where none is given; 0: one must be given. `least`: nobody is reached at port 0; who listens
// there has any that is free. `invalid` with words for whoever wrote it.
Result<HostPort> parse_host_port(std::string_view text, std::uint16_t default_port = 0,
                                 std::uint16_t least = 1);

// Whether nobody beyond this machine is meant: "localhost", "::1", 127.0.0.0/8 as four numbers. Without a
// port.
bool is_this_machine(const std::string& host);

}  // namespace millrace
