// One Sparkplug message and what it does: births teach names, data is read by them, deaths make stale; what
// does not fit (a gap in the sequence, an alias that no birth gave) is told, and a rebirth asked for.
// Specification 3.0, chapters 5 and 6. What is remembered changes only where the message is not one of the
// dead lane (Arrival::again).
//
// Of a payload's values the place of a metric in it is the place: a DataSet, an array, a Template is one
// value.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "decode/formats/sparkplug/config.h"
#include "decode/formats/sparkplug/memory.h"
#include "decode/formats/sparkplug/payload.h"
#include "decode/formats/sparkplug/values.h"
#include "decode/payload_format.h"
#include "decode/timestamps.h"

namespace millrace::sparkplug {

// "spBv1.0/GROUP/TYPE/NODE[/DEVICE]", whatever stands before it: a bridge may add levels.
struct Topic {
  std::string_view before, group, type, node, device;
  std::string node_name()
      const;  // "GROUP/NODE", with what stands before the name space: bridges of two sites
};
// False: it is none, or a level is longer than a name may be. Of STATE ("spBv1.0/STATE/HOST") only the type
// is filled in.
bool parse_topic(std::string_view topic, Topic& out);

// A route, compiled.
struct Plan {
  struct WantedMetric {
    MetricConfig config;
    ValueSpec spec;
  };
  SparkplugConfig config;
  Memory::Limits limits;
  TimeRule time;
  bool time_needed = false, strict = false;
  millrace::Template of_device, of_node;
  std::map<std::string, WantedMetric, std::less<>> wanted;  // by Sparkplug's name; empty: every metric
};

class Turn {
 public:
  Turn(const Plan& plan, const millrace::Payload& payload, const Topic& topic, std::vector<Record>& out,
       Unread& unread);

  Status take(const Payload& message);

 private:
  bool again() const { return payload_.arrival.again; }
  std::string device_name(std::string_view device) const;
  Instant now() const { return payload_.arrival.received_monotonic; }

  Status born(const Payload& message);
  Status told(const Payload& message);
  Status died(const Payload& message);
  void begin_birth(const Payload& message, Place*& place);
  void check_sequence(Node& node, const Payload& message);
  void ask(Node* node);
  void note(const char* what);
  void go_stale(Place& place, const std::string& device, const Record& like);
  void event(const std::string& device, bool alive);

  void take_metrics(const Payload& message, Node* node, Place* place, bool birth);
  // "" or why it is refused.
  std::string take_metric(const Metric& metric, const Payload& message, Node* node, Place* place, bool birth);
  KnownMetric* known_of(const Metric& metric, Place* place, std::string& why) const;
  bool learn(Place& place, const Metric& metric, const std::string& unit);
  bool date(const Metric& metric, const Payload& message, Record& record, std::string& why);
  static std::string take_properties(BytesView given, Quality& quality, std::string& unit);
  bool mark(const Metric& metric, Record& record) const;
  std::string fill(Record& record, std::string_view name, Flat& flat, bool& enters);

  const Plan& plan_;
  const millrace::Payload& payload_;
  const Topic& topic_;
  std::vector<Record>& out_;
  Unread& unread_;
  Memory& memory_;
  Record prototype_;
  Flattener flat_;                  // of the metric that is taken ...
  std::string_view name_;           // ... by this name ...
  Place* place_ = nullptr;          // ... there
  std::size_t first_ = 0;           // of its readings in out_: behind those that became stale
  std::size_t flattened_ = 0;       // values of the payload so far, wanted or not
  std::int64_t unbelieved_ms_ = 0;  // a time that was not believed
  bool asked_ = false, full_ = false;
};

}  // namespace millrace::sparkplug
