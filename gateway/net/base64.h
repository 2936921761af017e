// Base64 (RFC 4648, section 4), by mbedTLS.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace millrace {

std::string base64(BytesView bytes);
// False when it is none.
bool unbase64(std::string_view text, std::vector<std::uint8_t>& out);
// As a header of HTTP says it: "Basic dXNlcjpwYXNz" (RFC 7617).
std::string basic_login(std::string_view username, std::string_view password);

}  // namespace millrace
