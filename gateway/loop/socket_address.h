// Addresses as people write them, and the sockets they stand for, before libuv has them.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/files.h"
#include "base/status.h"

namespace millrace {

constexpr std::string_view unix_prefix = "unix:";

// "192.0.2.7:1883" or "[2001:db8::7]:1883"; `invalid` for names.
Status parse_address(std::string_view address, sockaddr_storage& out);
// The reverse; empty for unix sockets.
std::string address_text(const sockaddr_storage& address);
// A socket that listens there, or on "unix:/path" with mode 0660; it does not block.
Result<Fd> listening_socket(const std::string& address);
std::uint16_t bound_port(const Fd& socket);  // 0 for unix sockets

}  // namespace millrace
