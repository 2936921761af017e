#include "base/utf16.h"

namespace millrace {

bool read_utf16(std::string_view given, std::string& out) {
  const bool little = given.starts_with("\xff\xfe"), big = given.starts_with("\xfe\xff");
  if ((!little && !big) || given.size() % 2 != 0) return false;
  std::string made;
  made.reserve(given.size());
  const auto unit_at = [&](std::size_t at) {
    const auto first = static_cast<unsigned char>(given[at]),
               second = static_cast<unsigned char>(given[at + 1]);
    return static_cast<std::uint32_t>(little ? second << 8 | first : first << 8 | second);
  };
  for (std::size_t at = 2; at < given.size(); at += 2) {
    std::uint32_t code = unit_at(at);
    if (code >= 0xD800 && code < 0xE000) {
      if (code >= 0xDC00 || at + 4 > given.size()) return false;
      const std::uint32_t low = unit_at(at += 2);
      if (low < 0xDC00 || low >= 0xE000) return false;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(made, code);
  }
  out = std::move(made);
  return true;
}

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static constexpr unsigned char first[] = {0, 0xC0, 0xE0, 0xF0};
  out += static_cast<char>(first[more] | code >> (6 * more));
  for (int k = more - 1; k >= 0; --k) out += static_cast<char>(0x80 | ((code >> (6 * k)) & 0x3F));
}

}  // namespace millrace
