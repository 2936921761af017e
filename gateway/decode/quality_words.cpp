#include "decode/quality_words.h"

#include <algorithm>
#include <charconv>
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
  const auto read_number = [&](std::string_view spelling, int base) {
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(spelling.data(), spelling.data() + spelling.size(), number, base);
    if (parsed.ec != std::errc{} || parsed.ptr != spelling.data() + spelling.size() || number > UINT32_MAX)
      return false;
    quality = of_number(number, format);
    return true;
  };
  switch (scalar.kind) {
    case Scalar::none:
    case Scalar::no_value: return true;
    case Scalar::truth: quality = scalar.flag ? Quality::good : Quality::bad; return true;
    case Scalar::number: return read_number(scalar.text.substr(0, scalar.text.find(".0")), 10);
    case Scalar::string: {
      const std::string_view word = trim(scalar.text);
      if (word.starts_with("0x") && read_number(word.substr(2), 16)) return true;
      if (!word.empty() && word.front() >= '0' && word.front() <= '9' && read_number(word, 10)) return true;
      quality = of_word(word);
      return true;
    }
    default: return false;
  }
}

}  // namespace millrace
