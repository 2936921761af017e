#include "decode/router.h"

#include "base/label.h"
#include "base/text.h"

namespace millrace {
namespace {
void add_publisher(const Publisher& publisher, TopicMatch& match, std::vector<std::string>& names) {
  if (!match.has("client_id")) match.add("client_id", publisher.client_id);
  if (!match.has("username")) match.add("username", publisher.username);
  if (!match.has("subject")) match.add("subject", publisher.subject);
  names.reserve(publisher.properties.size());  // the match keeps views
  for (const auto& [name, value] : publisher.properties) {
    names.push_back(text("property.", name));
    match.add(names.back(), value);
  }
}
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
    route.content_type = config.content_type;
    auto device = Template::parse(config.device, route.pattern, config.publisher_known);
    if (!device.ok()) return Status{Code::invalid, text("device = \"", config.device, "\": ", device.status().detail())};
    route.device = std::move(device).value();
    for (const std::string& tag : config.tags) {
      const bool of_publisher = config.publisher_known && names_publisher(tag);
      if (!route.pattern.names(tag) && !of_publisher) return Status{Code::invalid, text("tags: the topic has no level {", tag, "}")};
      if (Status status = check_label(Label::tag_name, tag); !status.ok()) return status;
      route.tags.push_back(tag);
      route.of_publisher = route.of_publisher || of_publisher;
    }
    for (const auto& [name, value] : config.fixed_tags) {
      if (Status status = check_label(Label::tag_name, name); !status.ok()) return status;
      if (Status status = check_label(Label::tag_value, value, name); !status.ok()) return status;
      route.tags_bytes += name.size() + value.size();
    }
    for (const std::string& tag : route.tags) route.tags_bytes += tag.size();
    if (config.fixed_tags.size() + route.tags.size() > tags_max) {
      return Status{Code::invalid, text("more tags than the ", tags_max, " a record may have")};
    }
    if (route.tags_bytes > tags_bytes_max) return Status{Code::invalid, text("the tags take more than ", tags_bytes_max, " bytes together")};
    route.fixed_tags = Tags(config.fixed_tags);
    for (const std::string_view name : {"{client_id}", "{username}", "{subject}", "{property."}) {
      route.of_publisher = route.of_publisher || config.device.find(name) != std::string::npos;
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
    if (!route.content_type.empty() && (!arrival.publisher || arrival.publisher->content_type != route.content_type)) continue;
    std::vector<std::string> names;
    if (route.of_publisher && arrival.publisher) add_publisher(*arrival.publisher, match, names);
    Record prototype;
    prototype.tags = route.fixed_tags;
    route.device.render(match, arrival.input, prototype.device);
    if (prototype.device.empty()) return {Code::invalid, "the topic gives no device name"};
    if (Status status = check_label(Label::device, prototype.device); !status.ok()) return status;
    std::size_t tags_bytes = route.tags_bytes;
    for (const std::string& tag : route.tags) {
      const std::string_view value = match.value(tag);
      if (Status status = check_label(Label::tag_value, value, tag); !status.ok()) return status;
      tags_bytes += value.size();
      prototype.tags.emplace_back(tag, value);
    }
    if (tags_bytes > tags_bytes_max) {
      return {Code::invalid, text("the tags take ", tags_bytes, " bytes together, at most ", tags_bytes_max, " are taken")};
    }
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
