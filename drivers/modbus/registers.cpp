#include "drivers/modbus/registers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>

#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/byte_order.h"
#include "decode/reading_value.h"

namespace millrace {
namespace {

constexpr int tens_max = 10;                      // SunSpec: a scale factor is of -10 to 10
constexpr double exact_max = 9007199254740992.0;  // 2^53: beyond it doubles have gaps

bool bytes_swapped(WordOrder order) { return order == WordOrder::badc || order == WordOrder::dcba; }

// The number of up to 64 bits, by its order.
std::uint64_t number_of(BytesView registers, WordOrder order) {
  return number_in(registers, order == WordOrder::dcba, order == WordOrder::badc, order == WordOrder::cdab);
}

class Reader {
 public:
  Reader(const Point& point, double scale, Value& out, Quality& quality, std::string& why)
      : point_(point), scale_(scale), out_(out), quality_(quality), why_(why) {}

  Reading integer(std::int64_t raw) {
    if (says_none(static_cast<double>(raw))) return Reading::no_value;
    if (scale_ != 1 || point_.offset != 0 || point_.power_at) {
      const auto rounded = static_cast<double>(raw);
      // What rounds up to 2^63 does not fit back.
      if (std::fabs(rounded) > exact_max &&
          (rounded >= 9223372036854775808.0 || static_cast<std::int64_t>(rounded) != raw))
        return refuse("is too large to be scaled exactly: ", text(raw));
      return real(rounded);
    }
    out_ = raw;
    judge(static_cast<double>(raw));
    return Reading::value;
  }

  Reading unsigned_integer(std::uint64_t raw) {
    if (raw <= INT64_MAX) return integer(static_cast<std::int64_t>(raw));
    const auto rounded = static_cast<double>(raw);
    if (says_none(rounded)) return Reading::no_value;
    if (rounded >= 18446744073709551616.0 || static_cast<std::uint64_t>(rounded) != raw)
      return refuse("is too large to be kept exactly: ", text(raw));
    return real(rounded);
  }

  Reading floating(double raw) {
    if (!std::isfinite(raw) || says_none(raw)) return Reading::no_value;
    return real(raw);
  }

  // Four bits a digit, the highest first.
  Reading bcd(std::uint64_t raw, int digits) {
    std::int64_t number = 0;
    for (int i = digits - 1; i >= 0; --i) {
      const auto digit = static_cast<std::int64_t>(raw >> (4 * i) & 0xF);
      if (digit > 9) return refuse("has a digit above 9, which is no BCD: 0x", hex(raw, digits));
      number = number * 10 + digit;
    }
    return integer(number);
  }

  Reading bits(std::uint64_t raw) {
    const std::uint64_t field = raw >> point_.bit & ((std::uint64_t{1} << point_.width) - 1);
    if (point_.width > 1) return integer(static_cast<std::int64_t>(field));
    out_ = field != 0;
    return Reading::value;
  }

  // Filled up with NUL or blanks. Not UTF-8: ISO 8859-1, as meters have it.
  Reading string(std::string text) {
    text.resize(std::min(text.find('\0'), text.size()));
    while (!text.empty() && text.back() == ' ') text.pop_back();
    if (text.empty()) return Reading::no_value;
    if (!good_utf8(text)) text = utf8_of_latin1(text);
    if (Status status = check_text_value(point_.name, text); !status.ok()) {
      why_ = status.detail();
      return Reading::refused;
    }
    out_ = std::move(text);
    return Reading::value;
  }

 private:
  static std::string hex(std::uint64_t raw, int digits) {
    std::string out;
    for (int i = digits - 1; i >= 0; --i) out += "0123456789ABCDEF"[raw >> (4 * i) & 0xF];
    return out;
  }

  bool says_none(double raw) const { return point_.no_value && *point_.no_value == raw; }

  Reading real(double raw) {
    const double value = scale_ == 1 && point_.offset == 0 ? raw : scaled(raw, scale_, point_.offset);
    if (!std::isfinite(value)) return refuse("does not fit a double: ", text(raw));
    out_ = value;
    judge(value);
    return Reading::value;
  }

  void judge(double value) {
    if ((point_.min && value < *point_.min) || (point_.max && value > *point_.max)) quality_ = Quality::bad;
  }

  Reading refuse(std::string_view what, const std::string& raw) {
    why_ = text("\"", point_.name, "\" ", what, raw);
    return Reading::refused;
  }

  const Point& point_;
  double scale_;
  Value& out_;
  Quality& quality_;
  std::string& why_;
};

std::string string_of(BytesView registers, WordOrder order) {
  std::string out(text_of(registers));
  if (bytes_swapped(order)) {
    for (std::size_t i = 0; i + 1 < out.size(); i += 2) std::swap(out[i], out[i + 1]);
  }
  return out;
}

}  // namespace

Reading read_point(const Point& point, BytesView registers, BytesView power, Value& out, Quality& quality,
                   std::string& why) {
  quality = Quality::good;
  double scale = point.scale;
  if (!power.empty()) {
    const auto tens = static_cast<std::int16_t>(number_of(power, point.order));
    if (tens == INT16_MIN) return Reading::no_value;  // SunSpec: not implemented
    if (std::abs(tens) > tens_max) {
      why = text("the scale_register of \"", point.name, "\" holds ", tens, ", which is no power of ten (-",
                 tens_max, " to ", tens_max, ")");
      return Reading::refused;
    }
    scale = tens < 0 ? scale / std::pow(10, -tens) : scale * std::pow(10, tens);
  }
  Reader reader(point, scale, out, quality, why);
  if (point.type == PointType::string) return reader.string(string_of(registers, point.order));
  const std::uint64_t raw = number_of(registers, point.order);
  switch (point.type) {
    case PointType::u16:
    case PointType::u32:
    case PointType::u64: return reader.unsigned_integer(raw);
    case PointType::i16: return reader.integer(static_cast<std::int16_t>(raw));
    case PointType::i32: return reader.integer(static_cast<std::int32_t>(raw));
    case PointType::i64: return reader.integer(static_cast<std::int64_t>(raw));
    case PointType::f32:
      return reader.floating(shortest(std::bit_cast<float>(static_cast<std::uint32_t>(raw))));
    case PointType::f64: return reader.floating(std::bit_cast<double>(raw));
    case PointType::bcd16: return reader.bcd(raw, 4);
    case PointType::bcd32: return reader.bcd(raw, 8);
    case PointType::bits: return reader.bits(raw);
    default: out = raw != 0; return Reading::value;  // a register that is a flag
  }
}

}  // namespace millrace
