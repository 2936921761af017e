// Text from outside: whether it is well-formed UTF-8 (RFC 3629), and how it is cut, mended and shown.
// Everything that is printed, answered or kept as a reason passes one of these; what becomes a name in a
// record passes base/label.h. The quick yes or no is good_utf8() in base/text.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

// Control characters: C0 (below U+0020), DEL (U+007F) and C1 (U+0080 to U+009F).
// which may stand there; line breaks: \t \n \r; all: NUL too
enum class Controls : std::uint8_t { none, line_breaks, all };

struct TextFault {
  enum Kind : std::uint8_t { ok, not_utf8, control } kind = ok;
  std::size_t at = 0;           // byte
  std::uint32_t character = 0;  // which control character
};

// Without the byte order mark that an editor of another system may have put in front, which is no part of the
// text.
std::string_view without_mark(std::string_view text);

// Whether all of `text` is printable ASCII: the quick yes of find_fault(), and of nearly every name.
bool plain_ascii(std::string_view text);

// The first thing in `text` that may not stand there.
TextFault find_fault(std::string_view text, Controls allowed);

// At most `max` bytes of `text`; a character is never cut in two. Bytes that are no UTF-8 are cut anywhere.
std::string_view cut_utf8(std::string_view text, std::size_t max);

// `text` with U+FFFD in place of each maximal piece that is no UTF-8 (Unicode 15, section 3.9, as browsers do
// it). What is UTF-8 comes back as it is.
std::string mended_utf8(std::string_view text);

// `text` with each byte that is no UTF-8 as the character of ISO 8859-1 that it is there (0xB0 becomes a
// degree sign); what is UTF-8 stays.
std::string utf8_of_latin1(std::string_view text);

// Foreign text as it may stand in a line, a reason or an answer: at most `max` bytes of it and then "...",
// with control characters, line separators, what turns the direction of the line and bytes that are no UTF-8
// as \xNN. One line, always UTF-8, and what stands behind it stands as it was meant.
std::string shown(std::string_view text, std::size_t max = 100);

}  // namespace millrace
