#include "uplink/mqtt/sparkplug_payload.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/json.h"
#include "record/varint.h"

namespace millrace::edge {
namespace {

// Field numbers of proto/sparkplug.proto.
enum PayloadField : std::uint32_t { payload_time = 1, payload_metric = 2, payload_seq = 3 };
enum MetricField : std::uint32_t {
  metric_name = 1,
  metric_alias,
  metric_time,
  metric_type,
  metric_historical,
  metric_null = 7,
  metric_properties = 9,
  metric_long = 11,
  metric_double = 13,
  metric_boolean = 14,
  metric_string = 15,
  metric_bytes = 16
};
enum PropertyField : std::uint32_t {
  set_keys = 1,
  set_values = 2,
  property_type = 1,
  property_int = 3,
  property_string = 8
};
constexpr std::uint32_t type_int32 = 3, type_string = 12;

void put_number(std::uint32_t field, std::uint64_t number, wire::Writer& out) {
  out.tag(field, wire::varint);  // zero, too: these fields say whether they are there
  out.put_varint(number);
}

void put_value(const Metric& metric, wire::Writer& out) {
  if (const auto* whole = std::get_if<std::int64_t>(metric.value); whole && metric.type == DataType::int64) {
    put_number(metric_long, static_cast<std::uint64_t>(*whole), out);
  } else if (metric.type == DataType::real64) {
    const double number = whole ? static_cast<double>(*whole) : std::get<double>(*metric.value);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &number, sizeof bits);
    out.tag(metric_double, wire::fixed64);
    out.put_fixed64(bits);
  } else if (metric.type == DataType::boolean) {
    put_number(metric_boolean, std::get<bool>(*metric.value) ? 1 : 0, out);
  } else if (metric.type == DataType::text) {
    out.bytes_field(metric_string, bytes_of(std::get<std::string>(*metric.value)));
  } else {
    out.bytes_field(metric_bytes, std::get<Bytes>(*metric.value));
  }
}

// The properties hosts know by convention: engUnit, and Quality where it is not good (section 6.4.15 has 0
// and 500; 64 is what OPC calls uncertain).
void put_properties(const Metric& metric, wire::Writer& out) {
  if (metric.unit.empty() && metric.quality == Quality::good) return;
  Bytes set, value;
  wire::Writer in_set(set), in_value(value);
  if (!metric.unit.empty()) in_set.text_field(set_keys, "engUnit");
  if (metric.quality != Quality::good) in_set.text_field(set_keys, "Quality");
  if (!metric.unit.empty()) {
    in_value.uint_field(property_type, type_string);
    in_value.text_field(property_string, metric.unit);
    in_set.bytes_field(set_values, value);
  }
  if (metric.quality != Quality::good) {
    value.clear();
    in_value.uint_field(property_type, type_int32);
    put_number(property_int, metric.quality == Quality::uncertain ? 64 : 0, in_value);
    in_set.bytes_field(set_values, value);
  }
  out.bytes_field(metric_properties, set);
}

// Whether a metric of a command is Node Control/Rebirth, and true.
bool is_rebirth(BytesView metric) {
  wire::Reader reader(metric);
  std::uint32_t field = 0, type = 0;
  bool named = false, truth = false;
  while (reader.next(field, type)) {
    if (field == metric_name && type == wire::length)
      named = text_of(reader.get_bytes()) == "Node Control/Rebirth";
    else if (field == metric_boolean && type == wire::varint) truth = reader.get_varint() != 0;
    else reader.skip(type);
  }
  return reader.ok() && named && truth;
}

}  // namespace

DataType type_of(const Value& value) {
  if (const auto* number = std::get_if<double>(&value))
    return std::isfinite(*number) ? DataType::real64 : DataType::none;
  if (std::holds_alternative<std::int64_t>(value)) return DataType::int64;
  if (std::holds_alternative<bool>(value)) return DataType::boolean;
  if (std::holds_alternative<std::string>(value)) return DataType::text;
  return std::holds_alternative<Bytes>(value) ? DataType::bytes : DataType::none;
}

// The type is said in data, too, which the specification only advises against: readers that are in use (npm
// sparkplug-payload, and Node-RED with it) get no value without.
void put_metric(const Metric& metric, Bytes& payload) {
  Bytes bytes;
  wire::Writer out(bytes);
  out.text_field(metric_name, metric.name);
  if (metric.alias) put_number(metric_alias, *metric.alias, out);
  put_number(metric_time, static_cast<std::uint64_t>(metric.time_ms), out);
  put_number(metric_type, static_cast<std::uint64_t>(metric.type), out);
  if (metric.historical) put_number(metric_historical, 1, out);
  if (!metric.value) put_number(metric_null, 1, out);
  put_properties(metric, out);
  if (metric.value) put_value(metric, out);
  wire::Writer(payload).bytes_field(payload_metric, bytes);
}

void put_frame(std::int64_t time_ms, std::optional<std::uint8_t> seq, Bytes& payload) {
  wire::Writer out(payload);
  put_number(payload_time, static_cast<std::uint64_t>(time_ms), out);
  if (seq) put_number(payload_seq, *seq, out);
}

bool asks_rebirth(BytesView payload) {
  wire::Reader reader(payload);
  std::uint32_t field = 0, type = 0;
  bool asks = false;
  while (reader.next(field, type)) {
    if (field == payload_metric && type == wire::length) asks = is_rebirth(reader.get_bytes()) || asks;
    else reader.skip(type);
  }
  return reader.ok() && asks;
}

std::optional<HostState> read_host_state(BytesView payload) {
  std::vector<std::pair<std::string, std::string>> members;
  if (!read_flat_json(payload, members).ok()) return std::nullopt;
  HostState state;
  bool said = false;
  for (const auto& [name, value] : members) {
    if (name == "online") {
      said = value == "true" || value == "false";
      state.online = value == "true";
    } else if (name == "timestamp") {
      state.timestamp = std::strtoll(value.c_str(), nullptr, 10);
    }
  }
  return said ? std::optional(state) : std::nullopt;
}

std::optional<HostState> read_host_word(BytesView payload) {
  const std::string_view word = text_of(payload);
  if (word != "ONLINE" && word != "OFFLINE") return std::nullopt;
  return HostState{word == "ONLINE", 0};
}

std::string topic_level(std::string_view name) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : name) {
    if (c != '/' && c != '+' && c != '#' && c != '%') {
      out += c;
      continue;
    }
    out += '%';
    out += digits[static_cast<unsigned char>(c) >> 4];
    out += digits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

}  // namespace millrace::edge
