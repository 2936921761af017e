// NMEA 0183 (IEC 61162-1): sentences to readings with names and units. Positions, courses, winds, depths,
// temperatures and transducers are read; every other sentence, AIS and what is a maker's own among them, is
// passed on whole, as a text.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/ascii.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/format_kind.h"
#include "decode/named_values.h"
#include "decode/sentence.h"

namespace millrace {
namespace {

constexpr std::size_t fields_max = 128;  // of a sentence; the standard's 82 characters hold fewer

// Field by number, "" where there is none. cut(): there were more.
class Fields {
 public:
  explicit Fields(std::string_view all) {
    while (true) {
      cut_ = count_ == fields_max;
      if (cut_) break;
      const std::size_t comma = std::min(all.find(','), all.size());
      at_[count_++] = trim(all.substr(0, comma));
      if (comma == all.size()) break;
      all.remove_prefix(comma + 1);
    }
  }
  std::string_view operator[](std::size_t i) const { return i < count_ ? at_[i] : std::string_view(); }
  std::size_t size() const { return count_; }
  bool cut() const { return cut_; }

 private:
  std::array<std::string_view, fields_max> at_;
  std::size_t count_ = 0;
  bool cut_ = false;
};

// Digits with a point, a sign, and zeros before them: what from_chars reads, but neither words nor exponents.
std::optional<double> number_of(std::string_view field) {
  if (field.starts_with('+')) field.remove_prefix(1);
  if (field.find_first_not_of("+-0123456789.") != std::string_view::npos) return std::nullopt;
  double value = 0;
  const auto read = std::from_chars(field.data(), field.data() + field.size(), value);
  if (field.empty() || read.ec != std::errc{} || read.ptr != field.data() + field.size()) return std::nullopt;
  return value;
}

std::optional<int> digits_of(std::string_view field, std::size_t at, std::size_t count) {
  int value = 0;
  if (field.size() < at + count) return std::nullopt;
  const char* from = field.data() + at;
  if (std::from_chars(from, from + count, value).ptr != from + count || value < 0) return std::nullopt;
  return value;
}

struct TimeOfDay {
  int hour, minute, second, microsecond;
};
std::optional<TimeOfDay> time_of_day(std::string_view field) {
  const auto hour = digits_of(field, 0, 2), minute = digits_of(field, 2, 2), second = digits_of(field, 4, 2);
  if (!hour || !minute || !second || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  if (field.size() == 6) return TimeOfDay{*hour, *minute, *second, 0};
  if (field[6] != '.') return std::nullopt;
  const auto fraction = number_of(text("0", field.substr(6)));
  if (!fraction) return std::nullopt;
  return TimeOfDay{*hour, *minute, *second, static_cast<int>(std::lround(*fraction * 1e6))};
}

constexpr std::int64_t day_us = 86'400'000'000;

class NmeaWalk {
 public:
  NmeaWalk(const NamedValues& plan, const Payload& payload, std::vector<Record>& out, Unread& unread)
      : values_(plan, payload, out, unread), arrival_(payload.arrival) {}

  void line(std::string_view line) {
    const Sentence sentence = split_sentence(line);
    if (!sentence.ok) {
      return values_.refuse("", sentence.whole.empty() ? text("no sentence: \"", shown(line, 40), "\"")
                                                       : text("its address or its checksum is wrong: \"",
                                                              shown(line, 40), "\""));
    }
    values_.set_time(std::nullopt);
    values_.set_quality(Quality::good);
    name_ = text(sentence.talker == "P" ? "P" : "", sentence.type);
    talker_ = sentence.talker;
    if (sentence.talker == "P" || sentence.encapsulated) return values_.text_value(name_, sentence.whole);
    const Read read = reader_of(sentence.type);
    if (!read) return values_.text_value(name_, sentence.whole);
    const Fields fields(sentence.fields);
    if (fields.cut())
      return values_.refuse(name_, text("more than ", fields_max, " fields: \"", shown(line, 40), "\""));
    (this->*read)(fields);
  }

 private:
  using Read = void (NmeaWalk::*)(const Fields&);
  static Read reader_of(std::string_view type);  // none: it is passed on whole

  // Empty: the talker does not know it.
  void number(std::string_view metric, std::string_view field, std::string_view unit, double times = 1) {
    if (field.empty()) return values_.nothing();
    const auto value = number_of(field);
    if (!value || !std::isfinite(*value * times))
      return values_.refuse(metric, text("not a number: \"", shown(field, 40), "\""));
    values_.number(metric, *value * times, unit);
  }
  // Magnetic values to the west, ships to the left are negative.
  void signed_number(std::string_view metric, std::string_view field, std::string_view side,
                     std::string_view unit) {
    number(metric, field, unit, side == "W" || side == "L" || side == "S" ? -1 : 1);
  }

  // ddmm.mmmm and dddmm.mmmm, and the hemisphere.
  void angle(std::string_view metric, std::string_view field, std::string_view side, std::string_view sides,
             double most) {
    if (field.empty() || side.empty()) return values_.nothing();
    const auto value = number_of(field);
    const double degrees = value ? std::floor(*value / 100) : 0, minutes = value ? *value - degrees * 100 : 0;
    const double angle = std::round((degrees + minutes / 60) * 1e9) / 1e9;  // to a tenth of a millimetre
    if (!value || *value < 0 || minutes >= 60 || angle > most || side.size() != 1 ||
        sides.find(side) == std::string_view::npos)
      return values_.refuse(metric,
                            text("not a ", metric, ": \"", shown(field, 40), ",", shown(side, 10), "\""));
    values_.number(metric, side[0] == sides[1] ? -angle : angle, "deg");
  }
  void position(const Fields& f, std::size_t at) {
    angle("latitude", f[at], f[at + 1], "NS", 90);
    angle("longitude", f[at + 2], f[at + 3], "EW", 180);
  }

  // A talker that says void has no fix: what it still tells is old or guessed.
  void judge(std::string_view status) { values_.set_quality(status == "V" ? Quality::bad : Quality::good); }

  void date_time(std::string_view clock, std::optional<int> year, std::optional<int> month,
                 std::optional<int> day) {
    const auto time = time_of_day(clock);
    if (!time || !year || !month || !day) return;
    values_.set_time(utc_of(*year, *month, *day, time->hour, time->minute, time->second, time->microsecond));
  }
  // A time without a date is of the day on which it is nearest to its arrival, where our clock can be
  // trusted.
  void time_alone(std::string_view clock) {
    const auto time = time_of_day(clock);
    if (!time || !arrival_.clock_trusted) return;
    const std::int64_t of_day =
        ((time->hour * 60LL + time->minute) * 60 + time->second) * 1'000'000 + time->microsecond;
    std::int64_t at = arrival_.received.us - arrival_.received.us % day_us + of_day;
    if (at - arrival_.received.us > day_us / 2) at -= day_us;
    if (arrival_.received.us - at > day_us / 2) at += day_us;
    values_.set_time(WallTime{at});
  }

  void rmc(const Fields& f) {
    judge(f[1]);
    const auto year = digits_of(f[8], 4, 2);
    if (f[1] != "V")
      date_time(f[0], year ? std::optional(*year + (*year < 80 ? 2000 : 1900)) : std::nullopt,
                digits_of(f[8], 2, 2), digits_of(f[8], 0, 2));
    position(f, 2);
    number("speed_over_ground", f[6], "kn");
    number("course_over_ground", f[7], "deg");
    signed_number("magnetic_variation", f[9], f[10], "deg");
  }
  void gga(const Fields& f) {
    judge(f[5] == "0" ? "V" : "A");
    if (f[5] != "0") time_alone(f[0]);
    position(f, 1);
    number("fix_quality", f[5], "");
    number("satellites", f[6], "");
    number("hdop", f[7], "");
    number("altitude", f[8], "m");
    number("geoid_separation", f[10], "m");
  }
  void gll(const Fields& f) {
    judge(f[5]);
    if (f[5] != "V") time_alone(f[4]);
    position(f, 0);
  }
  // Since NMEA 2.0 with a letter behind each value; before, four values alone.
  void vtg(const Fields& f) {
    judge(f[8] == "N" ? "V" : "A");
    const bool lettered = f[1] == "T";
    number("course_over_ground", f[0], "deg");
    number("course_over_ground_magnetic", f[lettered ? 2 : 1], "deg");
    number("speed_over_ground", f[lettered ? 4 : 2], "kn");
  }
  // A receiver of several systems says one such sentence of each, of one time: by the talker, by the system's
  // number (NMEA 4.10), or before that by the numbers of the satellites.
  std::string_view system_of(const Fields& f, std::string_view satellite) const {
    static constexpr std::pair<std::string_view, std::string_view> talkers[] = {
        {"GL", "_glonass"}, {"GA", "_galileo"}, {"GB", "_beidou"},
        {"BD", "_beidou"},  {"GQ", "_qzss"},    {"GI", "_navic"}};
    for (const auto& [talker, name] : talkers) {
      if (talker == talker_) return name;
    }
    if (talker_ != "GN") return "";
    static constexpr std::string_view systems[] = {"",        "_gps",  "_glonass", "_galileo",
                                                   "_beidou", "_qzss", "_navic"};
    if (const auto id = digits_of(f[17], 0, 1); id && f[17].size() == 1 && *id < 7) return systems[*id];
    const double number = number_of(satellite).value_or(0);
    return number < 1      ? ""
           : number <= 64  ? "_gps"  // and what augments it
           : number <= 96  ? "_glonass"
           : number < 193  ? "_gps"
           : number <= 202 ? "_qzss"
           : number <= 336 ? "_galileo"
                           : "_beidou";
  }
  void gsa(const Fields& f) {
    int used = 0;
    std::string_view one;
    for (std::size_t i = 2; i < 14; ++i) {
      if (f[i].empty()) continue;
      ++used;
      one = f[i];
    }
    const std::string_view system = system_of(f, one);
    number("fix_mode", f[1], "");
    // which system has none nobody says
    if (used == 0 && system.empty() && talker_ == "GN") values_.nothing();
    else values_.number(text("satellites_used", system), used);
    number("pdop", f[14], "");
    number("hdop", f[15], "");
    number("vdop", f[16], "");
  }
  void hdt(const Fields& f) { number("heading_true", f[0], "deg"); }
  void hdm(const Fields& f) { number("heading_magnetic", f[0], "deg"); }
  void hdg(const Fields& f) {
    number("heading_magnetic", f[0], "deg");
    signed_number("magnetic_deviation", f[1], f[2], "deg");
    signed_number("magnetic_variation", f[3], f[4], "deg");
  }
  void dpt(const Fields& f) {
    number("depth_below_transducer", f[0], "m");
    number("transducer_offset", f[1], "m");
  }
  void dbt(const Fields& f) {
    if (!f[2].empty()) number("depth_below_transducer", f[2], "m");
    else if (!f[0].empty()) number("depth_below_transducer", f[0], "m", 0.3048);
    else number("depth_below_transducer", f[4], "m", 1.8288);
  }
  void mtw(const Fields& f) { number("water_temperature", f[0], f[1] == "C" || f[1].empty() ? "C" : f[1]); }
  void mwv(const Fields& f) {
    judge(f[4]);
    const std::string_view frame = f[1] == "T" ? "true" : "relative";
    const std::string_view unit = f[3] == "K" ? "km/h" : f[3] == "M" ? "m/s" : f[3] == "S" ? "mph" : "kn";
    number(text("wind_angle_", frame), f[0], "deg");
    number(text("wind_speed_", frame), f[2], unit);
  }
  void rot(const Fields& f) {
    judge(f[1]);
    number("rate_of_turn", f[0], "deg/min");
  }
  void zda(const Fields& f) {
    const auto year = digits_of(f[3], 0, 4);
    date_time(f[0], year, digits_of(f[2], 0, 2), digits_of(f[1], 0, 2));
    if (f[0].empty()) values_.nothing();
    else values_.text_value("utc", text(f[3], "-", f[2], "-", f[1], " ", f[0]));
  }
  // Four fields each: what it is, the value, its unit, the transducer's name. A number is a name only beside
  // what it is: weather stations (Vaisala WXT) count temperatures, humidities and pressures from 0 each. And
  // two of one name in a sentence are two readings.
  void xdr(const Fields& f) {
    OwnNames names;
    for (std::size_t i = 0; i + 1 < f.size(); i += 4) {
      const std::string_view own = f[i + 3];
      const bool counted = std::all_of(own.begin(), own.end(), is_digit);
      const std::string full = text(xdr_word(f[i]), "_", own);
      const std::string name = own.empty() ? text("transducer_", i / 4 + 1)
                               : counted   ? full
                                           : std::string(own);
      number(names.take(name, full), f[i + 1], xdr_unit(f[i], f[i + 2]));
    }
  }
  static std::string_view xdr_word(std::string_view type) {
    static constexpr std::pair<std::string_view, std::string_view> words[] = {
        {"A", "angle"},    {"C", "temperature"}, {"D", "displacement"}, {"F", "frequency"}, {"G", "generic"},
        {"H", "humidity"}, {"I", "current"},     {"L", "salinity"},     {"N", "force"},     {"P", "pressure"},
        {"R", "flow"},     {"S", "switch"},      {"T", "speed"},        {"U", "voltage"},   {"V", "volume"}};
    for (const auto& [letter, word] : words) {
      if (letter == type) return word;
    }
    return type.empty() ? "transducer" : type;
  }
  static std::string_view xdr_unit(std::string_view type, std::string_view unit) {
    struct Known {
      std::string_view type, unit, name;
    };
    static constexpr Known known[] = {
        {"A", "D", "deg"}, {"C", "C", "C"},   {"D", "M", "m"},   {"F", "H", "Hz"},
        {"H", "P", "%"},   {"I", "A", "A"},   {"N", "N", "N"},   {"P", "B", "bar"},
        {"P", "H", "hPa"}, {"P", "P", "Pa"},  {"R", "L", "l/s"}, {"T", "R", "rpm"},
        {"U", "V", "V"},   {"L", "S", "ppt"}, {"V", "M", "m3"},  {"S", "", ""}};
    for (const Known& one : known) {
      if (one.type == type && one.unit == unit) return one.name;
    }
    return unit;
  }

  NamedValues::Walk values_;
  const Arrival& arrival_;
  std::string name_;
  std::string_view talker_;
};

NmeaWalk::Read NmeaWalk::reader_of(std::string_view type) {
  static constexpr std::pair<std::string_view, Read> readers[] = {
      {"RMC", &NmeaWalk::rmc}, {"GGA", &NmeaWalk::gga}, {"GLL", &NmeaWalk::gll}, {"VTG", &NmeaWalk::vtg},
      {"GSA", &NmeaWalk::gsa}, {"HDT", &NmeaWalk::hdt}, {"HDM", &NmeaWalk::hdm}, {"HDG", &NmeaWalk::hdg},
      {"DPT", &NmeaWalk::dpt}, {"DBT", &NmeaWalk::dbt}, {"MTW", &NmeaWalk::mtw}, {"MWV", &NmeaWalk::mwv},
      {"ROT", &NmeaWalk::rot}, {"ZDA", &NmeaWalk::zda}, {"XDR", &NmeaWalk::xdr}};
  const auto found = std::find_if(std::begin(readers), std::end(readers),
                                  [type](const auto& one) { return one.first == type; });
  return found == std::end(readers) ? nullptr : found->second;
}

class NmeaFormat final : public PayloadFormat {
 public:
  explicit NmeaFormat(NamedValues plan) : plan_(std::move(plan)) {}

  // A payload is a sentence, or lines of them.
  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    NmeaWalk walk(plan_, payload, out, unread);
    std::string_view rest = text_of(payload.arrival.bytes);
    bool any = false;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find_first_of("\r\n"), rest.size());
      const std::string_view line = trim(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (line.empty()) continue;
      any = true;
      walk.line(line);
    }
    if (!any) ++unread.no_value;
    return {};
  }

  RouteJudge* judge() const override { return plan_.judge(); }

 private:
  NamedValues plan_;
};

}  // namespace

extern const FormatKind nmea_format_kind;
const FormatKind nmea_format_kind =
    judged(format_kind("nmea", "NMEA 0183", make_of_plan<NmeaFormat, NamedValues::make>));

}  // namespace millrace
