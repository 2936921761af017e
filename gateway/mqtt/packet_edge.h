// Where packets end in a stream that passes in pieces (MQTT 5, section 2.1: a byte, the remaining length as a
// variable byte integer, so many bytes): whoever wants to put a packet of its own in between may do so only
// there. Pure.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace millrace::mqtt {

class PacketEdge {
 public:
  // Whether the last packet is whole, and the next one has not begun.
  bool at_edge() const { return part_ == Part::first; }

  void passed(BytesView piece) {
    while (!piece.empty()) {
      const auto byte = static_cast<std::uint8_t>(piece[0]);
      switch (part_) {
        case Part::first:
          left_ = 0;
          shift_ = 0;
          part_ = Part::length;
          piece = piece.subspan(1);
          break;
        case Part::length:
          left_ |= static_cast<std::uint64_t>(byte & 0x7F) << shift_;
          // four bytes at most; a peer that sends more is its reader's concern
          shift_ = shift_ < 28 ? shift_ + 7 : shift_;
          if (byte < 0x80) part_ = left_ == 0 ? Part::first : Part::body;
          piece = piece.subspan(1);
          break;
        case Part::body: {
          const std::uint64_t here = left_ < piece.size() ? left_ : piece.size();
          left_ -= here;
          if (left_ == 0) part_ = Part::first;
          piece = piece.subspan(here);
          break;
        }
      }
    }
  }

 private:
  enum class Part : std::uint8_t { first, length, body } part_ = Part::first;
  std::uint64_t left_ = 0;
  unsigned shift_ = 0;
};

}  // namespace millrace::mqtt
