// A key made of several texts. Each part stands behind its length, so that no content of one part can look
// like the border to the next: ("temp", "C") is never ("temp\0C", ""). Within a process and in state of ours;
// not for people to read.
#pragma once

#include <cstdint>
#include <cstring>
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

// The same key, made again and again in one place: nothing is allocated once it has been as long before.
class KeyBuffer {
 public:
  void clear() { size_ = 0; }
  void add(std::string_view part) {
    if (bytes_.size() - size_ < part.size() + 10) bytes_.resize(2 * (size_ + part.size()) + 64);
    std::size_t size = part.size();
    for (; size >= 0x80; size >>= 7) bytes_[size_++] = static_cast<char>(size | 0x80);
    bytes_[size_++] = static_cast<char>(size);
    copy(bytes_.data() + size_, part);
    size_ += part.size();
  }
  std::string_view view() const { return {bytes_.data(), size_}; }

 private:
  // Most names are this short: a call of memcpy() costs more than they do.
  static void copy(char* to, std::string_view part) {
    const std::size_t size = part.size();
    if (size - 8 > 8) {
      if (size > 16) std::memcpy(to, part.data(), size);
      else
        for (std::size_t i = 0; i < size; ++i) to[i] = part[i];
      return;
    }
    std::memcpy(to, part.data(), 8);
    std::memcpy(to + size - 8, part.data() + size - 8, 8);
  }

  std::string bytes_;
  std::size_t size_ = 0;
};

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
