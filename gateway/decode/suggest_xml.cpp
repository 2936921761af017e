#include "decode/suggest_xml.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/pattern.h"
#include "base/text.h"
#include "decode/named_values.h"

namespace millrace::suggested {
namespace {

constexpr std::size_t nowhere = std::string_view::npos;

bool is_of_name(char c) {
  return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '.' || c == ':';
}

// What groups can be called.
std::string group_of(std::string_view element) {
  std::string out;
  for (const char c : element) out += is_letter(c) || is_digit(c) ? c : '_';
  return is_digit(out.front()) ? "_" + out : out;
}

// Behind the `<` at `at`: its name where it is an element that holds nothing but a text, up to `end`.
std::string_view leaf_at(std::string_view value, std::size_t at, std::size_t& end) {
  std::size_t behind = at + 1;
  while (behind < value.size() && is_of_name(value[behind])) ++behind;
  const std::string_view name = value.substr(at + 1, behind - at - 1);
  const std::size_t close = value.find('>', behind);
  if (name.empty() || close == nowhere || (close > behind && value[behind] != ' ')) return {};
  const std::size_t next = value.find('<', close);
  const std::string tail = text("</", name, ">");
  if (next == nowhere || value.substr(next, tail.size()) != tail) return {};
  end = next + tail.size();
  return name;
}

}  // namespace

std::string keys_of_xml(std::string_view value) {
  if (!value.starts_with('<') || !value.ends_with('>')) return {};
  value = value.substr(0, 65'536);
  constexpr std::size_t room = 100;  // of an element in the pattern
  OwnNames groups;
  std::size_t found = 0;
  std::string pattern = "(?s)";
  for (std::size_t at = 0; at != nowhere && found < Pattern::groups_max && pattern.size() < 1000; ++found) {
    std::size_t end = 0;
    std::string_view name;
    for (; at != nowhere && (name = leaf_at(value, at, end)).empty(); at = value.find('<', at + 1)) {}
    if (at == nowhere || name.size() > room) break;
    const std::string group = group_of(name);
    pattern += text(found > 0 ? ".*?" : "", "<", name, "(\\s[^>]*)?>(?<", groups.take(group, group),
                    ">[^<]*)</", name, ">");
    at = value.find('<', end);
  }
  if (found == 0) return {};
  return text("format = \"text\"\nper = \"payload\"\npattern = '", pattern, "'\n");
}

}  // namespace millrace::suggested
