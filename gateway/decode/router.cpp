#include "decode/router.h"

#include "base/text.h"

namespace millrace {
namespace {
constexpr std::size_t device_name_max = 256;
}

Result<Router> Router::make(const std::vector<RouteConfig>& configs) {
  Router router;
  for (const RouteConfig& config : configs) {
    Route route;
    route.any_topic = config.topic.empty();
    if (!route.any_topic) {
      auto pattern = TopicPattern::parse(config.topic);
      if (!pattern.ok()) return pattern.status();
      route.pattern = std::move(pattern).value();
    }
    auto device = Template::parse(config.device, route.pattern);
    if (!device.ok()) return Status{Code::invalid, text("device = \"", config.device, "\": ", device.status().detail())};
    route.device = std::move(device).value();
    for (const std::string& tag : config.tags) {
      if (!route.pattern.names(tag)) return Status{Code::invalid, text("tags: the topic has no level {", tag, "}")};
      route.tags.push_back(tag);
    }
    auto format = make_format(config);
    if (!format.ok()) return format.status();
    route.format = std::move(format).value();
    router.routes_.push_back(std::move(route));
  }
  return router;
}

Status Router::decode(const Arrival& arrival, std::vector<Record>& out) const {
  TopicMatch match;
  for (const Route& route : routes_) {
    if (!route.any_topic && !route.pattern.matches(arrival.channel, match)) continue;
    Record prototype;
    route.device.render(match, arrival.input, prototype.device);
    if (prototype.device.empty()) return {Code::invalid, "the topic gives no device name"};
    if (prototype.device.size() > device_name_max) return {Code::invalid, "the device's name is too long"};
    for (const std::string& tag : route.tags) prototype.tags.emplace_back(tag, match.value(tag));
    prototype.time = arrival.received;
    prototype.trust = arrival.clock_trusted ? TimeTrust::gateway : TimeTrust::unsynced;
    return route.format->decode(arrival, prototype, out);
  }
  return {Code::invalid, "no route for this topic"};
}

std::vector<std::string> Router::filters() const {
  std::vector<std::string> filters;
  for (const Route& route : routes_) {
    if (!route.any_topic) filters.push_back(route.pattern.filter());
  }
  return filters;
}

}  // namespace millrace
