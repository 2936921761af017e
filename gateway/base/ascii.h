// Letters and digits of ASCII, whatever the locale. What is no ASCII is neither, and stays as it is.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace millrace {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
// What it is worth in base 16, 0 to 15; -1: it is no such digit.
constexpr int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  const char small = lower(c);
  return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

inline std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = lower(c);
  return out;
}

// Whether `given`, in any case, is `word`, which is in lower case.
constexpr bool same_word(std::string_view given, std::string_view word) {
  return std::equal(given.begin(), given.end(), word.begin(), word.end(),
                    [](char a, char b) { return lower(a) == b; });
}

}  // namespace millrace
