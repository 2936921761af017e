// Wired M-Bus (EN 13757-3): the variable data structure of a meter's answer, from the control field on, to
// readings with names and units: energy, volume, power, flow, temperatures, times. Values of other tariffs,
// units and storages carry them in their names, and those that are a maximum or a minimum say so.
#include <bit>
#include <cmath>
#include <optional>
#include <span>

#include "base/text.h"
#include "base/utf8.h"
#include "decode/format_kind.h"
#include "decode/mbus_records.h"
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

// A record of variable length that is text.
bool is_text(const MbusRecord& record) { return record.field == 0x0d && record.length < 0xc0; }

class MbusWalk {
 public:
  MbusWalk(NamedValues::Walk& values, BytesView bytes) : values_(values), records_(bytes) {}

  // Records one after the other; what comes behind one that cannot be read cannot be found.
  void records() {
    MbusRecord record;
    while (true) {
      switch (records_.next(record)) {
        case MbusRecords::Found::record: take(record); break;
        case MbusRecords::Found::broken:
          return values_.refuse("", text("a record that does not end: byte ", records_.at()));
        default: return;
      }
    }
  }

 private:
  void take(const MbusRecord& record) {
    std::optional<double> value;
    std::optional<std::int64_t> whole;
    std::string words;
    if (is_text(record)) {
      const std::string_view given = text_of(record.data);
      words = utf8_of_latin1(std::string(given.rbegin(), given.rend()));  // the last letter first
    } else if (record.field != 0x0d) {  // other variable lengths (numbers of any size) are passed over
      number_of(record, value, whole);
    }
    if (!value && words.empty()) return values_.nothing();
    values_.set_quality(record.function == 3 ? Quality::bad : Quality::good);
    tell(record, value, whole, words);
  }

  void tell(const MbusRecord& record, std::optional<double> value, std::optional<std::int64_t> whole,
            const std::string& words) {
    const bool known = record.known, first = !record.second;
    const unsigned code = record.code;
    if (record.plain_text && value) return number(record, "value", *value, record.unit);
    if (record.plain_text) return values_.text_value(name_of(record, "value"), words);
    const std::span<const Meaning> table = first ? std::span<const Meaning>(meanings) : more_meanings;
    for (const Meaning& one : table) {
      if (!known || !value || code < one.from || code > one.to) continue;
      return number(record, one.name, scaled(*value, static_cast<int>(code - one.from) + one.exponent),
                    one.unit);
    }
    if (known && first && value && code >= 0x20 && code <= 0x27)
      return number(record, code < 0x24 ? "on_time" : "operating_time", *value, spans[code & 3]);
    // Of other sizes they are other types: with seconds, a time of day alone.
    if (known && first && whole &&
        ((code == 0x6c && record.field == 2) || (code == 0x6d && record.field == 4)))
      return moment(record, code == 0x6d, static_cast<std::uint64_t>(*whole));
    if (known && first && code == 0x6e && value) return number(record, "heat_cost_units", *value, "");
    if (known && first && code == 0x78 && value) return number(record, "fabrication_number", *value, "");
    if (known && first && code == 0x78)
      return values_.text_value(name_of(record, "fabrication_number"), words);
    if (known && !first && code == 0x17 && value) return number(record, "error_flags", *value, "");
    const std::string name = text("record_", ++unknown_);
    if (value) number(record, name, *value, "");
    else values_.text_value(name_of(record, name), words);
  }

  void number(const MbusRecord& record, std::string_view name, double value, std::string_view unit) {
    values_.number(name_of(record, name), value, unit);
  }

  static std::string name_of(const MbusRecord& record, std::string_view name) {
    std::string out(name);
    if (record.function == 1) out += "_max";
    if (record.function == 2) out += "_min";
    if (record.tariff > 0) out += text("_tariff_", record.tariff);
    if (record.subunit > 0) out += text("_unit_", record.subunit);
    if (record.storage > 0) out += text("_storage_", record.storage);
    return out;
  }

  // Only a quotient is exact.
  static double scaled(double value, int exponent) {
    return exponent < 0 ? value / std::pow(10.0, -exponent) : value * std::pow(10.0, exponent);
  }

  // Types G and F: days, and minutes, in local time; the meter's own, so a text.
  void moment(const MbusRecord& record, bool with_clock, std::uint64_t bits) {
    if (with_clock && (bits & 0x80) != 0) return values_.nothing();  // the meter says that its time is none
    const auto two = [](std::uint64_t n) { return text(n < 10 ? "0" : "", n); };
    const std::uint64_t day = with_clock ? bits >> 16 : bits;
    const std::uint64_t year = (day >> 5 & 7) | (day >> 9 & 0x78);
    std::string out = text(2000 + year, "-", two(day >> 8 & 15), "-", two(day & 31));
    if (with_clock) out += text(" ", two(bits >> 8 & 31), ":", two(bits & 63));
    values_.text_value(name_of(record, with_clock ? "meter_time" : "date"), out);
  }

  static void number_of(const MbusRecord& record, std::optional<double>& value,
                        std::optional<std::int64_t>& whole) {
    const std::size_t size = record.data.size();
    if (size == 0) return;
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < size; ++i) bits |= static_cast<std::uint64_t>(record.data[i]) << 8 * i;
    if (record.field == 5) value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    else if (record.field >= 9) value = bcd(bits, size);
    else whole = static_cast<std::int64_t>(bits << (64 - 8 * size)) >> (64 - 8 * size);
    if (whole) value = static_cast<double>(*whole);
    if (value && !std::isfinite(*value)) value.reset();
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

  NamedValues::Walk& values_;
  MbusRecords records_;
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
    const std::size_t begin = mbus_records_at(bytes);
    if (begin == SIZE_MAX)
      return {Code::invalid, "M-Bus: not an answer with variable data (control information 72, 7A or 78)"};
    if (bytes.size() < begin) return {Code::invalid, "M-Bus: the header is cut off"};
    NamedValues::Walk values(plan_, payload, out, unread);
    if (at(2) == 0x72) values.text_value("meter_id", identity(bytes.subspan(3)));
    MbusWalk(values, bytes.subspan(begin)).records();
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
