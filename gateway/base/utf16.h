// UTF-16 as programs of Windows and PLCs write it, with the byte order mark that says so (Unicode 15,
// section 3.10).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

// The text as UTF-8, without the mark. False: it does not begin with one, or half of a character is missing
// in it; `out` is then as it was.
bool read_utf16(std::string_view given, std::string& out);
// Appends a character (below U+110000; a surrogate comes out as what check_label() refuses).
void append_utf8(std::string& out, std::uint32_t code);

}  // namespace millrace
