#include "decode/route_judge.h"

#include <cmath>

#include "base/label.h"
#include "base/text.h"
#include "base/utf8.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::uint8_t numbers = 0, truths = 1, texts = 2;
constexpr const char* type_words[] = {"a number", "a truth", "a text"};

std::uint8_t type_of(const Value& value) {
  if (std::holds_alternative<bool>(value)) return truths;
  return std::holds_alternative<double>(value) || std::holds_alternative<std::int64_t>(value) ? numbers
                                                                                              : texts;
}

std::optional<double> real_of(const Value& value) {
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return static_cast<double>(*whole);
  return std::nullopt;
}

bool is_of(const Value& value, std::string_view type) {
  if (type == "bool") return std::holds_alternative<bool>(value);
  if (type == "text") return std::holds_alternative<std::string>(value);
  const auto real = real_of(value);
  if (!real) return type.empty();
  return type != "integer" || (std::fabs(*real) < 0x1p63 && *real == std::trunc(*real));
}

}  // namespace

void LearnedSchema::load(BytesView bytes) {
  wire::Reader reader(bytes);
  readings = reader.get_varint();
  while (!reader.at_end() && reader.ok() && known.size() < names_max) {
    std::string name(text_of(reader.get_bytes()));
    const std::uint64_t type = reader.get_varint();
    if (reader.ok() && type <= texts && check_label(Label::metric, name).ok())
      known[std::move(name)] = {static_cast<std::uint8_t>(type), false};
  }
  if (reader.ok()) return;
  known.clear();
  readings = 0;
}

Bytes LearnedSchema::save() {
  changed_ = false;
  Bytes bytes;
  wire::Writer writer(bytes);
  writer.put_varint(readings);
  for (const auto& [name, what] : known) {
    writer.put_varint(name.size());
    writer.append(name.data(), name.size());
    writer.put_varint(what.type);
  }
  return bytes;
}

Result<std::shared_ptr<RouteJudge>> RouteJudge::make(const RouteConfig& route) {
  auto judge = std::make_shared<RouteJudge>();
  judge->learns_ = route.schema == "learn";
  judge->called_ = route.topic.empty() ? std::string("its route") : text("route \"", route.topic, "\"");
  for (const ExpectedConfig& one : route.expected) {
    if (Status status = check_label(Label::metric, one.name); !status.ok()) return status;
    judge->expected_.emplace(one.name, one);
  }
  if (!route.expected.empty()) {
    for (const MetricConfig& metric : route.metrics) {
      if (metric.name.find('{') != std::string::npos)
        return Status{Code::invalid, text("metric \"", metric.name, "\": with `expected` names are fixed")};
    }
  }
  bool wants = !route.metrics.empty();
  for (const MetricConfig& metric : route.metrics)
    judge->wanted_.push_back({text("metric \"", shown(metric.name, 100), "\""), metric.path});
  for (const auto& [called, path] :
       {std::pair{"time", &route.time}, std::pair{"time_of_day", &route.time_of_day},
        std::pair{"quality", &route.quality}, std::pair{"each", &route.each}}) {
    judge->wanted_.push_back({called, *path});
    wants = wants || !path->empty();
  }
  if (!judge->looks() && !wants) return std::shared_ptr<RouteJudge>();
  if (judge->learns_) judge->learned_ = std::make_shared<LearnedSchema>();
  return judge;
}

void RouteJudge::note(Surprises::What what) {
  ++counts_[what];
  if (ears_.note) ears_.note(Surprises::words[what]);
}
void RouteJudge::tell(const std::string& line) const {
  if (ears_.tell) ears_.tell(text(called_, ": ", line));
}

bool RouteJudge::is_unexpected(const Record& record, std::string& why, Surprises& surprises) const {
  const auto found = expected_.find(record.metric);
  const auto wrong = [&](Surprises::What what, std::string words) {
    ++surprises.count[what];
    why = text("\"", shown(record.metric, 100), "\" ", words);
    return true;
  };
  if (found == expected_.end()) return wrong(Surprises::unexpected, "is not expected");
  const ExpectedConfig& one = found->second;
  if (!is_of(record.value, one.type))
    return wrong(Surprises::type, text("is ", type_words[type_of(record.value)], ", expected is ",
                                       one.type.empty() ? "number" : one.type));
  if (!one.unit.empty() && record.unit != one.unit)
    return wrong(Surprises::unit, text("is in \"", record.unit, "\", expected is \"", one.unit, "\""));
  const auto real = real_of(record.value);
  if (!real) return false;
  if (one.min && *real < *one.min)
    return wrong(Surprises::range, text("is below its range, which begins at ", *one.min, ": ", *real));
  if (one.max && *real > *one.max)
    return wrong(Surprises::range, text("is above its range, which ends at ", *one.max, ": ", *real));
  return false;
}

void RouteJudge::settle(const Surprises& surprises, std::span<const Record> entered) {
  for (std::size_t what = 0; what < surprises.count.size(); ++what) {
    for (std::uint32_t i = 0; i < surprises.count[what]; ++i) note(static_cast<Surprises::What>(what));
  }
  if (!learns_) return;
  for (const Record& record : entered) learn(record);
}

void RouteJudge::learn(const Record& record) {
  LearnedSchema& schema = *learned_;
  const bool first = schema.readings < LearnedSchema::first_readings;
  if (first && ++schema.readings == LearnedSchema::first_readings) schema.touch();
  const std::uint8_t type = type_of(record.value);
  const auto found = schema.known.find(record.metric);
  if (found == schema.known.end()) {
    if (!first) note(Surprises::unexpected);
    if (schema.known.size() >= LearnedSchema::names_max) return;
    if (!first) tell(text("\"", shown(record.metric, 100), "\" is new, ", type_words[type]));
    schema.known.emplace(record.metric, LearnedSchema::Known{type, false});
    schema.touch();
    if (schema.known.size() == LearnedSchema::names_max)
      tell(text("has more than ", LearnedSchema::names_max,
                " metrics: others are counted as unexpected, and no more learned"));
  } else if (found->second.type != type) {
    note(Surprises::type);
    if (!std::exchange(found->second.told, true))
      tell(text("\"", shown(record.metric, 100), "\" was ", type_words[found->second.type], " and is ",
                type_words[type], " now (said once)"));
  }
}

void RouteJudge::came(std::size_t number) {
  Wanted& wanted = wanted_[number];
  if (std::exchange(wanted.has_come, true) || wanted.missed == 0) return;
  --absent_;
}

void RouteJudge::missed(std::size_t number) {
  Wanted& wanted = wanted_[number];
  if (wanted.has_come) return;
  if (wanted.missed++ == 0) ++absent_;
  if (wanted.missed == absent_told)
    tell(text(wanted.called, ": in ", absent_told, " messages its path \"", shown(wanted.path, 100),
              "\" led to nothing, and it never did (said once; millrace_input_absent_metrics)"));
}

}  // namespace millrace
