// Small text tools: joining, durations and sizes as people write them ("200ms", "512MiB"), the nearest known
// word.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/time.h"

namespace millrace {

namespace text_detail {
inline void append(std::string& out, std::string_view part) { out += part; }
inline void append(std::string& out, const char* part) { out += part; }
inline void append(std::string& out, char part) { out += part; }
inline void append(std::string& out, bool part) { out += part ? "true" : "false"; }
template <typename Number>
requires(std::is_arithmetic_v<Number> && !std::is_same_v<Number, bool> &&
         !std::is_same_v<Number, char>) void append(std::string& out, Number part) {
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, part);
  out.append(buffer, end.ptr);
}
}  // namespace text_detail

// text("row ", 7, " of ", name)
template <typename... Parts>
std::string text(const Parts&... parts) {
  std::string out;
  (text_detail::append(out, parts), ...);
  return out;
}

// "200ms", "1.5s", "5min", "1h", "7d", "10us". Nothing else, no sign, at most 100 years.
std::optional<Duration> parse_duration(std::string_view text);
// "512MiB", "64KB", "1000" (bytes). KB, MB, GB are powers of ten; KiB, MiB, GiB of two.
std::optional<std::uint64_t> parse_size(std::string_view text);

std::string format_duration(Duration duration);  // "1.5s"
std::string format_size(double bytes);           // "3.2 MiB"

// The word of `known` that `word` was probably meant to be; empty when none is near.
std::string_view nearest_word(std::string_view word, const std::vector<std::string_view>& known);

// Views into `text`: a temporary string would leave them dangling.
std::vector<std::string_view> split(std::string_view text, char separator);
std::vector<std::string_view> split(std::string&& text, char separator) = delete;
std::string_view trim(std::string_view text);

// Whether `text` is well-formed UTF-8 (RFC 3629), and without U+0000, which neither MQTT (section 1.5.4) nor
// JSON knows.
bool good_utf8(std::string_view text);

}  // namespace millrace
