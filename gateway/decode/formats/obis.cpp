// Telegrams of meters (IEC 62056-21; P1 ports as DSMR and its neighbours have them) to readings: names of the
// common OBIS codes (IEC 62056-61) with the meter's own units, all others by their code.
#include <algorithm>
#include <charconv>
#include <utility>

#include "base/ascii.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/format_kind.h"
#include "decode/named_values.h"

namespace millrace {
namespace {

struct Code {
  std::string_view code, name;  // without medium and channel
};
constexpr Code codes[] = {{"1.8.0", "energy_import"},
                          {"1.8.1", "energy_import_tariff_1"},
                          {"1.8.2", "energy_import_tariff_2"},
                          {"1.8.3", "energy_import_tariff_3"},
                          {"1.8.4", "energy_import_tariff_4"},
                          {"2.8.0", "energy_export"},
                          {"2.8.1", "energy_export_tariff_1"},
                          {"2.8.2", "energy_export_tariff_2"},
                          {"2.8.3", "energy_export_tariff_3"},
                          {"2.8.4", "energy_export_tariff_4"},
                          {"3.8.0", "reactive_energy_import"},
                          {"4.8.0", "reactive_energy_export"},
                          {"1.7.0", "power_import"},
                          {"2.7.0", "power_export"},
                          {"3.7.0", "reactive_power_import"},
                          {"4.7.0", "reactive_power_export"},
                          {"16.7.0", "power"},
                          {"21.7.0", "power_import_l1"},
                          {"22.7.0", "power_export_l1"},
                          {"41.7.0", "power_import_l2"},
                          {"42.7.0", "power_export_l2"},
                          {"61.7.0", "power_import_l3"},
                          {"62.7.0", "power_export_l3"},
                          {"32.7.0", "voltage_l1"},
                          {"52.7.0", "voltage_l2"},
                          {"72.7.0", "voltage_l3"},
                          {"31.7.0", "current_l1"},
                          {"51.7.0", "current_l2"},
                          {"71.7.0", "current_l3"},
                          {"14.7.0", "frequency"},
                          {"13.7.0", "power_factor"},
                          {"96.14.0", "tariff"},
                          {"96.7.21", "power_failures"},
                          {"96.7.9", "long_power_failures"},
                          {"32.32.0", "voltage_sags_l1"},
                          {"52.32.0", "voltage_sags_l2"},
                          {"72.32.0", "voltage_sags_l3"},
                          {"32.36.0", "voltage_swells_l1"},
                          {"52.36.0", "voltage_swells_l2"},
                          {"72.36.0", "voltage_swells_l3"},
                          {"96.3.10", "breaker"},
                          {"17.0.0", "power_limit"},
                          {"96.13.0", "message"},
                          {"96.13.1", "message_code"},
                          {"96.1.1", "meter_id"},
                          {"1.4.0", "power_import_average"},
                          {"1.6.0", "power_import_month_peak"}};

// "0-1:24.2.1": medium, channel (of a meter behind this one), and the rest.
struct Address {
  std::string_view whole, code;
  int channel = 0;
};

Address address_of(std::string_view given) {
  Address out{given, given, 0};
  if (const std::size_t colon = given.find(':'); colon != std::string_view::npos) {
    out.code = given.substr(colon + 1);
    const std::size_t dash = given.find('-');
    if (dash < colon) std::from_chars(given.data() + dash + 1, given.data() + colon, out.channel);
  }
  // Behind the star stands which billing period it was; 255 is the one that runs (IEC 62056-61, 5.5). What
  // was stored at the end of another, or by hand ('&'), is no reading of now, and keeps its whole code.
  if (out.code.ends_with("*255")) out.code.remove_suffix(4);
  return out;
}

std::string name_of(const Address& address) {
  // gas, heat and water hang on the electricity meter's channels
  if (address.channel > 0 && address.channel < 100) {
    if (address.code == "24.2.1" || address.code == "24.2.3" || address.code == "24.3.0")
      return text("meter_", address.channel, "_reading");
    if (address.code == "96.1.0" || address.code == "96.1.1" || address.code == "96.1.2")
      return text("meter_", address.channel, "_id");
    if (address.code == "24.1.0") return text("meter_", address.channel, "_type");
    if (address.code == "24.4.0") return text("meter_", address.channel, "_valve");
    return std::string(address.whole);
  }
  for (const Code& one : codes) {
    if (one.code == address.code) return std::string(one.name);
  }
  return std::string(address.whole);
}

std::optional<int> digits_of(std::string_view field, std::size_t at) {
  if (field.size() < at + 2 || !is_digit(field[at]) || !is_digit(field[at + 1])) return std::nullopt;
  return (field[at] - '0') * 10 + field[at + 1] - '0';
}

// YYMMDDhhmmss, and S or W for summer and winter time.
bool is_time(std::string_view value) {
  if (value.size() == 13 && (value.back() == 'S' || value.back() == 'W')) value.remove_suffix(1);
  return value.size() == 12 && std::all_of(value.begin(), value.end(), is_digit);
}

// As if it were UTC; nothing: the digits are no date.
std::optional<WallTime> local_time_of(std::string_view value) {
  if (!is_time(value)) return std::nullopt;
  const auto part = [value](std::size_t at) { return digits_of(value, at).value_or(-1); };
  return utc_of(2000 + part(0), part(2), part(4), part(6), part(8), part(10), 0);
}

// When a maximum was, or when a value was stored: YYMMDDhhmm, with seconds or without, in one or as
// "YY-MM-DD hh:mm"; zeros: never. As is_time() has it; "": it is none.
std::string stamp_of(std::string_view group) {
  std::string digits;
  for (const char c : group) {
    if (is_digit(c)) digits += c;
    else if (std::string_view("-:., ").find(c) == std::string_view::npos) return {};
  }
  if (digits.size() == 10) digits += "00";
  const bool never = digits == "000000000000";
  return never || local_time_of(digits) ? digits : std::string();
}

// In winter that is an hour, in summer two hours ahead of UTC, where P1 ports are at home; a route's
// time_zone says otherwise, and the letter, which of the two hours it is in autumn.
std::optional<WallTime> time_of(std::string_view value, const TimeZone* zone) {
  const auto local = local_time_of(value);
  if (!local) return std::nullopt;
  if (zone) return WallTime{zone->utc_of_local(local->us / 1'000'000, value.back() == 'W') * 1'000'000};
  if (value.size() != 13) return std::nullopt;  // nobody knows which
  return WallTime{local->us - (value.back() == 'S' ? 2 : 1) * 3'600'000'000LL};
}

// Of times without a letter.
const TimeZone& home() {
  static const auto zone = std::move(TimeZone::parse("CET-1CEST,M3.5.0,M10.5.0/3")).value();
  return *zone;
}

// Some meters fill up with blanks what others fill with zeros.
std::optional<double> number_of(std::string_view value) {
  double number = 0;
  value = trim(value);
  if (value.empty() || value.find_first_not_of("+-0123456789.") != std::string_view::npos)
    return std::nullopt;
  if (value.front() == '+') value.remove_prefix(1);
  const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
  if (read.ec != std::errc{} || read.ptr != value.data() + value.size()) return std::nullopt;
  return number;
}

class ObisWalk {
 public:
  ObisWalk(const NamedValues& plan, const Payload& payload, std::vector<Record>& out, Unread& unread)
      : plan_(plan), values_(plan, payload, out, unread), arrival_(payload.arrival) {}

  void telegram(std::string_view rest) {
    telegram_time_ = find_time(rest);
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find_first_of("\r\n"), rest.size());
      line(trim(rest.substr(0, end)));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  std::uint32_t places() const { return values_.places(); }

 private:
  // It stands at the top, but nobody says that it must.
  std::optional<WallTime> find_time(std::string_view all) const {
    for (const std::string_view code : {"0-0:1.0.0(", "1-0:1.0.0("}) {
      const std::size_t at = all.find(code);
      if (at == std::string_view::npos) continue;
      const std::string_view behind = all.substr(at + code.size());
      return time_of(behind.substr(0, std::min(behind.find(')'), behind.size())), plan_.times().zone.get());
    }
    return std::nullopt;
  }

  void line(std::string_view line) {
    while (!line.empty() && (line.front() == '\x02' || line.front() == '\x03')) line.remove_prefix(1);
    if (line.empty() || line.front() == '/' || line.front() == '!') return;
    const std::size_t open = line.find('(');
    if (open == std::string_view::npos)
      return values_.refuse("", text("no value in brackets: \"", shown(line, 40), "\""));
    const std::string_view unit = std::exchange(unit_, {});
    const bool of_line_before = open == 0 && !unit.empty();
    if (open > 0) address_ = address_of(line.substr(0, open));
    else if (address_.whole.empty()) return values_.refuse("", "a value without a code");
    if (!of_line_before) name_ = only_once(name_of(address_));
    std::vector<std::string_view> groups;
    for (std::string_view rest = line.substr(open); rest.starts_with('(');) {
      const std::size_t close = rest.find(')');
      if (close == std::string_view::npos)
        return values_.refuse(name_, text("a bracket that does not close: \"", shown(line, 40), "\""));
      groups.push_back(rest.substr(1, close - 1));
      rest.remove_prefix(close + 1);
      if (!rest.empty() && rest.front() != '(')
        return values_.refuse(name_, text("something behind the value: \"", shown(line, 40), "\""));
    }
    if (of_line_before) old_gas_value(groups.size() == 1 ? groups[0] : line, unit);
    else take(groups);
  }

  // A telegram has no two readings of one name: the second is called by its code.
  std::string only_once(const std::string& name) { return names_.take(name, std::string(address_.whole)); }

  // A meter behind this one that was not read says 0, and a time that is none, that lies ahead or is of its
  // epoch: 632525252525W, 700101010000W (dsmr_parser, issues 51 and 120).
  bool was_read(std::string_view time) const {
    constexpr std::int64_t day_us = 86'400'000'000, zone_us = day_us / 2;
    const auto local = local_time_of(time);
    if (!local) return false;
    const auto now = telegram_time_           ? telegram_time_
                     : arrival_.clock_trusted ? std::optional(arrival_.received)
                                              : std::nullopt;
    return !now || (local->us <= now->us + day_us + zone_us && local->us >= now->us - 20 * 365 * day_us);
  }

  // (value*unit), (time)(value*unit), (value*unit)(time), or lists that we leave alone as a text.
  void take(const std::vector<std::string_view>& groups) {
    values_.set_time(telegram_time_);
    if (address_.code == "1.0.0" && is_time(groups[0]))
      return values_.text_value(only_once("meter_time"), groups[0]);
    if (groups.size() == 1) return value(groups[0]);
    const bool is_value = groups[0].find_first_of("*.") != std::string_view::npos;
    const bool of_time =
        groups.size() == 2 && (is_time(groups[0]) || (name_.ends_with("_reading") && !is_value));
    if (of_time && !was_read(groups[0])) return values_.nothing();
    if (of_time) {
      values_.set_time(time_of(groups[0], plan_.times().zone.get()));
      return value(groups[1]);
    }
    if (groups.size() == 2 && groups[0].find('*') != std::string_view::npos && !stamp_of(groups[1]).empty()) {
      const auto time = time_of(stamp_of(groups[1]), plan_.times().zone.get());
      values_.set_time(time ? time : telegram_time_);
      return value(groups[0]);
    }
    if (address_.code == "24.3.0" && old_gas(groups)) return;
    std::string all;
    for (const std::string_view group : groups) all += text("(", group, ")");
    values_.text_value(name_, all);
  }

  // DSMR 2 and 3: (time)(status)(interval)(1)(code)(unit), and the value behind them or alone in the next
  // line. False: it is no such list.
  bool old_gas(const std::vector<std::string_view>& groups) {
    const auto code = std::ranges::find_if(groups, [](auto group) { return group.find(':') != group.npos; });
    const std::ptrdiff_t behind = groups.end() - code;
    if (behind < 2 || behind > 3) return false;
    read_ = was_read(groups[0]);
    const TimeZone* zone = plan_.times().zone.get();
    time_ = time_of(groups[0], zone ? zone : &home());
    if (behind == 3) old_gas_value(code[2], code[1]);
    else unit_ = code[1];
    return true;
  }

  void old_gas_value(std::string_view group, std::string_view unit) {
    if (!read_) return values_.nothing();
    values_.set_time(time_ ? time_ : telegram_time_);
    if (const auto number = number_of(group)) values_.number(name_, *number, unit);
    else values_.refuse(name_, text("not a number: \"", shown(group, 40), "\""));
  }

  void value(std::string_view group) {
    const std::size_t star = group.find('*');
    const std::string_view value = group.substr(0, star);
    if (star != std::string_view::npos) {
      const auto number = number_of(value);
      if (!number) return values_.refuse(name_, text("not a number: \"", shown(group, 40), "\""));
      return values_.number(name_, *number, group.substr(star + 1));
    }
    if (value.empty()) return values_.nothing();
    // Long digits are an identity, not a count, unless there is a point among them or the code says what is
    // counted.
    const bool named = name_ != address_.whole && !name_.starts_with("message");
    const bool counts =
        value.size() <= 9 || value.find('.') != std::string_view::npos || (named && value.size() <= 15);
    const auto number = counts && !name_.ends_with("_id") ? number_of(value) : std::nullopt;
    if (number) values_.number(name_, *number);
    else values_.text_value(name_, value);
  }

  const NamedValues& plan_;
  NamedValues::Walk values_;
  const Arrival& arrival_;
  OwnNames names_;  // that values of this telegram have
  std::optional<WallTime> telegram_time_;
  Address address_;
  std::string name_;
  std::string_view unit_;  // of a value that comes in the next line
  std::optional<WallTime> time_;
  bool read_ = true;  // the meter whose value that is
};

class ObisFormat final : public PayloadFormat {
 public:
  explicit ObisFormat(NamedValues plan) : plan_(std::move(plan)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    ObisWalk walk(plan_, payload, out, unread);
    walk.telegram(text_of(payload.arrival.bytes));
    if (walk.places() == 0) ++unread.no_value;
    return {};
  }

  RouteJudge* judge() const override { return plan_.judge(); }

 private:
  NamedValues plan_;
};

}  // namespace

extern const FormatKind obis_format_kind;
const FormatKind obis_format_kind =
    judged(format_kind("obis", "telegrams of meters", make_of_plan<ObisFormat, NamedValues::make>));

}  // namespace millrace
