#include "uplink/https/json_template.h"

#include <algorithm>
#include <iterator>

#include "base/braces.h"
#include "base/text.h"
#include "base/time.h"

namespace millrace {
namespace {

constexpr std::string_view names[] = {"",         "device",  "metric",  "value",   "unit",    "quality",
                                      "time",     "time_us", "time_ms", "time_s",  "gateway", "epoch",
                                      "sequence", "lane",    "kind",    "window",  "end",     "end_ms",
                                      "count",    "min",     "max",     "revision"};

std::string_view tag_of(const Record& record, std::string_view name) {
  for (const auto& [key, value] : record.tags) {
    if (key == name) return value;
  }
  return {};
}

// A window stands for its mean, a loss for its count.
Value value_of(const Record& record) {
  const Detail* detail = record.detail.get();
  if (const auto* window = detail ? std::get_if<WindowDetail>(&detail->body) : nullptr) return window->mean;
  if (const auto* loss = detail ? std::get_if<LossDetail>(&detail->body) : nullptr)
    return static_cast<std::int64_t>(loss->count);
  return record.value;
}

// The value as it stands in the middle of a text.
std::string words_of_value(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) return text(*number);
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return text(*integer);
  if (const auto* flag = std::get_if<bool>(&value)) return text(*flag);
  if (const auto* words = std::get_if<std::string>(&value)) return *words;
  if (const auto* bytes = std::get_if<Bytes>(&value)) return to_hex(*bytes);
  return "";
}

}  // namespace

Result<std::vector<JsonTemplate::Part>> JsonTemplate::parts_of(std::string_view source) {
  std::vector<Part> parts;
  const auto literal = [&parts](std::string_view words) {
    parts.push_back({Name::literal, std::string(words)});
  };
  const auto named = [&parts](std::string_view name) -> Status {
    const auto* found = std::find(std::begin(names) + 1, std::end(names), name);
    if (found != std::end(names)) parts.push_back({static_cast<Name>(found - std::begin(names)), ""});
    else if (name.starts_with("tag.") && name.size() > 4)
      parts.push_back({Name::tag, std::string(name.substr(4))});
    else if (name.starts_with("stat.") && name.size() > 5)
      parts.push_back({Name::stat, std::string(name.substr(5))});
    else
      return {
          Code::invalid,
          text(
              "there is no {", name,
              "}; there are {device}, {metric}, {value}, {unit}, {quality}, {time}, {time_us}, {time_ms}, "
              "{time_s}, {gateway}, {epoch}, {sequence}, {lane}, {kind}, {tag.NAME}, and of windows {window}, "
              "{end}, {end_ms}, {count}, {min}, {max}, {revision}, {stat.NAME}")};
    return {};
  };
  if (Status status = walk_braces(source, literal, named); !status.ok()) return status;
  return parts;
}

Status JsonTemplate::put(std::vector<Node>& nodes, std::string_view path, std::vector<Part> parts) {
  const std::size_t dot = path.find('.');
  const std::string_view key = path.substr(0, dot);
  if (key.empty()) return {Code::invalid, "a member without a name"};
  auto found = std::find_if(nodes.begin(), nodes.end(), [&](const Node& node) { return node.key == key; });
  const bool leaf = dot == std::string_view::npos;
  if (found != nodes.end() && (leaf || found->nodes.empty()))
    return {Code::invalid, text("\"", key, "\" stands for two things")};
  if (found == nodes.end()) found = nodes.insert(nodes.end(), Node{std::string(key), {}, {}});
  if (!leaf) return put(found->nodes, path.substr(dot + 1), std::move(parts));
  found->parts = std::move(parts);
  return {};
}

Result<JsonTemplate> JsonTemplate::parse(const Members& members) {
  JsonTemplate out;
  for (const auto& [path, source] : members) {
    auto parts = parts_of(source);
    if (!parts.ok()) return Status{Code::invalid, text(path, ": ", parts.status().detail())};
    if (Status status = put(out.nodes_, path, std::move(parts).value()); !status.ok())
      return Status{Code::invalid, text(path, ": ", status.detail())};
  }
  return out;
}

// Nothing, of what is no window, or was not asked for that aggregate.
Value JsonTemplate::window_value(const Part& part, const Record& record) {
  const Detail* detail = record.detail.get();
  const auto* window = detail ? std::get_if<WindowDetail>(&detail->body) : nullptr;
  if (!window) return {};
  switch (part.name) {
    case Name::window: return window->name;
    case Name::end: return format_time({window->end_us});
    case Name::end_ms: return window->end_us / 1000;
    case Name::count: return static_cast<std::int64_t>(window->count);
    case Name::min: return window->min;
    case Name::max: return window->max;
    case Name::revision: return static_cast<std::int64_t>(window->revision);
    default: break;
  }
  for (const WindowStat& stat : window->stats) {
    if (stat.name == part.text) return stat.value;
  }
  return {};
}

std::string JsonTemplate::words_of(const Part& part, const Moment& moment) {
  const Record& record = moment.record;
  switch (part.name) {
    case Name::literal: return part.text;
    case Name::device: return record.device;
    case Name::metric: return record.metric;
    case Name::value: return words_of_value(value_of(record));
    case Name::unit: return record.unit;
    case Name::quality: return quality_name(record.quality);
    case Name::time: return format_time(record.time);
    case Name::time_us: return text(record.time.us);
    case Name::time_ms: return text(record.time.us / 1000);
    case Name::time_s: return text(static_cast<double>(record.time.us) / 1e6);
    case Name::gateway: return std::string(moment.identity.gateway);
    case Name::epoch: return text(moment.identity.epoch);
    case Name::sequence: return text(moment.identity.sequence);
    case Name::lane: return lane_name(moment.lane);
    case Name::kind: return kind_name(record.kind);
    case Name::tag: return std::string(tag_of(record, part.text));
    default: return words_of_value(window_value(part, record));
  }
}

void JsonTemplate::write_typed(const Part& part, const Moment& moment, JsonWriter& json) {
  const auto typed = [&json](const Value& value) {
    if (const auto* number = std::get_if<double>(&value)) json.value(*number);
    else if (const auto* integer = std::get_if<std::int64_t>(&value)) json.value(*integer);
    else if (const auto* flag = std::get_if<bool>(&value)) json.value(*flag);
    else if (std::holds_alternative<std::monostate>(value)) json.null();
    else json.value(words_of_value(value));
  };
  switch (part.name) {
    case Name::time_us: json.value(moment.record.time.us); return;
    case Name::time_ms: json.value(moment.record.time.us / 1000); return;
    case Name::time_s: json.value(static_cast<double>(moment.record.time.us) / 1e6); return;
    case Name::epoch: json.value(moment.identity.epoch); return;
    case Name::sequence: json.value(moment.identity.sequence); return;
    case Name::value: typed(value_of(moment.record)); return;
    case Name::window:
    case Name::end:
    case Name::end_ms:
    case Name::count:
    case Name::min:
    case Name::max:
    case Name::revision:
    case Name::stat: typed(window_value(part, moment.record)); return;
    default: json.value(words_of(part, moment));
  }
}

void JsonTemplate::write(const std::vector<Node>& nodes, const Moment& moment, JsonWriter& json) {
  json.begin_object();
  for (const Node& node : nodes) {
    json.key(node.key);
    if (!node.nodes.empty()) {
      write(node.nodes, moment, json);
    } else if (node.parts.size() == 1) {
      write_typed(node.parts.front(), moment, json);
    } else {
      std::string words;
      for (const Part& part : node.parts) words += words_of(part, moment);
      json.value(words);
    }
  }
  json.end_object();
}

void JsonTemplate::render(const Identity& identity, Lane lane, const Record& record, std::string& out) const {
  JsonWriter json;
  write(nodes_, {identity, lane, record}, json);
  out += json.text();
}

}  // namespace millrace
