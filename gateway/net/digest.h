// SHA-256 (FIPS 180-4) and HMAC with it (RFC 2104), by mbedTLS: for requests that are signed.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace millrace {

using Digest = std::array<unsigned char, 32>;

Digest sha256(std::string_view text);
Digest hmac_sha256(std::string_view key, std::string_view text);
std::string hex_of(const Digest& digest);  // in small letters
inline std::string_view text_of(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace millrace
