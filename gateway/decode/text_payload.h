// A payload of text, as the formats that are made of lines take it: CSV, text by a pattern, pairs, InfluxDB's
// lines. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "decode/json_walk.h"
#include "decode/payload_format.h"
#include "decode/unread.h"

namespace millrace {

// The text of `payload` without its mark, and without NUL and line ends behind it. Unless `strict` what has
// UTF-16's mark is read as that, and what is not UTF-8 as ISO 8859-1, which `unread` tells; then the text
// lies in `converted`, else in the payload. `invalid`, in the name of `format`: it is not UTF-8, and
// `strict`.
Result<std::string_view> text_of_payload(const Payload& payload, const char* format, bool strict,
                                         std::string& converted, Unread& unread);

// How a payload ends that `walk` went through: where that failed, nothing is left of it in `out`, which had
// `before` records, nor in `unread`.
Status end_of_walk(const JsonWalk& walk, std::vector<Record>& out, std::size_t before, Unread& unread);

}  // namespace millrace
