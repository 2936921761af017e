// Signatures by RSA with SHA-256 (RSASSA-PKCS1-v1_5, RFC 8017, section 8.2; "RS256" of RFC 7518,
// section 3.3), by mbedTLS.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

// `key`: a private key in PEM, without a password. `invalid` in words, none of which are the key's. A
// signature of 2,048 bits costs a small board some 50 ms: keep what it is for.
Result<std::string> rs256(std::string_view key, std::string_view text);

}  // namespace millrace
