// Sparkplug B payloads as an edge node says and hears them (proto/sparkplug.proto; specification 3.0, chapter
// 6). What is written is built metric by metric; what is heard is bounded by the packet it came in. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "record/record.h"

namespace millrace::edge {

// Section 6.4.16; those that an edge node of ours uses.
enum class DataType : std::uint8_t { none = 0, int64 = 4, real64 = 10, boolean = 11, text = 12, bytes = 17 };
// The type that a value has by itself; `none`: it is no value, or a number that is none.
DataType type_of(const Value& value);

struct Metric {
  std::string_view name;  // empty: the alias stands for it
  std::optional<std::uint64_t> alias;
  std::int64_t time_ms = 0;
  DataType type = DataType::none;
  const Value* value = nullptr;  // of `type`, or a whole number where that is real64; null: it has none yet
  bool historical = false;
  Quality quality = Quality::good;
  std::string_view unit;
};
void put_metric(const Metric& metric, Bytes& payload);
// What stands around the metrics. `seq`: none in deaths.
void put_frame(std::int64_t time_ms, std::optional<std::uint8_t> seq, Bytes& payload);

// NCMD: whether it asks for births (Node Control/Rebirth is true).
bool asks_rebirth(BytesView payload);

// What a host application says of itself on spBv1.0/STATE/ID (section 6.4.4): JSON.
struct HostState {
  bool online = false;
  std::int64_t timestamp = 0;
};
std::optional<HostState> read_host_state(BytesView payload);
// As specification 2.2 has it, on STATE/ID: ONLINE or OFFLINE, and no time.
std::optional<HostState> read_host_word(BytesView payload);

// A name as a level of a topic: what may not stand there ('/', '+', '#', and '%' itself) as %2F: no two names
// become one.
std::string topic_level(std::string_view name);

}  // namespace millrace::edge
