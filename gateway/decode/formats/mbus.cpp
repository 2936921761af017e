// Wired M-Bus (EN 13757-3): the variable data structure of a meter's answer (of old ones the fixed one), from
// the control field on, to readings with names and units: energy, volume, power, flow, temperatures, times.
// Values of other tariffs, units and storages carry them in their names, and those that are a maximum or a
// minimum say so.
#include <bit>
#include <cmath>
#include <optional>
#include <span>

#include "base/text.h"
#include "base/utf8.h"
#include "decode/byte_order.h"
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
// Behind 0xfb: what large meters count, in MWh, GJ, hundreds of m3 and of tonnes, MW and GJ/h.
constexpr Meaning large_meanings[] = {{0x00, 0x01, "energy", "Wh", 5},   {0x08, 0x09, "energy", "J", 8},
                                      {0x10, 0x11, "volume", "m3", 2},   {0x18, 0x19, "mass", "kg", 5},
                                      {0x1a, 0x1b, "humidity", "%", -1}, {0x28, 0x29, "power", "W", 5},
                                      {0x30, 0x31, "power", "J/h", 8}};
std::span<const Meaning> meanings_of(MbusRecord::Codes codes) {
  switch (codes) {
    case MbusRecord::Codes::behind_fd: return more_meanings;
    case MbusRecord::Codes::behind_fb: return large_meanings;
    default: return meanings;
  }
}
constexpr std::string_view spans[] = {"s", "min", "h", "d"};

// A record of variable length that is text.
bool is_text(const MbusRecord& record) { return record.field == 0x0d && record.length < 0xc0; }

// Only a quotient is exact.
double by_ten(double value, int exponent) {
  return exponent < 0 ? value / std::pow(10.0, -exponent) : value * std::pow(10.0, exponent);
}

// The highest digit F is a minus; any other that is none makes the value none (a sensor that is broken).
std::optional<double> bcd_of(std::uint64_t bits, std::size_t size) {
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

std::uint64_t lowest_first(BytesView bytes) { return number_in(bytes, true, false, false); }

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
    const What what = what_of(record);
    const std::string name = only_once(name_of(record, what.name));
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
    if (what.moment && whole) return moment(name, record.field == 4, static_cast<std::uint64_t>(*whole));
    const int factor = record.known ? record.tens : 0;
    if (value) values_.number(name, by_ten(*value, what.exponent + factor), what.unit);
    else values_.text_value(name, words);
  }

  struct What {
    std::string name;
    std::string_view unit;
    int exponent = 0;
    bool moment = false;
  };
  // By what the record is about alone, never by what it says: names do not move when a value is none.
  What what_of(const MbusRecord& record) {
    const bool known = record.known, first = record.codes == MbusRecord::Codes::main;
    const unsigned code = record.code;
    if (!known) return {text("record_", ++unknown_), {}};
    if (record.plain_text) return {"value", record.unit};
    for (const Meaning& one : meanings_of(record.codes)) {
      if (code >= one.from && code <= one.to && !is_text(record))
        return {std::string(one.name), one.unit, static_cast<int>(code - one.from) + one.exponent};
    }
    if (first && code >= 0x20 && code <= 0x27 && !is_text(record))
      return {code < 0x24 ? "on_time" : "operating_time", spans[code & 3]};
    // Of other sizes they are other types: with seconds, a time of day alone.
    if (first && code == 0x6c && record.field == 2) return {"date", {}, 0, true};
    if (first && code == 0x6d && record.field == 4) return {"meter_time", {}, 0, true};
    if (first && code == 0x6e && !is_text(record)) return {"heat_cost_units", {}};
    if (first && code == 0x78) return {"fabrication_number", {}};
    if (record.codes == MbusRecord::Codes::behind_fd && code == 0x17 && !is_text(record))
      return {"error_flags", {}};
    return {text("record_", ++unknown_), {}};
  }

  // Two records of one meaning (other units, more digits, a sensor of its own) are two readings.
  std::string only_once(const std::string& name) { return names_.take(name, name); }

  static std::string name_of(const MbusRecord& record, std::string_view name) {
    std::string out(name);
    if (record.function == 1) out += "_max";
    if (record.function == 2) out += "_min";
    if (record.tariff > 0) out += text("_tariff_", record.tariff);
    if (record.subunit > 0) out += text("_unit_", record.subunit);
    if (record.storage > 0) out += text("_storage_", record.storage);
    return out;
  }

  // Types G and F: days, and minutes, in local time; the meter's own, so a text. What is no day of any year
  // (all bits: there is none; no day: each) is nothing.
  void moment(const std::string& name, bool with_clock, std::uint64_t bits) {
    if (with_clock && (bits & 0x80) != 0) return values_.nothing();  // the meter says that its time is none
    const auto two = [](std::uint64_t n) { return text(n < 10 ? "0" : "", n); };
    const std::uint64_t date = with_clock ? bits >> 16 : bits;
    const std::uint64_t year = (date >> 5 & 7) | (date >> 9 & 0x78), month = date >> 8 & 15, day = date & 31;
    const std::uint64_t hour = with_clock ? bits >> 8 & 31 : 0, minute = with_clock ? bits & 63 : 0;
    const auto number = [](std::uint64_t n) { return static_cast<int>(n); };
    if (year > 99 ||
        !utc_of(2000 + number(year), number(month), number(day), number(hour), number(minute), 0, 0))
      return values_.nothing();
    std::string out = text(2000 + year, "-", two(month), "-", two(day));
    if (with_clock) out += text(" ", two(hour), ":", two(minute));
    values_.text_value(name, out);
  }

  static void number_of(const MbusRecord& record, std::optional<double>& value,
                        std::optional<std::int64_t>& whole) {
    const std::size_t size = record.data.size();
    if (size == 0) return;
    const std::uint64_t bits = lowest_first(record.data);
    if (record.field == 5) value = shortest(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    else if (record.field >= 9) value = bcd_of(bits, size);
    else whole = static_cast<std::int64_t>(bits << (64 - 8 * size)) >> (64 - 8 * size);
    if (whole) value = static_cast<double>(*whole);
    if (value && !std::isfinite(*value)) value.reset();
  }

  NamedValues::Walk& values_;
  MbusRecords records_;
  OwnNames names_;
  unsigned unknown_ = 0;
};

// The fixed data structure of old meters (EN 13757-3, annex; CI 73): number, access, status, what each of two
// counters counts, and the counters, four bytes each, the lowest first.
class FixedData {
 public:
  static constexpr std::size_t size = 16;

  explicit FixedData(BytesView frame) : number_(mbus_number(frame)), data_(frame.subspan(3)) {}

  Status read(NamedValues::Walk& values) const {
    const unsigned status = at(5), first = at(6) & 63, second = at(7) & 63;
    // Which bit says that the counters are binary, or of a date gone by, is read both ways in the field.
    if ((status & 0xc3) != 0)
      return {Code::invalid, text("M-Bus: fixed data with status ", status,
                                  ": counters that are binary, or of a date gone by, are not read")};
    values.text_value("meter_id", number_);
    values.set_quality(status == 0 ? Quality::good : Quality::uncertain);  // it says that something is wrong
    const Counted what = counted(first);
    counter(values, std::string(what.name), what, 8);
    const Counted other = second == same_but_stored ? what : counted(second);
    const bool twice = other.name == what.name;
    counter(values,
            text(other.name, second == same_but_stored ? "_storage_1"
                             : twice                   ? "_2"
                                                       : ""),
            other, 12);
    return {};
  }

 private:
  struct Counted {
    std::string_view name, unit;
    int exponent = 0;
  };
  static constexpr unsigned same_but_stored = 0x3e;
  static Counted counted(unsigned code) {
    static constexpr Meaning rows[] = {
        {0x02, 0x0a, "energy", "Wh", 0},      {0x0b, 0x13, "energy", "J", 3},
        {0x14, 0x1c, "power", "W", 0},        {0x1d, 0x25, "power", "J/h", 3},
        {0x26, 0x2e, "volume", "m3", -6},     {0x2f, 0x37, "flow", "m3/h", -6},
        {0x38, 0x38, "temperature", "C", -3}, {0x39, 0x39, "heat_cost_units", "", 0},
        {0x3f, 0x3f, "counter", "", 0}};
    for (const Meaning& row : rows) {
      if (code >= row.from && code <= row.to)
        return {row.name, row.unit, row.exponent + static_cast<int>(code - row.from)};
    }
    return {};  // a time of day, a date, or reserved
  }
  void counter(NamedValues::Walk& values, const std::string& name, const Counted& what,
               std::size_t from) const {
    const auto value = bcd_of(lowest_first(data_.subspan(from, 4)), 4);
    if (what.name.empty() || !value) return values.nothing();
    values.number(name, by_ten(*value, what.exponent), what.unit);
  }
  unsigned at(std::size_t i) const { return static_cast<unsigned>(data_[i]); }

  const std::string number_;
  const BytesView data_;
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
    if (bytes.size() == 3 + FixedData::size && at(2) == 0x73) {
      NamedValues::Walk values(plan_, payload, out, unread);
      return FixedData(bytes).read(values);
    }
    const std::size_t begin = mbus_records_at(bytes);
    if (begin == SIZE_MAX)
      return {Code::invalid, "M-Bus: not an answer with data (control information 72, 73, 7A or 78)"};
    if (bytes.size() < begin) return {Code::invalid, "M-Bus: the header is cut off"};
    if (const unsigned mode = encrypted_by(bytes.first(begin), bytes.subspan(begin)); mode != 0)
      return {Code::invalid, text("M-Bus: encrypted (mode ", mode, "), which is not read")};
    NamedValues::Walk values(plan_, payload, out, unread);
    if (at(2) == 0x72) values.text_value("meter_id", identity(bytes));
    MbusWalk(values, bytes.subspan(begin)).records();
    return {};
  }

  RouteJudge* judge() const override { return plan_.judge(); }

 private:
  // The configuration word ends a header: how much is encrypted in its low byte, and by which mode in five
  // bits of the other (EN 13757-7). Old meters have anything there, of modes that there are not: those are
  // plain, and so is what begins with the fillers that show that somebody has decrypted it.
  static unsigned encrypted_by(BytesView head, BytesView records) {
    constexpr unsigned first_mode = 2, last_mode = 15;
    if (head.size() <= 3) return 0;  // control information 78 has no header
    const unsigned mode = static_cast<unsigned>(head.back()) & 0x1f;
    const bool some = head[head.size() - 2] != std::byte{0};
    constexpr std::byte filler{0x2f};
    const bool decrypted = records.size() >= 2 && records[0] == filler && records[1] == filler;
    return some && !decrypted && mode >= first_mode && mode <= last_mode ? mode : 0;
  }

  // Number (BCD), maker (three letters of five bits), version and medium: "12345678.PAD.1.7".
  static std::string identity(BytesView frame) {
    const BytesView head = frame.subspan(3);
    const unsigned maker = static_cast<unsigned>(head[4]) | static_cast<unsigned>(head[5]) << 8;
    std::string out = text(mbus_number(frame), ".");
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
