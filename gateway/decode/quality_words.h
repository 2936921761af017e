// Quality as the trade says it. Words in any case: good, ok, uncertain, questionable, bad ..., also the names
// of OPC UA's status codes ("BadSensorFailure"); true and false. Numbers:
//   opcda  of OPC DA: 192 and above good, 64 to 191 uncertain, below bad (the upper two bits of eight)
//   opcua  a StatusCode: the upper two bits of 32 (Part 4, 7.39): 0 good, 1 uncertain, 2 and 3 bad; signed
//          ones are negative when they are bad
//   auto   whichever a number can be only; what is good in UA and is not in DA (0, 1, 1024) is uncertain
#pragma once

#include <optional>

#include "decode/reading_value.h"
#include "record/record.h"

namespace millrace {

enum class QualityFormat : std::uint8_t { automatic, opcua, opcda };
std::optional<QualityFormat> quality_format_of(std::string_view name);

// False for what can be no quality. A value that is not there, or an empty text, is none: good. A word that
// nobody knows is uncertain.
bool read_quality(const Scalar& scalar, QualityFormat format, Quality& quality);

}  // namespace millrace
