// One route, made once, and many payloads: for tests that decode a great many of them.
#pragma once

#include <cstdlib>
#include <span>
#include <string>

#include "tests/support/decoding.h"
#include "tests/support/seed.h"

namespace millrace {

class OneRoute {
 public:
  explicit OneRoute(const std::string& keys) : router_(std::move(Router::make({route_in(keys)})).value()) {}

  // Arrived at `arrived_us`, by a trusted clock. `only`: as a second try for these values.
  Decoded decode(std::string_view payload, std::span<const ValueRun> only = {}) const {
    Arrival arrival;
    arrival.input = "in";
    arrival.channel = "d/up";
    arrival.bytes = bytes_of(payload);
    arrival.received = {arrived_us};
    arrival.clock_trusted = true;
    arrival.only = only;
    Decoded out;
    out.status = router_.decode(arrival, out.records, out.unread);
    return out;
  }

 private:
  Router router_;
};

// How many payloads of each format a test of chance makes: MILLRACE_PAYLOADS, else what is quick.
inline std::uint64_t payloads_of_each(std::uint64_t quick) {
  const char* said = std::getenv("MILLRACE_PAYLOADS");
  return said ? std::strtoull(said, nullptr, 10) : quick * static_cast<std::uint64_t>(effort());
}

}  // namespace millrace
