// What tests of chance over payloads have in common: how payloads are damaged, and how what was read is held
// against what a slow decoder of its own (reference.h) says.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <map>
#include <string>

#include "base/rng.h"
#include "base/text.h"
#include "tests/support/reference.h"
#include "tests/support/route.h"

namespace millrace::oracle {

using reference::Expected;
using Known = std::map<std::string, std::string>;

inline std::uint64_t rounds() { return payloads_of_each(2000); }

// By metric, and how often it came: JSON lines may have one several times, and then the last one counts here.
inline Known known(const Decoded& decoded) {
  Known out;
  const std::vector<std::string> readings = decoded.readings();
  for (std::size_t i = 0; i < readings.size(); ++i) {
    const std::string& metric = decoded.records[i].metric;
    out[metric] = readings[i].substr(metric.size() + 1);
  }
  return out;
}

// What was not read is what is missing, and a second try gives nothing twice.
inline void second_try(const OneRoute& route, std::string_view payload, const Decoded& first) {
  if (!first.unread.any() || first.records.empty()) return;
  const Decoded again = route.decode(payload, first.unread.missing);
  CHECK(again.records.empty());
}

// A payload that all of is sure of: exactly that. Else: what is sure, and nothing that is not `possible`.
// What is otherwise.
template <typename Possible>
std::string difference(const Known& got, const Expected& expected, Possible possible) {
  std::string out;
  for (const auto& [metric, value] : expected.sure) {
    const auto found = got.find(metric);
    if (found == got.end()) out += text(" lost: ", metric, "=", value);
    else if (found->second != value && expected.whole)
      out += text(" ", metric, "=", found->second, " was ", value);
  }
  for (const auto& [metric, value] : got) {
    const auto sure = expected.sure.find(metric);
    const bool known =
        (sure != expected.sure.end() && sure->second == value) || expected.open.contains(metric);
    if (!known && (expected.whole || !possible(metric, value)))
      out += text(" invented: ", metric, "=", value);
  }
  return out;
}
inline bool never(const std::string&, const std::string&) { return false; }
inline bool anything(const std::string&, const std::string&) { return true; }

inline std::string one_of(Rng& rng, std::initializer_list<const char*> words) {
  return *(words.begin() + rng.below(words.size()));
}

// Some bytes are lost, doubled, turned, or others come between.
inline void damage(std::string& payload, Rng& rng, std::initializer_list<const char*> between) {
  for (std::uint64_t n = 1 + rng.below(3); n > 0 && !payload.empty(); --n) {
    const std::size_t at = rng.below(payload.size()),
                      size = 1 + rng.below(std::min<std::uint64_t>(payload.size() - at, 6));
    switch (rng.below(6)) {
      case 0: payload.erase(at, size); break;
      case 1: payload.insert(at, payload.substr(at, size)); break;
      case 2: payload[at] = static_cast<char>(payload[at] ^ (1 << rng.below(8))); break;
      case 3: payload.resize(at); break;
      default: payload.insert(at, one_of(rng, between)); break;
    }
  }
}

}  // namespace millrace::oracle
