// A payload that is one value: "21.5", "-3", "true"; also with its unit or a name before it ("21.5 °C",
// "T=21.5"), and a word ("ON", "online"). Blanks, NUL and the frame of STX and ETX around it are ignored;
// what is not UTF-8 is read as UTF-16 where it has its mark, else as ISO 8859-1. With `strict` only a number,
// true or false; a `type` says what else is meant.
#include <algorithm>

#include "base/ascii.h"
#include "base/lenient_json.h"
#include "base/text.h"
#include "base/utf16.h"
#include "base/utf8.h"
#include "config/toml.h"
#include "decode/format_kind.h"
#include "decode/reading_value.h"

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
  return std::all_of(value.begin(), value.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == ' '; });
}

class PlainFormat final : public PayloadFormat {
 public:
  PlainFormat(const RouteConfig& route, Template name, std::shared_ptr<RouteJudge> judge)
      : judge_(std::move(judge)),
        metric_(route.metrics[0]),
        spec_(value_spec(metric_, route)),
        if_missing_(value_if_missing(metric_)),
        name_(std::move(name)),
        strict_(route.strict) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    if (!payload.arrival.only.empty() && !has_value(payload.arrival.only, 0)) return {};
    std::string converted;
    const bool utf16 = !strict_ && read_utf16(text_of(payload.arrival.bytes), converted);
    std::string_view value = unframed(utf16 ? std::string_view(converted) : text_of(payload.arrival.bytes));
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
    if (made == Made::value && judge_->refuses(record, why, unread.surprises)) made = Made::refused;
    if (made == Made::refused) unread.refuse({0, 1}, "", why);
    if (made == Made::value) out.push_back(std::move(record));
    return {};
  }

  RouteJudge* judge() const override { return judge_.get(); }

 private:
  Made make(std::string_view value, Record& record, std::string& why) const {
    const auto made_of = [&](Scalar::Kind kind, std::string_view text) {
      return make_value(spec_, record.metric, {kind, text == "true", 0, text}, record.value, record.unit,
                        why);
    };
    if (spec_.pattern) return value.empty() ? Made::no_value : made_of(Scalar::string, value);
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
    return value.find_first_not_of(spec_.decimal == ',' ? "+-0123456789,eE" : "+-0123456789.eE") ==
           std::string_view::npos;
  }

  std::shared_ptr<RouteJudge> judge_;
  MetricConfig metric_;
  ValueSpec spec_;
  std::optional<Value> if_missing_;
  Template name_;
  bool strict_;
};

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& route, const TopicPattern& pattern) {
  const MetricConfig& metric = route.metrics.at(0);
  if (Status status = check_names(metric); !status.ok()) return status;
  if (metric.if_missing && !value_if_missing(metric))
    return Status{Code::invalid, text("default = \"", *metric.if_missing, "\" is not of the metric's type")};
  auto name = Template::parse(metric.name, pattern, route.publisher_known);
  if (!name.ok()) return name.status();
  auto judge = RouteJudge::make(route);
  if (!judge.ok()) return judge.status();
  for (const auto& [key, source] :
       {std::pair{"a metric's name", &metric.name}, std::pair{"device", &route.device}}) {
    auto made = Template::parse(*source, pattern, route.publisher_known);
    if (made.ok() && !made.value().members().empty())
      return Status{Code::invalid, text(key, " \"", *source, "\": a plain payload has no members")};
  }
  return std::unique_ptr<PayloadFormat>(
      std::make_unique<PlainFormat>(route, std::move(name).value(), std::move(judge).value()));
}

void settle(Section& section, const RouteConfig& route) {
  for (const char* key : {"each", "time", "quality"}) {
    if (section.has(key))
      section.error(key, text("\"", key, "\" is not for format = \"plain\": it has no members"));
  }
  for (const auto& [key, set] :
       {std::pair{"time_format", route.time_format != "auto"},
        std::pair{"time_zone", !route.time_zone.empty()}, std::pair{"time_missing", route.time_needed},
        std::pair{"quality_format", route.quality_format != "auto"}}) {
    if (set)
      section.error(key,
                    text("\"", key, "\" is not for format = \"plain\": it has neither time nor quality"));
  }
  if (route.metrics.size() != 1) section.error("a plain payload is one value: give [metrics] one name");
}

}  // namespace

extern const FormatKind plain_format_kind;
const FormatKind plain_format_kind = judged(format_kind("plain", "one value", make, settle));

}  // namespace millrace
