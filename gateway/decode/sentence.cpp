#include "decode/sentence.h"

#include <algorithm>
#include <cstdint>

#include "base/ascii.h"

namespace millrace {
namespace {

enum class Sum { none, right, wrong };

// Takes "*hh" off the end of `body`: the exclusive or of what stands before it.
Sum take_sum(std::string_view& body) {
  const std::size_t star = body.rfind('*');
  if (star == std::string_view::npos) return Sum::none;
  const std::string_view hex = body.substr(star + 1);
  body = body.substr(0, star);
  std::uint8_t x = 0;
  for (const char c : body) x = static_cast<std::uint8_t>(x ^ static_cast<std::uint8_t>(c));
  if (hex.size() != 2 || hex_digit(hex[0]) < 0 || hex_digit(hex[1]) < 0) return Sum::wrong;
  return x == hex_digit(hex[0]) * 16 + hex_digit(hex[1]) ? Sum::right : Sum::wrong;
}

bool is_capital(char c) { return (c >= 'A' && c <= 'Z') || is_digit(c); }

}  // namespace

Sentence split_sentence(std::string_view line) {
  Sentence out;
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n' || line.back() == ' '))
    line.remove_suffix(1);
  if (line.starts_with('\\')) {
    const std::size_t end = line.find('\\', 1);
    if (end == std::string_view::npos) return out;
    std::string_view tags = line.substr(1, end - 1);
    if (take_sum(tags) != Sum::right) return out;
    line.remove_prefix(end + 1);
  }
  if (line.size() < 2 || (line[0] != '$' && line[0] != '!')) return out;
  out.whole = line;
  out.encapsulated = line[0] == '!';
  std::string_view body = line.substr(1);
  const Sum sum = take_sum(body);
  out.summed = sum != Sum::none;
  const std::size_t comma = std::min(body.find(','), body.size());
  const std::string_view address = body.substr(0, comma);
  if (comma < body.size()) out.fields = body.substr(comma + 1);
  const bool own = address.starts_with('P');
  // Of the proprietary some makers write small letters; no address of the standard's has other than five
  // characters.
  if (own ? address.size() < 3 : address.size() != 5) return out;
  if (!std::all_of(address.begin(), address.end(),
                   [own](char c) { return is_capital(c) || (own && is_letter(c)); }))
    return out;
  out.talker = address.substr(0, own ? 1 : 2);
  out.type = address.substr(own ? 1 : 2);
  out.ok = sum != Sum::wrong;
  return out;
}

}  // namespace millrace
