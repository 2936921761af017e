#include "config/routes.h"

#include <algorithm>

#include "base/text.h"
#include "config/toml.h"

namespace millrace {
namespace {

using C = RouteConfig;
using K = KeysOf<C>;
using M = KeysOf<MetricConfig>;
using Tag = std::pair<std::string, std::string>;

constexpr Key tag_keys[] = {KeysOf<Tag>::key<&Tag::first>("NAME", ""),
                            KeysOf<Tag>::key<&Tag::second>("VALUE", "")};
constexpr Shape tag_shape = shape_of<Tag>(tag_keys);

constexpr Key metric_keys[] = {
    M::key<&MetricConfig::name>("NAME", ""),
    M::key<&MetricConfig::path>("path", "Where it is in the JSON"),
    M::key<&MetricConfig::unit>("unit", ""),
    M::choice<&MetricConfig::integer>("type", "number|integer", ""),
};
constexpr Shape metric_shape = shape_of<MetricConfig>(metric_keys, "metric");

constexpr Key route_keys[] = {
    K::choice<&C::format>("format", "json|plain", "Of a plain payload the whole is one value"),
    K::key<&C::device>("device", "The device's name; {names} of the topic can be used"),
    K::key<&C::tags>("tags", "Names of the topic that become tags").like("[\"line\"]").said_first(),
    K::entries<&C::fixed_tags>(
        "fixed_tags", tag_shape,
        "What every record of this route has: {tag.stream} in the topic of a Kafka uplink, say")
        .like("{ stream = \"pumps\" }"),
    K::key<&C::time>("time", "Path of the time; without it the time of arrival counts")
        .like("\"ts\"")
        .said_first(),
    K::choice<&C::time_format>("time_format", "auto|iso8601|s|ms|us|ns", ""),
    K::key<&C::quality>("quality", "Path of the quality").like("\"q\""),
    K::key<&C::each>("each", "Every element of this array is a message").like("\"readings[]\""),
    K::entries<&C::metrics>("metrics", metric_shape,
                            "Without it every scalar member is a metric; with it these and no others")
        .like("{ temperature = { path = \"data.temp\", unit = \"C\" }, count = { path = \"n\", type = "
              "\"integer\" } }"),
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

// A path is of JSON, and there it must be.
void check_paths(Section& section, const RouteConfig& route) {
  if (route.format == "plain") {
    for (const char* key : {"each", "time", "quality"}) {
      if (section.has(key)) section.error(key, text("\"", key, "\" is for format = \"json\""));
    }
    if (route.metrics.size() != 1) section.error("a plain payload is one value: give [metrics] one name");
    return;
  }
  if (route.metrics.empty()) return;
  auto metrics = section.table("metrics");
  for (const MetricConfig& metric : route.metrics) {
    if (metric.path.empty())
      metrics->error(metric.name, text("metric \"", metric.name, "\": its \"path\" is ",
                                       metrics->is_text(metric.name) ? "empty" : "missing"));
  }
}

void settle(Section& section, RouteConfig& route) {
  route.line = section.line();
  for (const auto& [name, value] : route.fixed_tags) {
    if (std::find(route.tags.begin(), route.tags.end(), name) != route.tags.end()) {
      section.table("fixed_tags")->error(name, text("\"", name, "\" is in tags, too"));
    }
  }
  check_paths(section, route);
}

void settle_published(Section&, RouteConfig& route) { route.publisher_known = true; }

}  // namespace

const Shape route_shape = shape_of<C, settle>(route_keys);
const Shape topic_route_shape = shape_of<C>(topic_route_keys, "route");
const Shape published_route_shape = shape_of<C, settle_published>(published_route_keys, "route");

}  // namespace millrace
