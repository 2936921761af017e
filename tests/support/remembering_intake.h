// An intake that takes no payloads and remembers the small durable values of drivers, as the log would over a
// restart.
#pragma once

#include <map>

#include "ingest/intake.h"

namespace millrace {

struct RememberingIntake : Intake {
  Handle attach(Peer) override { return {}; }
  bool offer(const Arrival&) override { return false; }
  void note_duplicate(std::string_view) override {}
  void report(Record) override {}
  Status put_state(std::string name, Bytes bytes) override {
    if (bytes.empty()) values.erase(name);
    else values[std::move(name)] = std::move(bytes);
    return {};
  }
  std::optional<Bytes> state(std::string_view name) const override {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<std::string> states(std::string_view prefix) const override {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : values) {
      if (name.starts_with(prefix)) names.push_back(name);
    }
    return names;
  }
  Ticket commit(std::optional<Duration>) override { return 1; }
  std::size_t room() const override { return 0; }

  std::map<std::string, Bytes, std::less<>> values;
};

}  // namespace millrace
