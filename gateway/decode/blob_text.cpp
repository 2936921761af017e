#include "decode/blob_text.h"

#include "base/ascii.h"

namespace millrace {
namespace {

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (is_digit(c)) return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  return c == '/' || c == '_' ? 63 : -1;
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

bool bytes_of_hex(std::string_view text, Bytes& out) {
  out.clear();
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  int high = -1;
  for (const char c : text) {
    const int digit = hex_digit(c);
    if (digit < 0) {
      // Between bytes only: "1 2" is no 0x12.
      if (high >= 0 || (!is_blank(c) && c != ':' && c != '-')) return false;
    } else if (high < 0) {
      high = digit;
    } else {
      out.push_back(static_cast<std::byte>(high * 16 + digit));
      high = -1;
    }
  }
  return high < 0;
}

bool bytes_of_base64(std::string_view text, Bytes& out) {
  out.clear();
  std::uint32_t bits = 0;
  int count = 0, ends = 0;
  std::size_t digits = 0;
  for (const char c : text) {
    if (is_blank(c)) continue;
    if (c == '=') {
      ++ends;
      continue;
    }
    const int digit = base64_digit(c);
    if (digit < 0 || ends > 0) return false;
    ++digits;
    bits = (bits << 6 | static_cast<std::uint32_t>(digit)) & 0xFFFFFF;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<std::byte>(bits >> count & 0xFF));
  }
  if (digits % 4 == 1 || ends > 2 || (ends > 0 && (digits + static_cast<std::size_t>(ends)) % 4 != 0))
    return false;
  return (bits & ((1u << count) - 1)) == 0;  // what is left over says nothing (RFC 4648, section 3.5)
}

}  // namespace millrace
