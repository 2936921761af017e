#include "config/routes.h"

#include <algorithm>

#include "base/text.h"
#include "config/toml.h"

namespace millrace {
namespace {

using C = RouteConfig;
using K = KeysOf<C>;
using M = KeysOf<MetricConfig>;
using namespace std::chrono_literals;
using Tag = std::pair<std::string, std::string>;

constexpr Key tag_keys[] = {KeysOf<Tag>::key<&Tag::first>("NAME", ""),
                            KeysOf<Tag>::key<&Tag::second>("VALUE", "")};
constexpr Shape tag_shape = shape_of<Tag>(tag_keys);

void settle_metric(Section& section, MetricConfig& metric) {
  if (metric.scale == 0) section.error("scale", "a scale of 0 leaves nothing");
  const bool numeric = metric.scale != 1 || metric.offset != 0 || metric.min || metric.max || metric.no_value;
  if (numeric && (metric.type == "text" || metric.type == "bool")) {
    section.error("type", text("scale, offset, min, max and no_value are of numbers, not of type = \"",
                               metric.type, "\""));
  }
  if (!metric.pattern.empty() && metric.type == "bool")
    section.error("pattern", "a pattern finds numbers and texts, no bool");
  if (metric.min && metric.max && *metric.min > *metric.max) section.error("min", "\"min\" is above \"max\"");
}

constexpr Key metric_keys[] = {
    M::key<&MetricConfig::name>("NAME", ""),
    M::key<&MetricConfig::path>(
        "path", "Where it is in the payload; a name with a dot stands in quotes: \"data.'temp.in'\""),
    M::key<&MetricConfig::unit>("unit", "Also a member of the payload: \"{.unit}\""),
    M::choice<&MetricConfig::type>("type", "number|integer|bool|text",
                                   "From texts, too; without it as it comes"),
    M::key<&MetricConfig::pattern>(
        "pattern", "Of a text: the group `value` of this regular expression is the value, `unit` its unit"),
    M::key<&MetricConfig::scale>("scale", "Value = what comes * scale + offset"),
    M::key<&MetricConfig::offset>("offset", ""),
    M::key<&MetricConfig::min>("min", "What is less is refused, and told"),
    M::key<&MetricConfig::max>("max", "What is more is refused, and told"),
    M::key<&MetricConfig::no_value>("no_value",
                                    "This number, as it comes, says that there is none: -127, 65535"),
    M::key<&MetricConfig::if_missing>("default", "Counts where the member is missing or has no value"),
    M::key<&MetricConfig::when>("when",
                                "Only of messages that this holds for: \"type == 'T' and port >= 2\""),
};
constexpr Shape metric_shape = shape_of<MetricConfig, settle_metric>(metric_keys, "metric");

void settle_expected(Section& section, ExpectedConfig& expected) {
  const bool of_numbers = expected.type == "number" || expected.type == "integer";
  if (!of_numbers && (expected.min || expected.max)) section.error("type", "min and max are of numbers");
  if (expected.min && expected.max && *expected.min > *expected.max)
    section.error("min", "\"min\" is above \"max\"");
}
using E = KeysOf<ExpectedConfig>;
constexpr Key expected_keys[] = {
    E::key<&ExpectedConfig::name>("NAME", ""),
    E::choice<&ExpectedConfig::type>("type", "number|integer|bool|text", ""),
    E::key<&ExpectedConfig::unit>("unit", "Default: any"),
    E::key<&ExpectedConfig::min>("min", ""),
    E::key<&ExpectedConfig::max>("max", ""),
};
constexpr Shape expected_shape = shape_of<ExpectedConfig, settle_expected>(expected_keys, "expected");

constexpr Key route_keys[] = {
    K::chosen<&C::format_chosen>(
        "format", built_formats, "json",
        "Of a plain payload the whole is one value. All of this at length: docs/payloads.md of the package"),
    K::choice<&C::keep_good>(
        "on_error", "keep_good=1|refuse=0",
        "Every reading that can be read enters, the rest is told in a dead letter; or all of "
        "a payload or nothing"),
    K::key<&C::strict>("strict",
                       "Only what the format's standard allows: no nan, no byte order mark, no Latin-1"),
    K::key<&C::when>(
        "when",
        "Only messages that this holds for: \"type == 'data' and port >= 2\"; what it takes nothing of goes on to the "
        "next route")
        .like("\"type == 'data'\""),
    K::key<&C::ignore>("ignore", "Payloads of this route are dropped and counted: discovery, last wills"),
    K::key<&C::device>("device",
                       "The device's name; {names} of the topic can be used, and members of the payload: "
                       "\"{.model}-{.id}\""),
    K::key<&C::tags>("tags", "Names of the topic that become tags").like("[\"line\"]").said_first(),
    K::entries<&C::fixed_tags>(
        "fixed_tags", tag_shape,
        "What every record of this route has: {tag.stream} in the topic of a Kafka uplink, "
        "say; from the payload: \"{.channel}\"")
        .like("{ stream = \"pumps\" }"),
    K::key<&C::time>("time", "Path of the time; without it the time of arrival counts")
        .like("\"ts\"")
        .said_first(),
    K::key<&C::time_of_day>("time_of_day",
                            "Path of the time of day, where `time` is the path of the date alone")
        .like("\"clock\""),
    K::key<&C::time_format>(
        "time_format",
        "iso8601, s, s+ns, ms, us, ns, s2000, filetime, ticks, excel, uptime, or a pattern: \"%d.%m.%Y %H:%M:%S\""),
    K::key<&C::time_zone>("time_zone", "Of times that name none: also \"+02:00\", \"local\"; default: UTC")
        .like("\"Europe/Berlin\""),
    K::choice<&C::time_needed>("time_missing", "arrival=0|refuse=1", "Of a message without a time"),
    K::key<&C::past_limit>(
        "past_limit",
        "An earlier time is not believed: that of the arrival counts, the device's own is kept "
        "as a reading device_time"),
    K::key<&C::future_limit>("future_limit", "Nor is one further ahead of a clock that is trusted")
        .within(1min, 36500 * 24h),
    K::key<&C::quality>("quality", "Path of the quality").like("\"q\""),
    K::choice<&C::quality_format>("quality_format", "auto|opcda|opcua", "Of numbers: 192 is good; 0 is good"),
    K::key<&C::each>("each",
                     "Every element of this list is a message; \"sensors.*\": every member of this map")
        .like("\"readings[]\""),
    K::key<&C::columns>("columns",
                        "Of csv, where the first line does not name them; of lists in the list of `each`")
        .like("[\"ts\", \"t\"]"),
    K::key<&C::transpose>(
        "transpose",
        "Lists beside each other ({\"t\": [20, 21], \"ts\": [1, 2]}) are columns: their n-th elements are a message"),
    K::key<&C::separator>(
        "separator", "Of csv and pairs; of pairs also \"&\" (a form), \" \" and \"\\n\" (a pair a line)"),
    K::choice<&C::decimal>("decimal", ".|,", "Of numbers in texts"),
    K::entries<&C::metrics>(
        "metrics", metric_shape,
        "Without it every value is a metric, named by its path; with it these and no others")
        .like(
            "{ temperature = { path = \"data.temp\", unit = \"C\", scale = 0.1, offset = -40, min = -50, max = 60, "
            "default = 0 }, count = { path = \"n\", type = \"integer\" } }"),
    K::entries<&C::expected>("expected", expected_shape,
                             "Readings of other names, types, units or ranges are refused, and told")
        .like("{ temperature = { type = \"number\", unit = \"C\", min = -50, max = 60 }, state = \"text\" }"),
    K::choice<&C::schema>(
        "schema", "off|learn",
        "Metrics and types are learned; what is new or has changed later enters, and is counted and told"),
    K::table<&C::report>(
        "report", report_shape,
        "Report by exception: not every reading leaves. All of this at length: docs/reporting.md of the package"),
    K::key<&C::expected_interval>(
        "expected_interval",
        "A device speaks so often: nothing for two of these is late, for five silent; 0s: as it is learned")
        .within(0s, 366 * 24h)
        .like("\"10s\""),
};

constexpr Key topic_key = K::key<&C::topic>("topic", "{names} can be used below")
                              .required()
                              .names()
                              .like("\"plant/{line}/{device}/telemetry\"");
constexpr Key topic_route_keys[] = {topic_key, K::base<C>(route_shape)};
constexpr Key published_route_keys[] = {
    topic_key,
    K::key<&C::content_type>(
        "content_type",
        "Only payloads of this type; {client_id}, {username}, {subject} and {property.NAME} "
        "of the publisher can be used below")
        .like("\"application/json\""),
    K::base<C>(route_shape)};

// A path leads into a payload that has members, and there it must be.
void check_paths(Section& section, const RouteConfig& route) {
  if (route.metrics.empty()) return;
  auto metrics = section.table("metrics");
  for (const MetricConfig& metric : route.metrics) {
    if (metric.path.empty())
      metrics->error(metric.name, text("metric \"", metric.name, "\": its \"path\" is ",
                                       metrics->is_text(metric.name) ? "empty" : "missing"));
  }
}

// Conditions ask members, and so does an ignore = true that has one.
void check_conditions(Section& section, const RouteConfig& route, const PayloadKind& kind) {
  if (kind.by_paths) return;
  const std::string without =
      text("is not for format = \"", kind.name, "\": its payloads have no members by paths");
  if (!route.when.empty()) section.error("when", text("\"when\" ", without));
  auto metrics = section.table("metrics");
  for (const MetricConfig& metric : route.metrics) {
    if (!metric.when.empty())
      metrics->error(metric.name, text("metric \"", metric.name, "\": \"when\" ", without));
    if (unit_of_payload(metric.unit))
      metrics->error(metric.name, text("metric \"", metric.name, "\": a unit of the payload ", without));
  }
  if (!route.time_of_day.empty()) section.error("time_of_day", text("\"time_of_day\" ", without));
}

void check_format(Section& section, const RouteConfig& route) {
  const auto* kind = static_cast<const PayloadKind*>(route.format_chosen.kind);
  if (route.transpose && kind && !kind->lists)
    section.error("transpose", text("\"transpose\" is not for format = \"", kind->name, "\""));
  if (route.ignore && !route.when.empty())
    section.error("when",
                  "ignore = true takes all that comes: \"when\" belongs to the route that wants some of it");
  if (!route.time_of_day.empty() && route.time.empty())
    section.error("time_of_day", "\"time_of_day\" belongs to a \"time\", which is the date");
  if (section.has("columns") && kind && !kind->cells && route.each.empty())
    section.error("columns", "\"columns\" names cells of csv, or elements of the lists of `each`");
  if (!route.ignore && kind && !kind->judged) {
    if (!route.expected.empty())
      section.error("expected", text("\"expected\" is not for format = \"", kind->name, "\""));
    if (route.schema != "off")
      section.error("schema", text("\"schema\" is not for format = \"", kind->name, "\""));
  }
  const bool undated = kind && kind->by_paths && !kind->dated && route.time.empty();
  if (route.report.deduplicate && !route.ignore && undated)
    section.table("report")->error(
        "deduplicate",
        "\"deduplicate\" goes by the time that devices give: this route takes none (\"time\")");
  if (!route.expected.empty() && route.schema != "off")
    section.error("schema", "what is expected is known: nothing is learned");
  if (!route.ignore && kind) check_conditions(section, route, *kind);
  if (route.ignore || !kind) return;
  if (kind->settle) kind->settle(section, route);
  else check_paths(section, route);
}

void settle(Section& section, RouteConfig& route) {
  route.line = section.line();
  if (route.format_chosen.kind) route.format = route.format_chosen.kind->name;
  for (const auto& [name, value] : route.fixed_tags) {
    if (std::find(route.tags.begin(), route.tags.end(), name) != route.tags.end()) {
      section.table("fixed_tags")->error(name, text("\"", name, "\" is in tags, too"));
    }
  }
  check_format(section, route);
}

void settle_published(Section&, RouteConfig& route) { route.publisher_known = true; }

}  // namespace

bool unit_of_payload(std::string_view unit) {
  for (const std::string_view begin : {"{.", "{$", "{^", "{@"}) {
    if (unit.find(begin) != std::string_view::npos) return true;
  }
  return false;
}

const Shape route_shape = shape_of<C, settle>(route_keys);
const Shape topic_route_shape = shape_of<C>(topic_route_keys, "route");
const Shape published_route_shape = shape_of<C, settle_published>(published_route_keys, "route");

}  // namespace millrace
