#include "cli/page.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/text.h"

namespace millrace {
namespace {

constexpr const char* codes[] = {"", "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[1;31m"};
constexpr std::string_view gap = "  ";

bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

bool wants_colour() {
  const char* no = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) && !(no && *no) && term && *term && std::string_view(term) != "dumb";
}

std::string inked(std::string_view words, Ink ink, bool colour) {
  if (!colour || ink == Ink::plain || words.empty()) return std::string(words);
  return text(codes[static_cast<int>(ink)], words, "\033[0m");
}

std::size_t width_of(std::string_view words) {
  return static_cast<std::size_t>(std::ranges::count_if(words, [](char byte) { return !continues(byte); }));
}

std::string fitted(std::string_view words, std::size_t width) {
  if (width_of(words) <= width) return std::string(words);
  if (width == 0) return {};
  std::size_t end = 0;
  for (std::size_t shown = 0; end < words.size() && shown < width - 1; ++shown) {
    do ++end;
    while (end < words.size() && continues(words[end]));
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
      const std::string shown =
          last && width > 0 ? fitted(row[c].text, width - std::min(width, used)) : row[c].text;
      const std::string pad(last && sides_[c] == 'l' ? 0 : widths[c] - std::min(widths[c], width_of(shown)),
                            ' ');
      line +=
          sides_[c] == 'r' ? pad + inked(shown, row[c].ink, colour) : inked(shown, row[c].ink, colour) + pad;
      if (!last) line += gap;
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
