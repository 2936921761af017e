#include "base/bytes.h"

#include <array>
#include <bit>
#include <cstring>

namespace millrace {
namespace {

constexpr std::uint32_t castagnoli_reversed = 0x82F63B78;

// Eight tables let the loop eat eight bytes a step ("slicing by 8"): 1 byte a cycle on the boxes we aim at.
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? castagnoli_reversed : 0);
    tables[0][i] = crc;
  }
  for (std::uint32_t i = 0; i < 256; ++i) {
    for (std::size_t t = 1; t < 8; ++t)
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xFF];
  }
  return tables;
}

constexpr Tables tables = make_tables();

// Up to eight bytes, the first the lowest.
std::uint64_t load_le64(const std::byte* from, std::size_t size = 8) {
  std::uint64_t value = 0;
  std::memcpy(&value, from, size);
  return std::endian::native == std::endian::little ? value : __builtin_bswap64(value);
}

std::uint64_t mix(std::uint64_t x) {  // the finalizer of splitmix64
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// The processor's own instruction, where it has one.
#if defined(__x86_64__)
const bool has_crc = __builtin_cpu_supports("sse4.2");
__attribute__((target("sse4.2"))) std::uint32_t crc_by_processor(const std::byte* at, std::size_t left,
                                                                 std::uint32_t crc) {
  std::uint64_t sum = crc;
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    sum = __builtin_ia32_crc32di(sum, word);
  }
  crc = static_cast<std::uint32_t>(sum);
  for (; left > 0; ++at, --left) crc = __builtin_ia32_crc32qi(crc, static_cast<std::uint8_t>(*at));
  return crc;
}
#else
constexpr bool has_crc = false;
std::uint32_t crc_by_processor(const std::byte*, std::size_t, std::uint32_t crc) { return crc; }
#endif

}  // namespace

std::uint32_t crc32c(BytesView bytes, std::uint32_t crc) {
  crc = ~crc;
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  if (has_crc) return ~crc_by_processor(at, left, crc);
  while (left >= 8) {
    const std::uint64_t word = load_le64(at) ^ crc;
    crc = tables[7][word & 0xFF] ^ tables[6][(word >> 8) & 0xFF] ^ tables[5][(word >> 16) & 0xFF] ^
          tables[4][(word >> 24) & 0xFF] ^ tables[3][(word >> 32) & 0xFF] ^ tables[2][(word >> 40) & 0xFF] ^
          tables[1][(word >> 48) & 0xFF] ^ tables[0][word >> 56];
    at += 8;
    left -= 8;
  }
  while (left-- > 0) crc = (crc >> 8) ^ tables[0][(crc ^ static_cast<std::uint8_t>(*at++)) & 0xFF];
  return ~crc;
}

std::uint64_t digest64(BytesView bytes, std::uint64_t seed) {
  std::uint64_t hash = mix(seed ^ (bytes.size() * 0x9E3779B97F4A7C15ULL));
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) hash = mix(hash ^ load_le64(at)) + 0x9E3779B97F4A7C15ULL;
  if (left == 0) return mix(hash);
  // The last eight bytes in one, those in front of the rest shifted out.
  const std::uint64_t rest =
      bytes.size() >= 8 ? load_le64(at + left - 8) >> (8 * (8 - left)) : load_le64(at, left);
  return mix(hash ^ rest);
}

std::string to_hex(BytesView bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    out += digits[static_cast<unsigned>(b) >> 4];
    out += digits[static_cast<unsigned>(b) & 15];
  }
  return out;
}

}  // namespace millrace
