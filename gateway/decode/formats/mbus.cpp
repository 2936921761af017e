// Wired M-Bus (EN 13757-3): the variable data structure of a meter's answer, from the control field on, to
// readings with names and units: energy, volume, power, flow, temperatures, times. Values of other tariffs,
// units and storages carry them in their names, and those that are a maximum or a minimum say so.
#include <bit>
#include <cmath>
#include <optional>

#include "base/text.h"
#include "base/utf8.h"
#include "decode/format_kind.h"
#include "decode/named_values.h"

namespace millrace {
namespace {

// What a value is: value information of EN 13757-3, table 10. `exponent`: of ten, from the low bits of the
// code.
struct Meaning {
  std::uint8_t from, to;
  std::string_view name, unit;
  int exponent;
};
constexpr Meaning meanings[] = {{0x00, 0x07, "energy", "Wh", -3},
                                {0x08, 0x0f, "energy", "J", 0},
                                {0x10, 0x17, "volume", "m3", -6},
                                {0x18, 0x1f, "mass", "kg", -3},
                                {0x28, 0x2f, "power", "W", -3},
                                {0x30, 0x37, "power", "J/h", 0},
                                {0x38, 0x3f, "flow", "m3/h", -6},
                                {0x40, 0x47, "flow", "m3/min", -7},
                                {0x48, 0x4f, "flow", "m3/s", -9},
                                {0x50, 0x57, "mass_flow", "kg/h", -3},
                                {0x58, 0x5b, "flow_temperature", "C", -3},
                                {0x5c, 0x5f, "return_temperature", "C", -3},
                                {0x60, 0x63, "temperature_difference", "K", -3},
                                {0x64, 0x67, "external_temperature", "C", -3},
                                {0x68, 0x6b, "pressure", "bar", -3}};
// Table 12: behind 0xfd.
constexpr Meaning more_meanings[] = {{0x40, 0x4f, "voltage", "V", -9}, {0x50, 0x5f, "current", "A", -12}};
constexpr std::string_view spans[] = {"s", "min", "h", "d"};

struct Head {
  unsigned data = 0, function = 0, tariff = 0, subunit = 0;
  std::uint64_t storage = 0;
};

class MbusWalk {
 public:
  MbusWalk(NamedValues::Walk& values, BytesView bytes) : values_(values), bytes_(bytes) {}

  // Records one after the other; what comes behind one that cannot be read cannot be found.
  void records() {
    while (at_ < bytes_.size()) {
      const unsigned dif = byte();
      if (dif == 0x2f) continue;         // filler
      if ((dif & 0x0f) == 0x0f) return;  // the maker's own to the end
      if (!record(dif)) return values_.refuse("", text("a record that does not end: byte ", at_));
    }
  }

 private:
  unsigned byte() { return at_ < bytes_.size() ? static_cast<unsigned>(bytes_[at_++]) : (short_ = true, 0u); }

  bool record(unsigned dif) {
    Head head;
    head.data = dif & 0x0f;
    head.function = dif >> 4 & 3;
    head.storage = dif >> 6 & 1;
    unsigned more = dif;
    for (unsigned i = 0; (more & 0x80) != 0 && i < 10; ++i) {
      more = byte();
      head.storage |= static_cast<std::uint64_t>(more & 0x0f) << (1 + 4 * i);
      head.tariff |= (more >> 4 & 3) << std::min(2 * i, 30u);
      head.subunit |= (more >> 6 & 1) << std::min(i, 31u);
    }
    unsigned vif = byte();
    const Meaning* table = meanings;
    std::size_t rows = std::size(meanings);
    unsigned code = vif & 0x7f;
    bool plain_text = false, known = true;
    if (vif == 0xfd) {
      code = (vif = byte()) & 0x7f;
      table = more_meanings;
      rows = std::size(more_meanings);
    } else if (vif == 0xfb || vif == 0xff || vif == 0x7f) {
      known = false;
      if (vif != 0x7f) code = (vif = byte()) & 0x7f;
    }
    std::string own_unit;
    if (known && table == meanings && code == 0x7c) {  // the unit in words, the last letter first
      plain_text = true;
      for (unsigned left = byte(); left > 0 && !short_; --left)
        own_unit.insert(own_unit.begin(), static_cast<char>(byte()));
    }
    // What changes the meaning further (per hour, at a phase, an error) is not read: then the value is of no
    // known name.
    while ((vif & 0x80) != 0 && !short_) {
      vif = byte();
      known = false;
    }
    std::optional<double> value;
    std::optional<std::int64_t> whole;
    std::string words;
    if (!data(head.data, value, whole, words) || short_) return false;
    if (!value && words.empty()) {
      values_.nothing();
      return true;
    }
    values_.set_quality(head.function == 3 ? Quality::bad : Quality::good);
    tell(head, table, rows, code, known, plain_text, own_unit, value, whole, words);
    return true;
  }

  void tell(const Head& head, const Meaning* table, std::size_t rows, unsigned code, bool known,
            bool plain_text, const std::string& own_unit, std::optional<double> value,
            std::optional<std::int64_t> whole, const std::string& words) {
    const bool first = table == meanings;
    if (plain_text && value) return number(head, "value", *value, own_unit);
    if (plain_text) return values_.text_value(name_of(head, "value"), words);
    for (std::size_t i = 0; known && value && i < rows; ++i) {
      const Meaning& one = table[i];
      if (code < one.from || code > one.to) continue;
      return number(head, one.name, scaled(*value, static_cast<int>(code - one.from) + one.exponent),
                    one.unit);
    }
    if (known && first && value && code >= 0x20 && code <= 0x27)
      return number(head, code < 0x24 ? "on_time" : "operating_time", *value, spans[code & 3]);
    // Of other sizes they are other types: with seconds, a time of day alone.
    if (known && first && whole && ((code == 0x6c && head.data == 2) || (code == 0x6d && head.data == 4)))
      return moment(head, code == 0x6d, static_cast<std::uint64_t>(*whole));
    if (known && first && code == 0x6e && value) return number(head, "heat_cost_units", *value, "");
    if (known && first && code == 0x78 && value) return number(head, "fabrication_number", *value, "");
    if (known && first && code == 0x78) return values_.text_value(name_of(head, "fabrication_number"), words);
    if (known && !first && code == 0x17 && value) return number(head, "error_flags", *value, "");
    const std::string name = text("record_", ++unknown_);
    if (value) number(head, name, *value, "");
    else values_.text_value(name_of(head, name), words);
  }

  void number(const Head& head, std::string_view name, double value, std::string_view unit) {
    values_.number(name_of(head, name), value, unit);
  }

  static std::string name_of(const Head& head, std::string_view name) {
    std::string out(name);
    if (head.function == 1) out += "_max";
    if (head.function == 2) out += "_min";
    if (head.tariff > 0) out += text("_tariff_", head.tariff);
    if (head.subunit > 0) out += text("_unit_", head.subunit);
    if (head.storage > 0) out += text("_storage_", head.storage);
    return out;
  }

  // Only a quotient is exact.
  static double scaled(double value, int exponent) {
    return exponent < 0 ? value / std::pow(10.0, -exponent) : value * std::pow(10.0, exponent);
  }

  // Types G and F: days, and minutes, in local time; the meter's own, so a text.
  void moment(const Head& head, bool with_clock, std::uint64_t bits) {
    if (with_clock && (bits & 0x80) != 0) return values_.nothing();  // the meter says that its time is none
    const auto two = [](std::uint64_t n) { return text(n < 10 ? "0" : "", n); };
    const std::uint64_t day = with_clock ? bits >> 16 : bits;
    const std::uint64_t year = (day >> 5 & 7) | (day >> 9 & 0x78);
    std::string out = text(2000 + year, "-", two(day >> 8 & 15), "-", two(day & 31));
    if (with_clock) out += text(" ", two(bits >> 8 & 31), ":", two(bits & 63));
    values_.text_value(name_of(head, with_clock ? "meter_time" : "date"), out);
  }

  bool data(unsigned field, std::optional<double>& value, std::optional<std::int64_t>& whole,
            std::string& words) {
    static constexpr std::size_t sizes[] = {0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, 0, 6};
    if (field == 0x0d) return variable(words);
    const std::size_t size = sizes[field];
    if (bytes_.size() - at_ < size) return false;
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < size; ++i) bits |= static_cast<std::uint64_t>(bytes_[at_ + i]) << 8 * i;
    at_ += size;
    if (size == 0) return true;
    if (field == 5) value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    else if (field >= 9) value = bcd(bits, size);
    else whole = static_cast<std::int64_t>(bits << (64 - 8 * size)) >> (64 - 8 * size);
    if (whole) value = static_cast<double>(*whole);
    if (value && !std::isfinite(*value)) value.reset();
    return true;
  }

  // The highest digit F is a minus; any other that is none makes the value none (a sensor that is broken).
  static std::optional<double> bcd(std::uint64_t bits, std::size_t size) {
    double value = 0;
    bool negative = false;
    for (std::size_t i = size * 2; i-- > 0;) {
      const unsigned digit = static_cast<unsigned>(bits >> 4 * i & 15);
      if (digit == 15 && i == size * 2 - 1) negative = true;
      else if (digit > 9) return std::nullopt;
      else value = value * 10 + digit;
    }
    return negative ? -value : value;
  }

  // How many bytes follow (EN 13757-3, LVAR): text, BCD of either sign, numbers of up to 15 bytes, and of 16,
  // 20, 24, 28, 32, 48 and 64. Nothing: reserved.
  static std::optional<std::size_t> size_of(unsigned length) {
    if (length < 0xc0) return length;
    if (length < 0xf0) return length & 15;
    if (length <= 0xf4) return 4 * (length - 0xec);
    if (length == 0xf5) return 48;
    if (length == 0xf6) return 64;
    return std::nullopt;
  }

  // Text, the last letter first; other lengths (numbers of any size) are passed over.
  bool variable(std::string& words) {
    const unsigned length = byte();
    const auto given_size = size_of(length);
    if (short_ || !given_size || bytes_.size() - at_ < *given_size) return false;
    const std::size_t size = *given_size;
    if (length < 0xc0) {
      const std::string_view given = text_of(bytes_.subspan(at_, size));
      words = utf8_of_latin1(std::string(given.rbegin(), given.rend()));
    }
    at_ += size;
    return true;
  }

  NamedValues::Walk& values_;
  const BytesView bytes_;
  std::size_t at_ = 0;
  bool short_ = false;
  unsigned unknown_ = 0;
};

class MbusFormat final : public PayloadFormat {
 public:
  explicit MbusFormat(NamedValues plan) : plan_(std::move(plan)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    const BytesView bytes = payload.arrival.bytes;
    const auto at = [bytes](std::size_t i) { return static_cast<unsigned>(bytes[i]); };
    if (bytes.size() == 1 && at(0) == 0xe5) {
      ++unread.no_value;
      return {};
    }
    // Control information: 0x72 a long header, 0x7a a short one, 0x78 none.
    const std::size_t header = bytes.size() < 3 ? 0
                               : at(2) == 0x72  ? 12
                               : at(2) == 0x7a  ? 4
                               : at(2) == 0x78  ? 0
                                                : SIZE_MAX;
    if (bytes.size() < 3 || header == SIZE_MAX)
      return {Code::invalid, "M-Bus: not an answer with variable data (control information 72, 7A or 78)"};
    if (bytes.size() < 3 + header) return {Code::invalid, "M-Bus: the header is cut off"};
    NamedValues::Walk values(plan_, payload, out, unread);
    if (header == 12) values.text_value("meter_id", identity(bytes.subspan(3)));
    MbusWalk(values, bytes.subspan(3 + header)).records();
    return {};
  }

  RouteJudge* judge() const override { return plan_.judge(); }

 private:
  // Number (BCD), maker (three letters of five bits), version and medium: "12345678.PAD.1.7".
  static std::string identity(BytesView head) {
    std::string out;
    for (std::size_t i = 4; i-- > 0;) out += to_hex(head.subspan(i, 1));
    const unsigned maker = static_cast<unsigned>(head[4]) | static_cast<unsigned>(head[5]) << 8;
    out += ".";
    for (const int shift : {10, 5, 0}) out += static_cast<char>('@' + (maker >> shift & 31));
    return text(out, ".", static_cast<unsigned>(head[6]), ".", static_cast<unsigned>(head[7]));
  }

  NamedValues plan_;
};

}  // namespace

extern const FormatKind mbus_format_kind;
const FormatKind mbus_format_kind =
    judged(format_kind("mbus", "wired M-Bus", make_of_plan<MbusFormat, NamedValues::make>));

}  // namespace millrace
