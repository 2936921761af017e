#include "decode/named_values.h"

#include <chrono>

#include "base/text.h"
#include "decode/json_walk.h"

namespace millrace {

Result<NamedValues> NamedValues::make(const RouteConfig& route, const TopicPattern& pattern) {
  const std::pair<const char*, bool> without[] = {{"each", !route.each.empty()},
                                                  {"time", !route.time.empty()},
                                                  {"time_format", route.time_format != "auto"},
                                                  {"time_missing", route.time_needed},
                                                  {"quality", !route.quality.empty()},
                                                  {"quality_format", route.quality_format != "auto"},
                                                  {"columns", !route.columns.empty()},
                                                  {"separator", route.separator != ","},
                                                  {"decimal", route.decimal != "."},
                                                  {"strict", route.strict}};
  for (const auto& [key, set] : without) {
    if (set)
      return Status{Code::invalid,
                    text("\"", key, "\" is not for format = \"", route.format, "\", which has its own")};
  }
  NamedValues plan;
  for (const MetricConfig& metric : route.metrics) {
    if (Status status = check_names(metric); !status.ok()) return status;
    if (metric.if_missing)
      return Status{Code::invalid, text("metric \"", metric.name, "\": no \"default\" with format = \"",
                                        route.format, "\": a payload rarely has all values")};
    auto name = Template::parse(metric.name, pattern, route.publisher_known);
    if (!name.ok()) return name.status();
    plan.metrics_.push_back({std::move(name).value(), metric.path, metric.unit, value_spec(metric, route),
                             metric.scale != 1 || metric.offset != 0});
  }
  std::vector<std::string> templates{route.device};
  for (const MetricConfig& metric : route.metrics) templates.push_back(metric.name);
  for (const auto& [name, value] : route.fixed_tags) templates.push_back(value);
  for (const std::string& source : templates) {
    const auto made = Template::parse(source, pattern, route.publisher_known);
    if (made.ok() && !made.value().members().empty())
      return Status{Code::invalid, text("\"", source, "\": with format = \"", route.format,
                                        "\" a payload has no members that could be named")};
  }
  auto judge = RouteJudge::make(route);
  if (!judge.ok()) return judge.status();
  plan.judge_ = std::move(judge).value();
  auto times = time_rule_of(route);
  if (!times.ok()) return times.status();
  plan.times_ = std::move(times).value();
  return plan;
}

void NamedValues::Walk::set_time(std::optional<WallTime> time) {
  const Arrival& arrival = payload_.arrival;
  const bool believed = time && is_within_bounds(*time) && time->us >= plan_.times_.past_limit_us &&
                        !(arrival.clock_trusted && is_too_far_ahead(*time, arrival.received, plan_.times_));
  time_ = believed ? time : std::nullopt;
  unbelieved_ = believed ? std::nullopt : time;
}

// Beside the first reading that it was not believed for, as of other formats.
void NamedValues::Walk::keep_own_time() {
  if (unbelieved_ == told_ || !payload_.arrival.only.empty()) return;
  told_ = unbelieved_;
  if (out_.back().metric == JsonWalk::own_time_metric) return;
  Record own = out_.back();
  own.metric = JsonWalk::own_time_metric;
  own.unit.clear();
  own.value = format_time(*unbelieved_);
  out_.push_back(std::move(own));
}

void NamedValues::Walk::number(std::string_view name, double value, std::string_view unit) {
  put(name, unit, {Scalar::number, false, 0, text(value)});
}
void NamedValues::Walk::integer(std::string_view name, std::int64_t value, std::string_view unit) {
  const Value exact = value;
  put(name, unit, {Scalar::number, false, 0, text(value)}, &exact);
}
void NamedValues::Walk::truth(std::string_view name, bool value) {
  put(name, {}, {Scalar::truth, value, 0, value ? "true" : "false"});
}
void NamedValues::Walk::text_value(std::string_view name, std::string_view value) {
  put(name, {}, {Scalar::string, false, 0, value});
}

void NamedValues::Walk::put(std::string_view name, std::string_view unit, Scalar scalar, const Value* exact) {
  static const ValueSpec as_it_comes;
  scalar.place = place_++;
  const Metric* metric = nullptr;
  for (const Metric& one : plan_.metrics_) {
    if (one.path == name) metric = &one;
  }
  if (!metric && !plan_.metrics_.empty()) return;
  if (!payload_.arrival.only.empty() && !has_value(payload_.arrival.only, scalar.place)) return;
  Record record = payload_.prototype;
  if (metric) metric->name.render(payload_.levels, payload_.arrival.input, record.metric);
  else record.metric = name;
  record.unit = !metric || (metric->unit.empty() && !metric->converts) ? std::string(unit) : metric->unit;
  record.quality = quality_;
  if (time_) {
    record.time = *time_;
    record.trust = TimeTrust::device;
  }
  const ValueRun place{scalar.place, scalar.place + 1};
  std::string why;
  Status status = check_label(Label::metric, record.metric);
  if (status.ok()) status = check_label(Label::unit, record.unit, record.metric);
  if (!status.ok()) return unread_.refuse(place, name, status.detail());
  const auto enter = [&] {
    if (plan_.judge_ && plan_.judge_->refuses(record, why, unread_.surprises))
      return unread_.refuse(place, name, why);
    out_.push_back(std::move(record));
    if (unbelieved_) keep_own_time();
  };
  if (exact && (!metric || (metric->spec.plain && metric->spec.type == ValueSpec::as_it_comes))) {
    record.value = *exact;
    return enter();
  }
  switch (make_value(metric ? metric->spec : as_it_comes, record.metric, scalar, record.value, record.unit,
                     why, steps_)) {
    case Made::value: return enter();
    case Made::no_value: ++unread_.no_value; return;
    case Made::refused: return unread_.refuse(place, name, why);
  }
}

std::optional<WallTime> utc_of(int year, int month, int day, int hour, int minute, int second,
                               int microsecond) {
  using namespace std::chrono;
  const year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                            std::chrono::day(static_cast<unsigned>(day))};
  if (month < 1 || day < 1 || !date.ok() || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 60)
    return std::nullopt;
  const auto days = sys_days(date).time_since_epoch().count();
  return WallTime{((days * 24LL + hour) * 60 + minute) * 60'000'000LL + second * 1'000'000LL + microsecond};
}

}  // namespace millrace
