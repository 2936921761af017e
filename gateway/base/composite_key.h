// A key made of several texts. Each part stands behind its length, so that no content of one part can look
// like the border to the next: ("temp", "C") is never ("temp\0C", ""). Within a process and in state of ours;
// not for people to read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

inline void add_key_part(std::string& key, std::string_view part) {
  std::size_t size = part.size();  // as a varint: one byte for nearly every name
  while (size >= 0x80) {
    key += static_cast<char>(size | 0x80);
    size >>= 7;
  }
  key += static_cast<char>(size);
  key += part;
}

template <typename... Parts>
std::string composite_key(const Parts&... parts) {
  std::string key;
  (add_key_part(key, parts), ...);
  return key;
}

// Takes the first part off `key`. False when `key` does not begin with a whole part.
inline bool take_key_part(std::string_view& key, std::string_view& part) {
  std::size_t size = 0, at = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (at == key.size()) return false;
    const auto byte = static_cast<std::uint8_t>(key[at++]);
    size |= static_cast<std::size_t>(byte & 0x7F) << shift;
    if (byte >= 0x80) continue;
    if (size > key.size() - at) return false;
    part = key.substr(at, size);
    key.remove_prefix(at + size);
    return true;
  }
  return false;
}

}  // namespace millrace
