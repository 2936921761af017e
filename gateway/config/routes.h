// Routes of the configuration: how a payload's bytes become records. Inputs have them, decode/ compiles them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/keys.h"

namespace millrace {

struct MetricConfig {
  std::string name;
  std::string path;       // in the JSON; "" for plain payloads
  std::string unit;
  bool integer = false;
};

struct RouteConfig {
  std::string topic;                  // "plant/{line}/{device}/telemetry"; empty for serial
  std::string content_type;           // only payloads of this type (MQTT 5); empty: any
  bool publisher_known = false;       // {client_id}, {username}, {subject} and {property.NAME} can be used
  std::string format = "json";        // json, plain
  std::string device = "{device}";    // template
  std::vector<std::string> tags;      // names of levels
  std::vector<std::pair<std::string, std::string>> fixed_tags;  // and what every record of the route has
  std::string each, time, quality;  // JSON paths; "$." starts at the root, else inside the element of `each`
  std::string time_format = "auto";   // auto, iso8601, s, ms, us, ns
  std::vector<MetricConfig> metrics;  // empty: every scalar member of the object
  int line = 0;
};

extern const Shape route_shape;            // of payloads that have no topic
extern const Shape topic_route_shape;      // of a broker's
extern const Shape published_route_shape;  // of devices that we know ourselves

}  // namespace millrace
