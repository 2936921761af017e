// Routes of the configuration: how a payload's bytes become records. Inputs have them, decode/ compiles them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/keys.h"
#include "config/report.h"

namespace millrace {

struct MetricConfig {
  std::string name;                       // template
  std::string path;                       // in the JSON; "" for plain payloads
  std::string unit;                       // or a template of members: "{.unit}"
  std::string type;                       // number, integer, bool, text; empty: as it comes
  double scale = 1, offset = 0;           // value = what comes * scale + offset
  std::optional<std::string> if_missing;  // what counts where the member is missing or has no value
  std::optional<double> min, max;         // what lies outside is refused
  std::optional<double> no_value;         // this number, as it comes, says that there is none
  std::string pattern;                    // where its value, and its unit, stand in a text (base/pattern.h)
  std::string when;                       // only of messages that this holds for (decode/condition.h)
};

// What a reading of a name is expected to be; what is not is refused.
struct ExpectedConfig {
  std::string name;
  std::string type = "number";  // number, integer, bool, text
  std::string unit;             // empty: any
  std::optional<double> min, max;
};

struct RouteConfig {
  std::string topic;             // "plant/{line}/{device}/telemetry"; empty for serial
  std::string content_type;      // only payloads of this type (MQTT 5); empty: any
  bool publisher_known = false;  // {client_id}, {username}, {subject} and {property.NAME} can be used
  std::string format = "json";   // a name of built_formats()
  Chosen format_chosen;          // as the file says it, with the keys that only this format has
  // of csv (empty: its first line names them), or of lists in the list of `each`
  std::vector<std::string> columns;
  std::string separator = ",";      // of cells of csv, and of pairs
  bool transpose = false;           // lists beside each other are columns: their n-th elements are a message
  std::string when;                 // only messages that this holds for (decode/condition.h); others go on
  bool ignore = false;              // payloads of this route are dropped, and counted
  bool keep_good = true;            // what can be read of a payload enters; else all of it or nothing
  bool strict = false;              // only what the format's standard allows
  std::string decimal = ".";        // of numbers in texts
  std::string device = "{device}";  // template
  std::vector<std::string> tags;    // names of levels
  // and what every record of the route has; values are templates
  std::vector<std::pair<std::string, std::string>> fixed_tags;
  std::string each, time, quality;  // paths (decode/json_path.h)
  std::string time_of_day;          // likewise, where the time is in two members: "2026-01-01" and "12:00:00"
  std::string time_format =
      "auto";             // auto, iso8601, s, s+ns, ms, us, ns, s2000, filetime, ticks, excel, uptime, or %
  std::string time_zone;  // of times that name none; empty: UTC
  std::string past_limit = "2010-01-01";           // an earlier time is not believed: the arrival's counts
  Duration future_limit = std::chrono::hours(24);  // nor one further ahead of a trusted clock
  bool time_needed = false;                        // a message without a time that can be believed is refused
  std::string quality_format = "auto";             // auto, opcua, opcda
  std::vector<MetricConfig> metrics;               // empty: every value
  std::vector<ExpectedConfig> expected;            // empty: whatever comes
  std::string schema = "off";                      // off, learn: what is new is told
  ReportConfig report;                             // which readings leave
  Duration expected_interval{0};                   // of messages of a device; 0: learned
  int line = 0;
};

// Whether a unit is made of members of the payload ("{.unit}"); other braces are annotations of UCUM.
bool unit_of_payload(std::string_view unit);

// A kind of payload format as the configuration sees it; what it does stands in decode/format_kind.h.
struct PayloadKind : ChoiceKind {
  // Errors in what the route's keys mean for it. Null: that metrics have paths is looked at.
  void (*settle)(Section&, const RouteConfig&) = nullptr;
  bool judged = false;    // it shows its readings to the route's schema (decode/route_judge.h)
  bool by_paths = false;  // its payloads have members by paths: conditions can ask for them
  bool dated = false;     // its payloads have a time, and it knows where
  bool lists = false;     // lists beside each other in its payloads can be columns (`transpose`)
  bool cells = false;     // its payloads have cells, which `columns` names
};
// The formats that are built (PayloadKind), in the order of CMakeLists.txt. Generated by the build: a format
// is a file in gateway/decode/formats and a line there.
const ChoiceKinds& built_formats();

extern const Shape route_shape;            // of payloads that have no topic
extern const Shape topic_route_shape;      // of a broker's
extern const Shape published_route_shape;  // of devices that we know ourselves

}  // namespace millrace
