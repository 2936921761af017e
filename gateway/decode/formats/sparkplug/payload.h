// The bytes of a Sparkplug payload (proto/sparkplug.proto; specification 3.0, chapter 6) as views: nothing is
// copied, nothing is understood yet. Bounded by the payload itself and by the limits below; not ok: the bytes
// are no such message.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace millrace::sparkplug {

// Specification 3.0, section 6.4.16.
struct DataType {
  enum : std::uint32_t {
    unknown = 0,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    real32,
    real64,
    boolean,
    string,
    date_time,
    text,
    uuid,
    data_set,
    bytes,
    file,
    group,
    property_set,
    property_set_list,
    int8_array,
    int16_array,
    int32_array,
    int64_array,
    uint8_array,
    uint16_array,
    uint32_array,
    uint64_array,
    real32_array,
    real64_array,
    boolean_array,
    string_array,
    date_time_array
  };
};

constexpr std::size_t payload_metrics_max = 20'000;  // of a payload
constexpr std::size_t cells_max = 10'000;            // of a data set or a template

// A value in whichever of the fields it came.
struct Value {
  enum Field : std::uint8_t { none, whole, real, truth, words, octets, table, group } field = none;
  bool narrow = false;       // of a whole one: it came in 32 bits
  std::uint64_t number = 0;  // of a whole one, in two's complement
  double decimal = 0;
  bool flag = false;
  BytesView view{};  // words, octets, a DataSet, a Template
};

struct Metric {
  std::string_view name;
  std::optional<std::uint64_t> alias, timestamp;
  std::uint32_t type = DataType::unknown;
  bool historical = false, transient = false, null = false;
  BytesView properties;
  Value value;
};

struct Payload {
  std::optional<std::uint64_t> timestamp, seq;
  std::string_view uuid;
  BytesView body;
  std::vector<BytesView> metrics;
};

struct Property {
  std::string_view key;
  bool null = false;
  Value value;
};

struct DataSet {
  std::vector<std::string_view> columns;
  std::vector<std::uint32_t> types;
  std::vector<std::vector<Value>> rows;
};

struct Parameter {
  std::string_view name;
  std::uint32_t type = DataType::unknown;
  Value value;
};

struct Template {
  std::vector<BytesView> metrics;
  std::vector<Parameter> parameters;
  bool definition = false;
};

Status read_payload(BytesView given, Payload& out);
bool read_metric(BytesView given, Metric& out);
bool read_properties(BytesView given, std::vector<Property>& out);
bool read_data_set(BytesView given, DataSet& out);
bool read_template(BytesView given, Template& out);

// The payload that asks an edge node to publish its births anew (section 6.4.19, Node Control/Rebirth).
Bytes rebirth_request(std::uint64_t timestamp_ms);

}  // namespace millrace::sparkplug
