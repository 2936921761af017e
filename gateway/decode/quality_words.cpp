#include "decode/quality_words.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>

#include "base/ascii.h"
#include "base/text.h"

namespace millrace {
namespace {

Quality of_number(std::uint64_t number, QualityFormat format) {
  constexpr std::uint64_t da_max = 0xFFFF;  // the quality's eight bits, and eight of the vendor
  if (format == QualityFormat::automatic) {
    // Up to here all that is good in UA, whose lower bits tell more, may be good, uncertain or bad in DA.
    if (number <= da_max) return (number & 0xFF) >> 6 == 3 ? Quality::good : Quality::uncertain;
    format = QualityFormat::opcua;
  }
  const std::uint64_t top = format == QualityFormat::opcda ? (number & 0xFF) >> 6 : number >> 30;
  if (format == QualityFormat::opcda)
    return top == 3 ? Quality::good : top == 1 || top == 2 ? Quality::uncertain : Quality::bad;
  return top == 0 ? Quality::good : top == 1 ? Quality::uncertain : Quality::bad;
}

Quality of_word(std::string_view given) {
  const std::string word = lower(given);
  for (const std::string_view good : {"good", "ok", "valid", "true", "online"}) {
    if (word == good) return Quality::good;
  }
  for (const std::string_view bad :
       {"bad", "invalid", "error", "fault", "false", "offline", "failure", "stale"}) {
    if (word == bad) return Quality::bad;
  }
  if (word.starts_with("good")) return Quality::good;
  return word.starts_with("bad") ? Quality::bad : Quality::uncertain;
}

}  // namespace

std::optional<QualityFormat> quality_format_of(std::string_view name) {
  if (name == "auto") return QualityFormat::automatic;
  if (name == "opcua") return QualityFormat::opcua;
  return name == "opcda" ? std::optional(QualityFormat::opcda) : std::nullopt;
}

bool read_quality(const Scalar& scalar, QualityFormat format, Quality& quality) {
  const auto take = [&](std::uint64_t number) {
    if (number > UINT32_MAX) return false;
    return quality = of_number(number, format), true;
  };
  // However it is spelled: 192.0, 1.92e2. A StatusCode that went through an int32 is negative.
  const auto read_number = [&](std::string_view spelling) {
    double number = 0;
    const auto parsed = std::from_chars(spelling.data(), spelling.data() + spelling.size(), number);
    if (parsed.ec != std::errc{} || parsed.ptr != spelling.data() + spelling.size()) return false;
    if (number != std::floor(number) || number < INT32_MIN || number > UINT32_MAX) return false;
    if (number >= 0) return take(static_cast<std::uint64_t>(number));
    return format != QualityFormat::opcda &&
           take(static_cast<std::uint32_t>(static_cast<std::int32_t>(number)));
  };
  const auto read_hex = [&](std::string_view digits) {
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
    return parsed.ec == std::errc{} && parsed.ptr == digits.data() + digits.size() && take(number);
  };
  switch (scalar.kind) {
    case Scalar::none:
    case Scalar::no_value: return true;
    case Scalar::truth: quality = scalar.flag ? Quality::good : Quality::bad; return true;
    case Scalar::number: return read_number(scalar.text);
    case Scalar::string: {
      const std::string_view word = trim(scalar.text);
      if (word.empty()) return true;
      if ((word.starts_with("0x") || word.starts_with("0X")) && read_hex(word.substr(2))) return true;
      const std::size_t sign = word.starts_with('-') ? 1 : 0;  // what else from_chars takes is a word: "inf"
      if (word.size() > sign && is_digit(word[sign]) && read_number(word)) return true;
      quality = of_word(word);
      return true;
    }
    default: return false;
  }
}

}  // namespace millrace
