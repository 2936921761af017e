// What a connection is counted under: a host has one IPv4 address, and of an IPv6 /64 as many as it likes
// (RFC 8981).
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// "192.0.2.7" of "192.0.2.7:40112", "2001:db8:0:1::/64" of "[2001:db8:0:1::7]:40112"; empty of a unix socket.
std::string source_of(std::string_view peer_address);

}  // namespace millrace
