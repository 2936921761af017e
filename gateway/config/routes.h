// Routes of the configuration: how a payload's bytes become records. Inputs have them, decode/ compiles them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/keys.h"

namespace millrace {

struct MetricConfig {
  std::string name;                       // template
  std::string path;                       // in the JSON; "" for plain payloads
  std::string unit;
  std::string type;                       // number, integer, bool, text; empty: as it comes
  double scale = 1, offset = 0;           // value = what comes * scale + offset
  std::optional<std::string> if_missing;  // what counts where the member is missing or has no value
  std::optional<double> min, max;         // what lies outside is refused
};

struct RouteConfig {
  std::string topic;                  // "plant/{line}/{device}/telemetry"; empty for serial
  std::string content_type;           // only payloads of this type (MQTT 5); empty: any
  bool publisher_known = false;       // {client_id}, {username}, {subject} and {property.NAME} can be used
  std::string format = "json";        // json, cbor, plain, csv, senml, senml_cbor, nmea, obis, mbus, device
  // of csv (empty: its first line names them), or of lists in the list of `each`
  std::vector<std::string> columns;
  std::string separator = ",";        // of csv
  bool ignore = false;                // payloads of this route are dropped, and counted
  bool keep_good = true;              // what can be read of a payload enters; else all of it or nothing
  bool strict = false;                // only what the format's standard allows
  std::string decimal = ".";          // of numbers in texts
  std::string device = "{device}";    // template
  std::vector<std::string> tags;      // names of levels
  // and what every record of the route has; values are templates
  std::vector<std::pair<std::string, std::string>> fixed_tags;
  std::string each, time, quality;    // paths (decode/json_path.h)
  std::string time_format = "auto";   // auto, iso8601, s, ms, us, ns, s2000, uptime, or a pattern with %
  std::string time_zone;              // of times that name none; empty: UTC
  std::string past_limit = "2010-01-01";           // an earlier time is not believed: the arrival's counts
  Duration future_limit = std::chrono::hours(24);  // nor one further ahead of a trusted clock
  bool time_needed = false;           // a message without a time that can be believed is refused
  std::string quality_format = "auto";  // auto, opcua, opcda
  std::vector<MetricConfig> metrics;  // empty: every value
  int line = 0;
};

extern const Shape route_shape;            // of payloads that have no topic
extern const Shape topic_route_shape;      // of a broker's
extern const Shape published_route_shape;  // of devices that we know ourselves

}  // namespace millrace
