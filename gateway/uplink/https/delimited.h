// Messages of Protocol Buffers one behind the other, each with its length in front (a varint), as
// parseDelimitedFrom() of its own libraries reads them. Pure.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

inline void add_delimited(std::string_view message, std::string& body) {
  for (std::size_t left = message.size();; left >>= 7) {
    if (left < 0x80) {
      body += static_cast<char>(left);
      break;
    }
    body += static_cast<char>(left | 0x80);
  }
  body += message;
}

}  // namespace millrace
