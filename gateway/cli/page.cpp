#include "cli/page.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/ascii.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr const char* codes[] = {"", "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[1;31m"};
constexpr std::string_view gap = "  ";

struct Characters {
  char32_t first, last;
};
// Unicode 15: marks and format characters that stand on the character before them or nowhere; and what East
// Asian Width (annex 11) calls wide, by blocks.
constexpr Characters zero_width[] = {{0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x0610, 0x061A},
                                     {0x064B, 0x065F}, {0x0E31, 0x0E31}, {0x0E34, 0x0E3A}, {0x0E47, 0x0E4E},
                                     {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x2060, 0x2064},
                                     {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}};
constexpr Characters double_width[] = {
    {0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},  {0xA960, 0xA97F}, {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},  {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F},
    {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};

// The character at `at`, which moves behind it. What is printed is UTF-8; what is not is taken byte by byte.
char32_t take_character(std::string_view words, std::size_t& at) {
  const auto first = static_cast<unsigned char>(words[at++]);
  if (first < 0xC0) return first;
  char32_t code = first & (first >= 0xF0 ? 0x07 : first >= 0xE0 ? 0x0F : 0x1F);
  for (; at < words.size() && (static_cast<unsigned char>(words[at]) & 0xC0) == 0x80; ++at)
    code = code << 6 | (static_cast<unsigned char>(words[at]) & 0x3F);
  return code;
}

std::size_t character_width(char32_t code) {
  const auto has = [code](const Characters& part) { return code >= part.first && code <= part.last; };
  if (code < 0x0300) return 1;
  if (std::ranges::any_of(zero_width, has)) return 0;
  return std::ranges::any_of(double_width, has) ? 2 : 1;
}

}  // namespace

bool wants_colour() {
  const char* no = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) && !(no && *no) && term && *term && std::string_view(term) != "dumb";
}

bool locale_has_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* said = std::getenv(name);
    if (!said || !*said) continue;
    const std::string locale = lower(said);
    return locale.find("utf-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return true;
}

std::string in_ascii(std::string_view words) {
  std::string out;
  for (std::size_t at = 0; at < words.size();) {
    const char first = words[at];
    const char32_t code = take_character(words, at);
    if (static_cast<unsigned char>(first) < 0x80) out += first;
    else out.append(character_width(code), '?');
  }
  return out;
}

std::string as_printed(std::string_view words, int descriptor) {
  return ::isatty(descriptor) && !locale_has_utf8() ? in_ascii(words) : std::string(words);
}

std::string inked(std::string_view words, Ink ink, bool colour) {
  if (!colour || ink == Ink::plain || words.empty()) return std::string(words);
  return text(codes[static_cast<int>(ink)], words, "\033[0m");
}

std::size_t width_of(std::string_view words) {
  std::size_t width = 0;
  for (std::size_t at = 0; at < words.size();) width += character_width(take_character(words, at));
  return width;
}

std::string fitted(std::string_view words, std::size_t width) {
  if (width_of(words) <= width) return std::string(words);
  if (width == 0) return {};
  std::size_t end = 0;
  for (std::size_t at = 0, used = 0; at < words.size(); end = at) {
    used += character_width(take_character(words, at));
    if (used > width - 1) break;
  }
  return text(words.substr(0, end), "~");
}

std::string PageTable::lines(std::size_t width, bool colour) const {
  std::vector<std::size_t> widths(sides_.size());
  for (const auto& row : rows_) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width_of(row[c].text));
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line(gap);
    std::size_t used = gap.size();
    for (std::size_t c = 0; c < row.size(); ++c) {
      const bool last = c + 1 == row.size();
      const std::size_t room = width > 0 ? width - std::min(width, used) : std::string::npos;
      const std::string shown = fitted(row[c].text, room);
      const std::size_t column = std::min(widths[c], room);
      const std::string pad(last && sides_[c] == 'l' ? 0 : column - std::min(column, width_of(shown)), ' ');
      line +=
          sides_[c] == 'r' ? pad + inked(shown, row[c].ink, colour) : inked(shown, row[c].ink, colour) + pad;
      if (!last && room > widths[c] + gap.size()) line += gap;
      used += widths[c] + gap.size();
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += line + "\n";
  }
  return out;
}

std::string grouped(std::uint64_t number) {
  std::string out = text(number);
  for (std::size_t at = out.size(); at > 3; at -= 3) out.insert(at - 3, ",");
  return out;
}

std::string rate_words(double per_second) {
  char out[32];
  std::snprintf(out, sizeof out, per_second < 100 && per_second > 0 ? "%.1f" : "%.0f", per_second);
  return out;
}

}  // namespace millrace
