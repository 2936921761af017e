// One route and a payload, for tests of decoding.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "config/toml.h"
#include "decode/router.h"

namespace millrace {

// Bytes by their digits, two each, without anything between them.
inline std::string from_hex(std::string_view digits) {
  std::string out;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
    out += static_cast<char>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16));
  return out;
}

// "metric=value" each, in order.
inline std::vector<std::string> readings_of(const std::vector<Record>& records) {
  std::vector<std::string> all;
  for (const Record& record : records) {
    std::string value = "?";
    if (const auto* number = std::get_if<double>(&record.value)) value = text(*number);
    else if (const auto* integer = std::get_if<std::int64_t>(&record.value)) value = text(*integer, "i");
    else if (const auto* flag = std::get_if<bool>(&record.value)) value = text(*flag);
    else if (const auto* string = std::get_if<std::string>(&record.value)) value = "'" + *string + "'";
    else if (const auto* bytes = std::get_if<Bytes>(&record.value)) value = text(bytes->size(), " bytes");
    all.push_back(record.metric + "=" + value);
  }
  return all;
}

struct Decoded {
  Status status;
  std::vector<Record> records;
  Unread unread;

  std::vector<std::string> readings() const { return readings_of(records); }
};

inline RouteConfig json_route() {
  RouteConfig route;
  route.topic = "plant/{line}/{device}/telemetry";
  route.tags = {"line"};
  return route;
}

// A route as a file says it: keys of TOML; of a topic "{device}/up".
inline RouteConfig route_in(const std::string& keys) {
  std::vector<ConfigError> errors;
  const auto file = TomlFile::parse("topic = '{device}/up'\n" + keys, "test", errors);
  RouteConfig route;
  if (file) {
    Section section = file->root();
    read_keys(section, topic_route_shape, &route);
  }
  for (const ConfigError& error : errors) FAIL(error.message);
  return route;
}

constexpr std::int64_t arrived_us = 1'767'225'600'000'000;  // 2026

// Arrived then, by a trusted clock. `only`: as a second try for these values.
inline Decoded decode(const RouteConfig& route, std::string_view payload,
                      std::string_view topic = "plant/l1/press-1/telemetry", const ValueRuns& only = {}) {
  auto router = Router::make({route});
  if (!router.ok()) FAIL(router.status().detail());
  Arrival arrival;
  arrival.input = "in";
  arrival.channel = topic;
  arrival.bytes = bytes_of(payload);
  arrival.received = {arrived_us};
  arrival.clock_trusted = true;
  arrival.only = only;
  Decoded out;
  out.status = router.value().decode(arrival, out.records, out.unread);
  return out;
}

}  // namespace millrace
