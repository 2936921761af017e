#include "record/column_encoder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <optional>

#include "record/varint.h"

namespace millrace {
namespace {

enum ColumnType : std::uint32_t {
  decimal = 0,
  doubles = 1,
  floats = 2,
  float_decimal = 3,
  integers = 5,
  flags = 6
};

constexpr int exponent_max = std::size(wire::powers_of_ten) - 1;
constexpr double integer_limit = 9007199254740992.0;  // 2^53: below it m / 10^e is correctly rounded
constexpr std::int64_t fix_ulps_max = 1 << 20;
constexpr std::size_t sample_size = 48;

std::uint64_t bits_of(double v) { return std::bit_cast<std::uint64_t>(v); }
double double_of(std::uint64_t bits) { return std::bit_cast<double>(bits); }

struct ThroughDouble {
  static constexpr ColumnType type = decimal;
  static double value(std::int64_t number, int exponent) {
    return static_cast<double>(number) / wire::powers_of_ten[exponent];
  }
};
struct ThroughFloat {
  static constexpr ColumnType type = float_decimal;
  static double value(std::int64_t number, int exponent) {
    return static_cast<double>(
        static_cast<float>(static_cast<double>(number) / wire::powers_of_ten[exponent]));
  }
};

// The integer nearest to v * 10^e, or nothing when it is too large (or v is NaN or infinite).
inline bool nearest_integer(double v, int exponent, std::int64_t& number) {
  const double scaled = v * wire::powers_of_ten[exponent];
  if (!(std::fabs(scaled) < integer_limit)) return false;
  number = static_cast<std::int64_t>(scaled + std::copysign(0.5, scaled));
  return true;
}

template <typename Form>
inline bool exact(std::uint64_t bits, int exponent) {
  std::int64_t number = 0;
  return nearest_integer(double_of(bits), exponent, number) && bits_of(Form::value(number, exponent)) == bits;
}

// The smallest exponent exact for four fifths of a sample, and larger ones while each still wins a fiftieth.
template <typename Form>
std::optional<int> choose_exponent(std::span<const std::uint64_t> bits) {
  std::array<std::uint64_t, sample_size> sample;
  const std::size_t n = std::min(sample_size, bits.size());
  for (std::size_t i = 0; i < n; ++i) sample[i] = bits[i * bits.size() / n];
  const auto count_exact = [&](int exponent) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < n; ++i) count += exact<Form>(sample[i], exponent);
    return count;
  };
  for (int e = 0; e <= exponent_max; ++e) {
    std::size_t count = count_exact(e);
    if (count * 5 < n * 4) continue;
    while (e < exponent_max && count < n) {
      const std::size_t more = count_exact(e + 1);
      if (more < count + std::max<std::size_t>(1, n / 50)) break;
      count = more;
      ++e;
    }
    return e;
  }
  return std::nullopt;
}

struct Integers {  // numbers / factor, differenced `order` times
  std::vector<std::int64_t> values;
  std::uint64_t factor = 1;
  std::uint32_t order = 0;
  std::size_t bytes = 0;
};

std::int64_t minus(std::int64_t a, std::int64_t b) {  // wraps, as the reader's sum does
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}

std::size_t packed_bytes(std::uint64_t zigzagged) {
  return (static_cast<std::size_t>(std::bit_width(zigzagged | 1)) + 6) / 7;
}

// Divides by the common factor and differences as often as makes the varints smallest.
Integers shape(std::vector<std::int64_t> numbers) {
  Integers out;
  std::uint64_t factor = 0;
  for (const std::int64_t v : numbers) {
    if (factor == 1) break;
    const std::uint64_t magnitude = v < 0 ? 0 - static_cast<std::uint64_t>(v) : static_cast<std::uint64_t>(v);
    factor = std::gcd(factor, magnitude);
  }
  if (factor > 1 && factor < (std::uint64_t{1} << 62)) {
    for (std::int64_t& v : numbers) v /= static_cast<std::int64_t>(factor);
    out.factor = factor;
  }
  std::size_t size[3] = {0, 0, 0};
  std::int64_t previous = 0, previous_step = 0;
  for (const std::int64_t v : numbers) {
    const std::int64_t step = minus(v, previous);
    size[0] += packed_bytes(wire::zigzag(v));
    size[1] += packed_bytes(wire::zigzag(step));
    size[2] += packed_bytes(wire::zigzag(minus(step, previous_step)));
    previous = v;
    previous_step = step;
  }
  out.order = size[1] < size[0] ? 1 : 0;
  if (static_cast<double>(size[2]) < 0.97 * static_cast<double>(size[out.order])) out.order = 2;
  out.bytes = size[out.order];
  for (std::uint32_t round = 0; round < out.order; ++round) {
    for (std::size_t i = numbers.size(); i-- > 1;) numbers[i] = minus(numbers[i], numbers[i - 1]);
  }
  out.values = std::move(numbers);
  return out;
}

void put_integers(ColumnType type, int exponent, const Integers& integers, Bytes& out) {
  wire::Writer writer(out);
  writer.uint_field(2, type);
  writer.uint_field(3, static_cast<std::uint64_t>(exponent));
  writer.uint_field(4, integers.order);
  if (integers.factor != 1) writer.uint_field(5, integers.factor);
  encode_packed_sint(6, integers.values, out);
}

void put_packed(std::uint32_t field, const std::vector<std::uint64_t>& varints, Bytes& out) {
  if (varints.empty()) return;
  std::size_t size = 0;
  for (const std::uint64_t v : varints) size += wire::varint_size(v);
  wire::Writer writer(out);
  writer.tag(field, wire::length);
  writer.put_varint(size);
  for (const std::uint64_t v : varints) writer.put_varint(v);
}

struct Decimals {
  int exponent = 0;
  Integers integers;
  std::vector<std::uint64_t> fix_gap, fix_ulp, except_gap, except_bits;
  std::size_t bytes() const {
    std::size_t sum = integers.bytes + fix_gap.size() + except_gap.size() + 8 * except_bits.size();
    for (const std::uint64_t v : fix_ulp) sum += packed_bytes(v);
    return sum;
  }
};

// Every value as a decimal, as a decimal some ulps off, or as itself; nothing when over a quarter are no
// decimals.
template <typename Form>
std::optional<Decimals> as_decimals(std::span<const std::uint64_t> bits) {
  const auto exponent = choose_exponent<Form>(bits);
  if (!exponent) return std::nullopt;
  Decimals out;
  out.exponent = *exponent;
  std::vector<std::int64_t> numbers(bits.size());
  std::int64_t previous = 0;
  std::size_t last_fix = 0, last_except = 0;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    std::int64_t number = 0;
    if (nearest_integer(double_of(bits[i]), *exponent, number)) {
      const std::int64_t ulps = minus(static_cast<std::int64_t>(bits[i]),
                                      static_cast<std::int64_t>(bits_of(Form::value(number, *exponent))));
      if (ulps == 0) {
        numbers[i] = previous = number;
        continue;
      }
      if (ulps > -fix_ulps_max && ulps < fix_ulps_max) {
        out.fix_gap.push_back(i - last_fix);
        out.fix_ulp.push_back(wire::zigzag(ulps));
        last_fix = i;
        numbers[i] = previous = number;
        if (out.fix_gap.size() * 4 > bits.size()) return std::nullopt;
        continue;
      }
    }
    out.except_gap.push_back(i - last_except);
    out.except_bits.push_back(bits[i]);
    last_except = i;
    numbers[i] = previous;  // whatever keeps the differences small
    if (out.except_gap.size() * 4 > bits.size()) return std::nullopt;
  }
  out.integers = shape(std::move(numbers));
  return out;
}

void put_decimals(ColumnType type, const Decimals& decimals, Bytes& out) {
  put_integers(type, decimals.exponent, decimals.integers, out);
  put_packed(9, decimals.fix_gap, out);
  put_packed(10, decimals.fix_ulp, out);
  put_packed(11, decimals.except_gap, out);
  if (decimals.except_bits.empty()) return;
  wire::Writer writer(out);
  writer.tag(12, wire::length);
  writer.put_varint(8 * decimals.except_bits.size());
  for (const std::uint64_t v : decimals.except_bits) writer.put_fixed64(v);
}

// A float's bits survive the way through double, except that a signalling NaN would be quieted: those stay
// doubles.
bool is_float(std::uint64_t bits) {
  const double v = double_of(bits);
  if (std::isnan(v)) return false;
  return bits_of(static_cast<double>(static_cast<float>(v))) == bits;
}

void put_floats(std::span<const std::uint64_t> bits, Bytes& out) {
  wire::Writer writer(out);
  writer.uint_field(2, floats);
  writer.tag(8, wire::length);
  writer.put_varint(4 * bits.size());
  for (const std::uint64_t v : bits)
    writer.put_fixed32(std::bit_cast<std::uint32_t>(static_cast<float>(double_of(v))));
}

void put_doubles(std::span<const std::uint64_t> bits, Bytes& out) {
  wire::Writer writer(out);
  writer.uint_field(2, doubles);
  writer.tag(7, wire::length);
  writer.put_varint(8 * bits.size());
  for (const std::uint64_t v : bits) writer.put_fixed64(v);
}

}  // namespace

void encode_packed_sint(std::uint32_t field, std::span<const std::int64_t> values, Bytes& out) {
  std::size_t count = values.size();
  while (count > 0 && values[count - 1] == 0) --count;
  if (count == 0) return;
  std::size_t size = 0;
  for (std::size_t i = 0; i < count; ++i) size += packed_bytes(wire::zigzag(values[i]));
  wire::Writer writer(out);
  writer.tag(field, wire::length);
  writer.put_varint(size);
  const std::size_t at = out.size();
  out.resize(at + size);
  std::byte* to = out.data() + at;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t v = wire::zigzag(values[i]);
    while (v >= 0x80) {
      *to++ = static_cast<std::byte>(v | 0x80);
      v >>= 7;
    }
    *to++ = static_cast<std::byte>(v);
  }
}

// 1. Decimals with patches. 2. Where they cost over 4 bytes a value and all values are floats: decimals
// through float (21.4f), else floats. 3. Where they cost more than doubles: doubles.
void encode_numbers(std::span<const std::uint64_t> bits, Bytes& out) {
  const auto decimals = as_decimals<ThroughDouble>(bits);
  const std::size_t decimal_bytes = decimals ? decimals->bytes() : SIZE_MAX;
  if (decimal_bytes <= 4 * bits.size()) return put_decimals(decimal, *decimals, out);
  if (std::all_of(bits.begin(), bits.end(), is_float)) {
    const auto through_float = as_decimals<ThroughFloat>(bits);
    if (through_float && through_float->bytes() < 4 * bits.size())
      return put_decimals(float_decimal, *through_float, out);
    return put_floats(bits, out);
  }
  if (decimal_bytes < 8 * bits.size()) return put_decimals(decimal, *decimals, out);
  put_doubles(bits, out);
}

void encode_integers(std::span<const std::uint64_t> bits, bool are_flags, Bytes& out) {
  std::vector<std::int64_t> numbers(bits.begin(), bits.end());
  put_integers(are_flags ? flags : integers, 0, shape(std::move(numbers)), out);
}

}  // namespace millrace
