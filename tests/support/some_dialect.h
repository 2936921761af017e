// Dialects as configurations make them, what goes into their requests, and replies to them.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "uplink/https/dialect.h"

namespace millrace {

inline HttpReply reply(int status, std::string body,
                       std::vector<std::pair<std::string, std::string>> headers = {}) {
  return {status, std::move(headers), std::move(body), true, true};
}

// A dialect as a configuration of these keys makes it.
template <typename Configure>
std::unique_ptr<Dialect> dialect(const char* name, Configure configure,
                                 Duration patience = std::chrono::seconds(30)) {
  const Chosen chosen = choose(built_dialects(), name);
  REQUIRE(chosen.kind != nullptr);
  configure([&](std::string_view key, auto value) {
    for (const Key& row : *chosen.kind->shape) {
      if (row.name == key) *static_cast<decltype(value)*>(row.at(chosen.values.get())) = value;
    }
  });
  return kind_of(chosen).make(chosen.values.get(), {"gw", 77, "example:8086", "", patience});
}

inline Record reading(const char* device, const char* metric, Value value) {
  Record record;
  record.device = device;
  record.metric = metric;
  record.value = std::move(value);
  record.time = {1'790'000'000'000'001};
  return record;
}

inline std::string body_of(const Dialect& dialect, const Record& record, Sequence sequence = 5,
                           Lane lane = Lane::raw) {
  std::string body;
  const Row row{lane, sequence, 1, false, nullptr};
  const Status status = dialect.add({sequence, lane, &record, &row}, body);
  return status.ok() ? body : "refused: " + status.detail();
}

inline std::string header(const HttpAsk& ask, std::string_view name) {
  const auto found =
      std::find_if(ask.headers.begin(), ask.headers.end(), [&](const auto& h) { return h.first == name; });
  return found == ask.headers.end() ? "" : found->second;
}

}  // namespace millrace
