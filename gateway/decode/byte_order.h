// Numbers in bytes, in the orders that makers of devices give them.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace millrace {

// Of up to eight bytes. A B C D is big-endian; `little`: D C B A, `swapped_bytes`: B A D C, `swapped_words`:
// C D A B; the last two are of whole words of 16 bits.
inline std::uint64_t number_in(BytesView bytes, bool little, bool swapped_bytes, bool swapped_words) {
  const std::size_t size = bytes.size();
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) {
    std::size_t from = little ? size - 1 - i : i;
    if (swapped_words) from = size - 2 - (from & ~std::size_t{1}) + (from & 1);
    if (swapped_bytes) from ^= 1;
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[from]);
  }
  return value;
}

}  // namespace millrace
