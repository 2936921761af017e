// format = "sparkplug": a Sparkplug B host application (Eclipse Sparkplug specification 3.0). The topic says
// who speaks and what; NBIRTH and DBIRTH teach names, aliases and types, NDATA and DDATA are read by them,
// NDEATH and DDEATH mark stale. What others say (NCMD, DCMD, STATE) is ignored and counted. A metric's name,
// verbatim, is the reading's; flattening: values.h. In `device`, {group_id}, {edge_node_id} and {device_id}
// can be used; of a node's own metrics {device_id} goes with the sign before it.
#include "base/text.h"
#include "config/toml.h"
#include "decode/format_kind.h"
#include "decode/formats/sparkplug/inflate.h"
#include "decode/formats/sparkplug/turn.h"
#include "decode/time_rule.h"

namespace millrace {

namespace {

using namespace std::chrono_literals;
using C = SparkplugConfig;
using K = KeysOf<C>;
constexpr const char* compressed = "SPBV1.0_COMPRESSED";
constexpr const char* device_default = "{group_id}/{edge_node_id}/{device_id}";

constexpr Key keys[] = {
    K::choice<&C::births>("births", "take|names",
                          "Values of births are readings; or only their names are learned"),
    K::choice<&C::historical>(
        "historical", "take|tag|ignore",
        "What a node kept while it was away; also with a tag of this name; or not at all"),
    K::choice<&C::transient>("transient", "take|tag|ignore", "What a node says is not for keeping; likewise"),
    K::key<&C::stale>("stale", "A death gives the last value of each metric again, with quality bad"),
    K::key<&C::liveness>("liveness", "Births and deaths become events in the alarm lane"),
    K::key<&C::rebirth>(
        "rebirth",
        "Where names are missing, or messages, the node is asked to be born anew: the input may publish NCMD"),
    K::key<&C::rebirth_min>("rebirth_min", "Between two such requests to a node: from here ...")
        .within(1s, 24h)
        .only_with("rebirth"),
    K::key<&C::rebirth_max>("rebirth_max", "... to here, while it does not help")
        .within(1s, 24h)
        .only_with("rebirth"),
    K::key<&C::nodes_max>("nodes_max", "Edge nodes remembered").within(1, 100'000),
    K::key<&C::metrics_max>("metrics_max", "Metrics and devices remembered, of all nodes together")
        .within(1, 2'000'000),
    K::size<&C::inflated_max>("inflated_max", "A compressed payload that becomes larger is refused")
        .within(4 << 10, 64 << 20),
};
void settle_keys(Section& section, SparkplugConfig& c) {
  if (c.rebirth_max < c.rebirth_min)
    section.error("rebirth_max", "\"rebirth_max\" is less than \"rebirth_min\"");
}
constexpr Shape shape = shape_of<C, settle_keys>(keys);

class SparkplugFormat final : public PayloadFormat {
 public:
  explicit SparkplugFormat(sparkplug::Plan plan) : plan_(std::move(plan)) {}

  Status decode(const Payload& payload, std::vector<Record>& out, Unread& unread) const override {
    sparkplug::Topic topic;
    if (!sparkplug::parse_topic(payload.arrival.channel, topic))
      return {Code::invalid, "not a topic of Sparkplug: spBv1.0/GROUP/TYPE/NODE, each of 256 bytes at most"};
    static constexpr std::string_view read[] = {"NBIRTH", "NDEATH", "DBIRTH", "DDEATH", "NDATA", "DDATA"};
    static constexpr std::string_view ignored[] = {"NCMD", "DCMD", "STATE"};
    if (std::ranges::find(ignored, topic.type) != std::end(ignored)) {
      unread.ignored = true;
      return {};
    }
    if (std::ranges::find(read, topic.type) == std::end(read))
      return {Code::invalid, "not a type of Sparkplug's messages"};
    sparkplug::Payload message, inner;
    if (Status status = sparkplug::read_payload(payload.arrival.bytes, message); !status.ok()) return status;
    Bytes inflated;
    if (message.uuid == compressed) {
      const auto most = static_cast<std::size_t>(plan_.config.inflated_max);
      if (Status status = sparkplug::inflate_body(message.body, most, inflated); !status.ok()) return status;
      if (Status status = sparkplug::read_payload(inflated, inner); !status.ok()) return status;
      if (inner.uuid == compressed) return {Code::invalid, "compressed twice"};
      if (!inner.seq) inner.seq = message.seq;
      if (!inner.timestamp) inner.timestamp = message.timestamp;
      message = std::move(inner);
    }
    const std::size_t before = out.size();
    Status status = sparkplug::Turn(plan_, payload, topic, out, unread).take(message);
    if (!status.ok()) out.resize(before);
    return status;
  }

  std::unique_ptr<FormatMemory> make_memory() const override { return std::make_unique<sparkplug::Memory>(); }

 private:
  const sparkplug::Plan plan_;
};

// Of a node's own metrics: without {device_id} and the sign before it.
std::string without_device(std::string device) {
  constexpr std::string_view name = "{device_id}";
  const std::size_t at = device.find(name);
  if (at == std::string::npos) return device;
  device.erase(at, name.size());
  if (at > 0 && std::string_view("/.-_: ").find(device[at - 1]) != std::string_view::npos)
    device.erase(at - 1, 1);
  return device;
}

Status compile_metrics(const RouteConfig& route, sparkplug::Plan& plan) {
  for (const MetricConfig& metric : route.metrics) {
    if (Status status = check_names(metric); !status.ok()) return status;
    if (metric.name.find('{') != std::string::npos)
      return {Code::invalid, text("metric \"", metric.name, "\": of Sparkplug names are fixed")};
    if (metric.if_missing)
      return {Code::invalid,
              text("metric \"", metric.name, "\": there is no default: data has what has changed")};
    if (!plan.wanted.emplace(metric.path, sparkplug::Plan::WantedMetric{metric, value_spec(metric, route)})
             .second)
      return {Code::invalid, text("metric \"", metric.name, "\": another one has its path")};
  }
  return {};
}

Result<std::unique_ptr<PayloadFormat>> make(const RouteConfig& route, const TopicPattern& pattern) {
  sparkplug::Plan plan;
  plan.config = keys_of<C>(route);
  plan.limits = {static_cast<std::size_t>(plan.config.nodes_max),
                 static_cast<std::size_t>(plan.config.metrics_max)};
  auto rule = time_rule_of(route);
  if (!rule.ok()) return rule.status();
  plan.time = std::move(rule).value();
  plan.time_needed = route.time_needed;
  const bool said = route.device != RouteConfig().device || pattern.names("device");
  const std::string device = said ? route.device : device_default;
  TopicPattern known = pattern;
  for (const char* name : {"group_id", "edge_node_id", "device_id"}) known.also_names(name);
  for (const auto& [made_of, to] :
       {std::pair{device, &plan.of_device}, std::pair{without_device(device), &plan.of_node}}) {
    auto made = Template::parse(made_of, known, route.publisher_known);
    if (!made.ok()) return Status{Code::invalid, text("device = \"", device, "\": ", made.status().detail())};
    if (!made.value().members().empty())
      return Status{Code::invalid,
                    text("device = \"", device,
                         "\": of Sparkplug there are {group_id}, {edge_node_id} and {device_id}")};
    *to = std::move(made).value();
  }
  if (Status status = compile_metrics(route, plan); !status.ok()) return status;
  return std::unique_ptr<PayloadFormat>(std::make_unique<SparkplugFormat>(std::move(plan)));
}

void settle(Section& section, const RouteConfig& route) {
  for (const char* key : {"each", "time", "quality", "columns"}) {
    if (section.has(key))
      section.error(key, text("\"", key, "\" is not for format = \"sparkplug\": the payload says it"));
  }
  for (const auto& [key, set] : {std::pair{"time_format", route.time_format != "auto"},
                                 std::pair{"time_zone", !route.time_zone.empty()},
                                 std::pair{"quality_format", route.quality_format != "auto"}}) {
    if (set) section.error(key, text("\"", key, "\" is not for format = \"sparkplug\": the payload says it"));
  }
  if (route.topic.empty()) section.error("Sparkplug comes by topics: it is for inputs at MQTT brokers");
  auto metrics = section.table("metrics");
  for (const MetricConfig& metric : route.metrics) {
    if (metric.path.empty())
      metrics->error(metric.name,
                     text("metric \"", metric.name, "\": its \"path\" is Sparkplug's name of it"));
  }
}

// Commands to a node go to spBv1.0/GROUP/NCMD/NODE; those to its devices to DCMD, of which none are said, nor
// is a node's own NDEATH. Nodes ask for all that lies below, too.
bool heard_by(std::string_view filter, std::string& shown_by) {
  if (filter.ends_with("/#")) filter.remove_suffix(2);
  sparkplug::Topic topic;
  if (filter.find_first_of("+#") != std::string_view::npos || !sparkplug::parse_topic(filter, topic))
    return false;
  const bool of_node = (topic.type == "NCMD" || topic.type == "DCMD" || topic.type == "NDEATH") &&
                       !topic.group.empty() && !topic.node.empty();
  const std::size_t at = filter.find(text("/", topic.type, "/"));
  if (!of_node || at == std::string_view::npos) return false;
  shown_by = text(filter.substr(0, at), "/NBIRTH/", topic.node);
  return true;
}

constexpr FormatKind make_kind() {
  FormatKind kind = format_kind<C>("sparkplug", "Sparkplug B, as its host application", shape, make, settle);
  kind.names_device = true;
  kind.heard_by = heard_by;
  return kind;
}

}  // namespace

extern const FormatKind sparkplug_format_kind;
const FormatKind sparkplug_format_kind = make_kind();

}  // namespace millrace
