#include "decode/plain_format.h"

#include <algorithm>
#include <charconv>

#include "base/ascii.h"
#include "base/lenient_json.h"
#include "base/text.h"
#include "base/utf8.h"
#include "decode/csv_format.h"
#include "decode/device_format.h"
#include "decode/json_format.h"
#include "decode/mbus_format.h"
#include "decode/nmea_format.h"
#include "decode/obis_format.h"
#include "decode/reading_value.h"
#include "decode/senml_format.h"

namespace millrace {
namespace {

// Without what frames a value: blanks, NUL, STX and ETX, a byte order mark.
std::string_view unframed(std::string_view given) {
  constexpr std::string_view around(" \t\r\n\0\x02\x03", 7);
  given = without_mark(given);
  const std::size_t begin = given.find_first_not_of(around);
  if (begin == std::string_view::npos) return {};
  return given.substr(begin, given.find_last_not_of(around) - begin + 1);
}

// "ON", "online", "door_open": a state, not noise.
bool looks_like_word(std::string_view value) {
  if (value.size() < 2 || value.size() > 64 || !is_letter(value[0]) || !is_letter(value[1])) return false;
  return std::all_of(value.begin(), value.end(), [](char c) { return is_letter(c) || is_digit(c) ||
      c == '_' || c == '-' || c == ' '; });
}

class PlainFormat final : public PayloadFormat {
 public:
  PlainFormat(const RouteConfig& route, Template name)
      : metric_(route.metrics[0]), spec_(value_spec(metric_, route)), if_missing_(value_if_missing(metric_)),
          name_(std::move(name)), strict_(route.strict) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    if (!payload.arrival.only.empty() && !has_value(payload.arrival.only, 0)) return {};
    std::string converted;
    std::string_view value = unframed(text_of(payload.arrival.bytes));
    if (!strict_ && find_fault(value, Controls::all).kind == TextFault::not_utf8) {
      unread.latin1 = true;
      value = converted = utf8_of_latin1(value);
    }
    Record record = payload.prototype;
    record.unit = metric_.unit;
    name_.render(payload.levels, payload.arrival.input, record.metric);
    if (Status status = check_label(Label::metric, record.metric); !status.ok()) return status;
    std::string why;
    Made made = make(value, record, why);
    if (made == Made::no_value) {
      ++unread.no_value;
      if (!if_missing_ || !payload.arrival.only.empty()) return {};
      record.value = *if_missing_;
      made = Made::value;
    }
    if (made == Made::refused) unread.refuse({0, 1}, "", why);
    if (made == Made::value) out.push_back(std::move(record));
    return {};
  }

 private:
  Made make(std::string_view value, Record& record, std::string& why) const {
    const auto made_of = [&](Scalar::Kind kind, std::string_view text) {
      return make_value(spec_, record.metric, {kind, text == "true", 0, text}, record.value, record.unit,
          why);
    };
    if (spec_.type == ValueSpec::text) return value.empty() ? Made::no_value : made_of(Scalar::string, value);
    if (value == "true" || value == "false") return made_of(Scalar::truth, value);
    if (!strict_ && (value.empty() || says_no_value(value))) return Made::no_value;
    if (const auto found = number_in_text(value, spec_.decimal); found && (!strict_ || plain_number(value))) {
      if (record.unit.empty() && check_label(Label::unit, found->unit).ok()) record.unit = found->unit;
      return made_of(Scalar::number, found->number);
    }
    if (spec_.type != ValueSpec::as_it_comes && !strict_) return made_of(Scalar::string, value);
    if (!strict_ && looks_like_word(value)) return made_of(Scalar::string, value);
    why = text("not a value: \"", shown(value, 40), "\"");
    if (!strict_ && !value.empty()) why += " (type = \"text\" would take it)";
    return Made::refused;
  }

  bool plain_number(std::string_view value) const {
    return value.find_first_not_of(spec_.decimal == ',' ? "+-0123456789,eE"
        : "+-0123456789.eE") == std::string_view::npos;
  }

  MetricConfig metric_;
  ValueSpec spec_;
  std::optional<Value> if_missing_;
  Template name_;
  bool strict_;
};

}  // namespace

Result<std::unique_ptr<PayloadFormat>> make_plain_format(const RouteConfig& route,
    const TopicPattern& pattern) {
  const MetricConfig& metric = route.metrics.at(0);
  if (Status status = check_names(metric); !status.ok()) return status;
  if (metric.if_missing && !value_if_missing(metric)) return Status{Code::invalid,
      text("default = \"", *metric.if_missing, "\" is not of the metric's type")};
  auto name = Template::parse(metric.name, pattern, route.publisher_known);
  if (!name.ok()) return name.status();
  for (const auto& [key, source] : {std::pair{"a metric's name", &metric.name},
      std::pair{"device", &route.device}}) {
    auto made = Template::parse(*source, pattern, route.publisher_known);
    if (made.ok() && !made.value().members().empty()) return Status{Code::invalid,
        text(key, " \"", *source, "\": a plain payload has no members")};
  }
  return std::unique_ptr<PayloadFormat>(std::make_unique<PlainFormat>(route, std::move(name).value()));
}

Result<std::unique_ptr<PayloadFormat>> make_format(const RouteConfig& route, const TopicPattern& pattern) {
  if (route.format == "plain") return make_plain_format(route, pattern);
  if (route.format == "csv") return make_csv_format(route, pattern);
  if (route.format == "nmea") return make_nmea_format(route, pattern);
  if (route.format == "obis") return make_obis_format(route, pattern);
  if (route.format == "mbus") return make_mbus_format(route, pattern);
  if (route.format == "device") return make_device_format(route, pattern);
  if (route.format.starts_with("senml")) return make_senml_format(route, pattern);
  return make_json_format(route, pattern);
}

}  // namespace millrace
