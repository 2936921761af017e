// Messages of Protocol Buffers one behind the other, each with its length in front (a varint), as
// parseDelimitedFrom() of its own libraries reads them. Pure.
#pragma once

#include <string>
#include <string_view>

#include "log/log.h"
#include "record/record_proto.h"

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

// A row as it lies in the log, in the envelope that says whose it is.
inline Bytes envelope_of(const std::string& gateway, std::uint64_t epoch, const Row& row) {
  return encode_envelope({gateway, epoch, row.first, row.count, row.lane, false, row.zstd}, *row.columns);
}

}  // namespace millrace
