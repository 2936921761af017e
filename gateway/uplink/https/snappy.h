// Snappy's block format (format_description.txt of its public description): the length as a varint, then
// literals and copies of what came up to 64 KiB before. What Prometheus takes bodies in. Only packs. Pure.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// `bytes`: fewer than 4 GiB. At most a sixth longer than them, and some bytes.
std::string snappy_packed(std::string_view bytes);

}  // namespace millrace
