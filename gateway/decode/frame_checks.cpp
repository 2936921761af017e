#include "decode/frame_checks.h"

#include <array>

namespace millrace {

namespace {

template <typename Word>
constexpr std::array<Word, 256> table_of(Word polynomial) {
  std::array<Word, 256> made{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    auto crc = static_cast<Word>(i);
    for (int bit = 0; bit < 8; ++bit) crc = static_cast<Word>(crc >> 1 ^ ((crc & 1) != 0 ? polynomial : 0));
    made[i] = crc;
  }
  return made;
}

}  // namespace

std::uint16_t crc16_reflected(BytesView bytes, std::uint16_t crc) {
  static constexpr auto table = table_of<std::uint16_t>(0xa001);
  for (const std::byte b : bytes)
    crc = static_cast<std::uint16_t>(crc >> 8 ^ table[(crc ^ static_cast<std::uint8_t>(b)) & 0xff]);
  return crc;
}

std::uint32_t crc32_ieee(BytesView bytes) {
  static constexpr auto table = table_of<std::uint32_t>(0xedb88320u);
  std::uint32_t crc = 0xffffffff;
  for (const std::byte b : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<std::uint8_t>(b)) & 0xff];
  return ~crc;
}

}  // namespace millrace
