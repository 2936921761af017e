// A payload that is one value: "21.5", "-3", "true"; also with its unit or a name before it ("21.5 °C",
// "T=21.5"), and a word ("ON", "online"). Blanks, NUL and the frame of STX and ETX around it are ignored;
// what is not UTF-8 is read as ISO 8859-1. With `strict` only a number, true or false; a `type` says what
// else is meant.
#pragma once

#include <memory>

#include "decode/payload_format.h"

namespace millrace {

Result<std::unique_ptr<PayloadFormat>> make_plain_format(const RouteConfig& route,
    const TopicPattern& pattern);

}  // namespace millrace
