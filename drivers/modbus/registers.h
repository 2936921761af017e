// What registers mean: from the bytes of a reply to a value, by a point's type and word order. Registers come
// big-endian, as on the wire (Modbus Application Protocol 1.1b3, 4.2); which of the two or four of a number
// comes first, and whether makers swapped the bytes inside, the standard does not say: ABCD, CDAB (words
// swapped), BADC (bytes swapped), DCBA (both). Of 16 bits and of strings only the bytes inside a register can
// be swapped. Pure.
#pragma once

#include <string>

#include "base/bytes.h"
#include "drivers/modbus/points.h"

namespace millrace {

enum class Reading : std::uint8_t { value, no_value, refused };

// `registers`: two bytes each, point.count of them. `power`: the register with its power of ten, where it has
// one; what is scaled by it is always a double, whatever the power is. On `value` `out` has it, scaled, and
// `quality` says whether it lies within the point's range. `no_value`: NaN, inf, or what the point calls
// none. `refused`: it is nothing of this type (a BCD digit above 9, a string that is no text, an integer that
// a double cannot hold); `why` says so. A float becomes the double of its shortest decimal form: 21.3
// stays 21.3.
Reading read_point(const Point& point, BytesView registers, BytesView power, Value& out, Quality& quality,
                   std::string& why);
inline Reading read_point(const Point& point, BytesView registers, Value& out, Quality& quality,
                          std::string& why) {
  return read_point(point, registers, {}, out, quality, why);
}

}  // namespace millrace
