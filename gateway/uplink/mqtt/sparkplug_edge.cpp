#include "uplink/mqtt/sparkplug_edge.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/text.h"
#include "uplink/row_records.h"

namespace millrace {
namespace {

constexpr std::size_t data_bytes_max = 64 << 10;  // of a message with data, where it has more than one metric
constexpr std::size_t frame_bytes = 32;           // time and number around the metrics

std::int64_t to_ms(std::int64_t us) { return us / 1000 - (us % 1000 < 0 ? 1 : 0); }

std::string of_gateway(const std::string& source, const std::string& gateway) {
  std::string out;
  NameTemplate::parse(source, false).value().render(gateway, Lane::raw, nullptr, out);
  return edge::topic_level(out);
}

std::string state_topic_of(const SparkplugUplinkConfig& config) {
  if (config.primary_host.empty()) return {};
  return (config.host_words ? "STATE/" : "spBv1.0/STATE/") + config.primary_host;
}

void put_session(std::uint8_t session, std::int64_t time_ms, Bytes& payload) {
  const Value number = std::int64_t{session};
  edge::Metric metric;
  metric.name = "bdSeq";
  metric.type = edge::DataType::int64;
  metric.time_ms = time_ms;
  metric.value = &number;
  edge::put_metric(metric, payload);
}

}  // namespace

SparkplugEdge::SparkplugEdge(const SparkplugUplinkConfig& config, std::string gateway, std::uint8_t session)
    : gateway_(std::move(gateway)),
      device_(NameTemplate::parse(config.device, true).value()),
      metric_(NameTemplate::parse(config.metric, true).value()),
      group_(of_gateway(config.group, gateway_)),
      node_(of_gateway(config.node, gateway_)),
      commands_(topic("NCMD")),
      state_topic_(state_topic_of(config)),
      book_(static_cast<std::size_t>(config.metrics_max)),
      session_(session) {}

std::string SparkplugEdge::topic(std::string_view type, const std::string& device) const {
  return text("spBv1.0/", group_, "/", type, "/", node_, device.empty() ? "" : "/",
              edge::topic_level(device));
}

// ---- a session's begin and end -----------------------------------------------------------------------

// NDEATH (section 6.4.24): nothing but the session's number, and no place in the sequence.
mqtt::LastWord SparkplugEdge::begin(WallTime now) {
  ++session_;
  node_born_ = false;
  Bytes payload;
  edge::put_frame(to_ms(now.us), std::nullopt, payload);
  put_session(session_, to_ms(now.us), payload);
  return {topic("NDEATH"), std::string(text_of(payload))};
}

// Every metric, with what it said last.
SparkplugEdge::Body SparkplugEdge::birth_of(const std::string& device) {
  Body body{device, {}};
  const edge::KnownDevice* known = book_.find(device);
  for (std::size_t i = 0; known && i < known->metrics.size(); ++i) {
    const edge::KnownMetric& one = known->metrics[i];
    const bool has_value = !std::holds_alternative<std::monostate>(one.last);
    edge::Metric metric{one.name, one.alias,   one.time_ms, one.type, has_value ? &one.last : nullptr,
                        false,    one.quality, one.unit};
    edge::put_metric(metric, body.metrics);
  }
  return body;
}

SparkplugEdge::Message SparkplugEdge::told(std::string_view type, Body body, WallTime now) {
  edge::put_frame(to_ms(now.us), seq_++, body.metrics);
  return {topic(body.device.empty() && type.starts_with('D') ? text("N", type.substr(1)) : std::string(type),
                body.device),
          std::make_shared<const Bytes>(std::move(body.metrics))};
}

void SparkplugEdge::births(WallTime now, std::size_t bytes_max, Messages& out) {
  ++births_;
  seq_ = 0;
  node_born_ = true;
  Body node{"", {}};
  put_session(session_, to_ms(now.us), node.metrics);
  const Value no = false;
  edge::Metric rebirth{"Node Control/Rebirth",
                       std::nullopt,
                       to_ms(now.us),
                       edge::DataType::boolean,
                       &no,
                       false,
                       Quality::good,
                       {}};
  edge::put_metric(rebirth, node.metrics);
  const Body own = birth_of("");
  if (node.metrics.size() + own.metrics.size() + frame_bytes <= bytes_max) {
    node.metrics.insert(node.metrics.end(), own.metrics.begin(), own.metrics.end());
    if (edge::KnownDevice* known = book_.find("")) known->births = known->told = births_;
  }
  out.push_back(told("NBIRTH", std::move(node), now));
  for (auto& [device, known] : book_.devices()) {
    if (device.empty()) continue;
    Body body = birth_of(device);
    if (body.metrics.size() + frame_bytes > bytes_max) continue;
    known.births = known.told = births_;
    out.push_back(told("DBIRTH", std::move(body), now));
  }
}

// Who has something to say and is not born with it is born now. A new metric of the node itself is a birth of
// all.
Status SparkplugEdge::bear(const std::vector<Said>& said, WallTime now, std::size_t bytes_max,
                           Messages& out) {
  std::set<std::string> unborn;
  for (const Said& one : said) {
    if (!is_born(*book_.find(one.device))) unborn.insert(one.device);
  }
  if (unborn.empty() && node_born_) return {};
  std::vector<Body> bodies;
  for (const std::string& device : unborn) {
    if (bodies.emplace_back(birth_of(device)).metrics.size() + 4 * frame_bytes > bytes_max)
      return {Code::full, text("the birth of \"", device, "\" would be larger than a message may be here (",
                               bytes_max, " bytes)")};
  }
  if (!node_born_ || unborn.contains("")) {
    births(now, bytes_max, out);
    return {};
  }
  for (Body& body : bodies) {
    edge::KnownDevice& known = *book_.find(body.device);
    known.births = known.told = births_;
    out.push_back(told("DBIRTH", std::move(body), now));
  }
  return {};
}

// ---- data --------------------------------------------------------------------------------------------

Status SparkplugEdge::say_one(const Record& record, const std::string& device, const std::string& name,
                              Value value, std::int64_t time_us, std::vector<Said>& out) {
  if (name.empty()) return {Code::invalid, "its metric has no name"};
  const bool null = std::holds_alternative<std::monostate>(value);
  auto found =
      null ? Result<edge::KnownMetric*>(book_.of_any_sort(device, name)) : book_.metric(device, name, value);
  if (!found.ok()) return found.status();
  if (!found.value()) return {};
  edge::KnownMetric& metric = *found.value();
  edge::KnownDevice& known = *book_.find(device);
  if (metric.unit.empty() && !record.unit.empty()) {
    metric.unit = record.unit;
    known.births = 0;
  }
  Said& said = out.emplace_back();
  said.device = device;
  said.metric = static_cast<std::size_t>(&metric - known.metrics.data());
  said.value = std::move(value);
  said.time_ms = to_ms(time_us);
  said.quality = record.quality;
  if (record.unit != metric.unit) said.unit = record.unit;
  return {};
}

// A window is a metric for each of its results, at its end; a loss is two of the node itself.
Status SparkplugEdge::say(const Record& record, Lane lane, std::vector<Said>& out) {
  std::string device, name;
  device_.render(gateway_, lane, &record, device);
  metric_.render(gateway_, lane, &record, name);
  const Detail* detail = record.detail.get();
  if (const auto* window = detail ? std::get_if<WindowDetail>(&detail->body) : nullptr) {
    std::vector<WindowStat> stats{{"count", static_cast<double>(window->count)},
                                  {"mean", window->mean},
                                  {"min", window->min},
                                  {"max", window->max},
                                  {"revision", static_cast<double>(window->revision)}};
    stats.insert(stats.end(), window->stats.begin(), window->stats.end());
    for (const WindowStat& stat : stats) {
      if (Status status = say_one(record, device, text(name, "/", window->name, "/", stat.name), stat.value,
                                  window->end_us, out);
          !status.ok())
        return status;
    }
    return {};
  }
  if (const auto* loss = detail ? std::get_if<LossDetail>(&detail->body) : nullptr) {
    const std::string of = text("Loss/", record.metric, "/");
    Status status =
        say_one(record, "", of + "records", static_cast<std::int64_t>(loss->count), record.time.us, out);
    return status.ok() ? say_one(record, "", of + "reason", loss->reason, record.time.us, out) : status;
  }
  return say_one(record, device, name, record.value, record.time.us, out);
}

// A body for each device, in the order they speak; one that is full is followed by another.
std::vector<SparkplugEdge::Body> SparkplugEdge::bodies_of(const std::vector<Said>& said, bool historical,
                                                          std::size_t bytes_max) {
  std::vector<Body> bodies;
  std::map<std::string, std::size_t, std::less<>> open;
  for (const Said& one : said) {
    const edge::KnownMetric& known = book_.find(one.device)->metrics[one.metric];
    Bytes bytes;
    const Value* value = std::holds_alternative<std::monostate>(one.value) ? nullptr : &one.value;
    edge::put_metric({{}, known.alias, one.time_ms, known.type, value, historical, one.quality, one.unit},
                     bytes);
    const auto [at, fresh] = open.try_emplace(one.device, bodies.size());
    if (!fresh &&
        bodies[at->second].metrics.size() + bytes.size() > std::min(data_bytes_max, bytes_max - frame_bytes))
      at->second = bodies.size();
    if (at->second == bodies.size()) bodies.push_back({one.device, {}});
    Bytes& body = bodies[at->second].metrics;
    body.insert(body.end(), bytes.begin(), bytes.end());
  }
  return bodies;
}

// A device that is born again while its node is not: a host that keeps aliases by node (Tahu's) takes none
// that it has. Its aliases are new ones then.
void SparkplugEdge::renew_aliases(const std::vector<Said>& said) {
  for (const Said& one : said) {
    edge::KnownDevice& known = *book_.find(one.device);
    if (!node_born_ || one.device.empty() || known.told != births_ || known.births == births_) continue;
    book_.renew_aliases(known);
    known.told = 0;
  }
}

Result<std::uint32_t> SparkplugEdge::add(const Row& row, bool historical, WallTime now, std::size_t bytes_max,
                                         Messages& out) {
  std::vector<Record> records;
  if (Status status = records_of(row, records); !status.ok()) return status;
  std::vector<Said> said;
  std::uint32_t passed_over = 0;
  for (const Record& record : records) {
    const std::size_t before = said.size();
    if (Status status = say(record, row.lane, said); !status.ok()) return status;
    if (said.size() == before) ++passed_over;
  }
  renew_aliases(said);
  std::vector<Body> bodies = bodies_of(said, historical, bytes_max);
  for (const Body& body : bodies) {
    if (body.metrics.size() + frame_bytes > bytes_max)
      return Status{Code::full, text("a value of ", body.metrics.size(), " bytes: a message may have ",
                                     bytes_max, " here")};
  }
  if (Status status = bear(said, now, bytes_max, out); !status.ok()) return status;
  for (Body& body : bodies) out.push_back(told("DDATA", std::move(body), now));
  for (Said& one : said) {
    edge::KnownMetric& metric = book_.find(one.device)->metrics[one.metric];
    if (one.time_ms >= metric.time_ms) edge::Book::remember(metric, one.value, one.time_ms, one.quality);
  }
  return passed_over;
}

}  // namespace millrace
