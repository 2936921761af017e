// The checks that frames carry.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace millrace {

// CRC-16 with polynomial 0x8005, reflected, from `crc`: begun with 0 it is CRC-16/ARC, which P1 telegrams
// have (DSMR 5.0.2, section 6.2), with 0xffff Modbus' own.
std::uint16_t crc16_reflected(BytesView bytes, std::uint16_t crc);
// CRC-32 of IEEE 802.3, as zlib has it.
std::uint32_t crc32_ieee(BytesView bytes);

}  // namespace millrace
