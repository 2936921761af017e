// How bodies are packed for the way (RFC 9110, section 8.4.1): gzip (RFC 1952), as nearly every server reads
// it, and zstd (RFC 8878), which is smaller and cheaper where the server knows it. Only packs: nobody's
// answers are asked for packed. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

enum class ContentCoding : std::uint8_t { none, gzip, zstd };
inline constexpr const char* content_coding_words = "none|gzip|zstd";

ContentCoding content_coding_of(std::string_view word);
const char* content_coding_name(ContentCoding coding);  // as the Content-Encoding header has it
// Equal bytes become equal bytes: there is no time and no name in them.
std::string packed(ContentCoding coding, std::string bytes);

}  // namespace millrace
