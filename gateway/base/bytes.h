// Owned and borrowed bytes, and the two casts between bytes and text that the rest of the code needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

using Bytes = std::vector<std::byte>;
using BytesView = std::span<const std::byte>;

inline BytesView bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view text_of(BytesView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(std::string_view text) {
  const BytesView view = bytes_of(text);
  return {view.begin(), view.end()};
}

// A fast 64-bit digest (not for security): tells a redelivered payload from a new one. Stable across
// versions, because it is stored in the inbox file.
std::uint64_t digest64(BytesView bytes, std::uint64_t seed = 0);

// CRC-32C (Castagnoli), as in RFC 3720 appendix B.4: guards every stored row and inbox entry.
std::uint32_t crc32c(BytesView bytes, std::uint32_t crc = 0);

std::string to_hex(BytesView bytes);

}  // namespace millrace
