// Aligned lines for a terminal or a pipe: rows of cells, and marks that are colours where colours are wanted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

enum class Ink : unsigned char { plain, bold, dim, good, warn, bad };

// Whether stdout is a terminal that takes colours, and nobody says NO_COLOR (no-color.org).
bool wants_colour();
// The text in this ink; as it is without `colour`.
std::string inked(std::string_view text, Ink ink, bool colour);

// Whether the locale's characters are UTF-8: by its name (LC_ALL, LC_CTYPE, LANG), for it need not be
// installed. Where none is said, as on most small boxes, the terminal is one of today's.
bool locale_has_utf8();
// The text in ASCII: of every other character so many question marks as it takes columns. To a terminal of
// eight bits UTF-8 is noise, and some of its bytes are orders (0x9B begins one, ECMA-48).
std::string in_ascii(std::string_view text);
// As it is written to this descriptor: in_ascii() where that is a terminal and the locale is none of UTF-8.
std::string as_printed(std::string_view text, int descriptor);

// How many columns of a terminal it takes: wide characters two, marks none.
std::size_t width_of(std::string_view text);
// At most `width` columns; what is cut ends in "~".
std::string fitted(std::string_view text, std::size_t width);

struct Cell {
  std::string text;
  Ink ink = Ink::plain;
};

class PageTable {
 public:
  // A letter a column: 'l' or 'r', where its text stands. What is behind the width is cut.
  explicit PageTable(std::string_view sides) : sides_(sides) {}
  void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  // Each line indented by two and ended; `width`: of the page, 0: no bound.
  std::string lines(std::size_t width, bool colour) const;

 private:
  std::string sides_;
  std::vector<std::vector<Cell>> rows_;
};

// "1,234,567"; "99.8", "1234".
std::string grouped(std::uint64_t number);
std::string rate_words(double per_second);

}  // namespace millrace
