// Bytes that stand as text in payloads of others: hex and base64.
#pragma once

#include <string_view>

#include "base/bytes.h"

namespace millrace {

// "0A1b", "0x0a1b", with blanks, colons or dashes between bytes. False: it is none, and `out` says nothing.
bool bytes_of_hex(std::string_view text, Bytes& out);
// RFC 4648, both alphabets, with or without the signs at its end; blanks and line breaks are passed over.
bool bytes_of_base64(std::string_view text, Bytes& out);

}  // namespace millrace
