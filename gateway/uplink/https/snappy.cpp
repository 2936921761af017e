#include "uplink/https/snappy.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace millrace {
namespace {

constexpr std::size_t block_max = 1 << 16;  // copies reach no further: two bytes say how far
constexpr unsigned table_bits = 12;         // 8 KiB on the stack
constexpr std::size_t least_match = 4;

std::uint32_t four_at(const char* at) {
  std::uint32_t word = 0;
  std::memcpy(&word, at, sizeof word);
  return word;
}

std::size_t slot_of(std::uint32_t word) { return (word * 0x9E3779B1u) >> (32 - table_bits); }

void put_varint(std::size_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// Tag 00: the length less one in the tag's upper six bits, or in one to three bytes behind it.
void put_literal(std::string_view bytes, std::string& out) {
  if (bytes.empty()) return;
  const std::size_t size = bytes.size() - 1;
  if (size < 60) {
    out += static_cast<char>(size << 2);
  } else {
    const unsigned more = size < 0x100 ? 1 : size < 0x10000 ? 2 : 3;
    out += static_cast<char>((59 + more) << 2);
    for (unsigned i = 0; i < more; ++i) out += static_cast<char>(size >> (8 * i));
  }
  out += bytes;
}

// Tag 10: a length of 1 to 64, and two bytes of how far back. (Tag 01 would save a byte on near and short
// ones.)
void put_copy(std::size_t back, std::size_t size, std::string& out) {
  while (size > 0) {
    const std::size_t now = size > 64 ? 64 : size;
    out += static_cast<char>(((now - 1) << 2) | 2);
    out += static_cast<char>(back);
    out += static_cast<char>(back >> 8);
    size -= now;
  }
}

void pack_block(std::string_view block, std::string& out) {
  std::array<std::uint16_t, 1 << table_bits>
      last{};  // where a word was seen; 0 may also mean nowhere, and is looked at
  std::size_t at = 1, literal = 0;
  while (at + least_match <= block.size()) {
    const std::uint32_t word = four_at(block.data() + at);
    std::uint16_t& seen = last[slot_of(word)];
    const std::size_t candidate = seen;
    seen = static_cast<std::uint16_t>(at);
    if (candidate >= at || four_at(block.data() + candidate) != word) {
      at += 1 + (at - literal) / 64;  // what does not repeat is passed over faster and faster
      continue;
    }
    std::size_t size = least_match;
    while (at + size < block.size() && block[candidate + size] == block[at + size]) ++size;
    put_literal(block.substr(literal, at - literal), out);
    put_copy(at - candidate, size, out);
    at += size;
    literal = at;
  }
  put_literal(block.substr(literal), out);
}

}  // namespace

std::string snappy_packed(std::string_view bytes) {
  MILLRACE_CHECK(bytes.size() <= UINT32_MAX);  // a body of a request is bounded far below
  std::string out;
  out.reserve(bytes.size() / 4 + 64);
  put_varint(bytes.size(), out);
  for (std::size_t at = 0; at < bytes.size(); at += block_max) pack_block(bytes.substr(at, block_max), out);
  return out;
}

}  // namespace millrace
