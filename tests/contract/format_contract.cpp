// What every payload format promises. A new format joins the list.
#include <doctest/doctest.h>

#include "base/rng.h"
#include "decode/payload_format.h"
#include "tests/support/seed.h"

using namespace millrace;

TEST_CASE("format contract: pure, whole or not at all, and no bytes make it fall over") {
  RouteConfig json, plain;
  json.time = "ts";
  plain.format = "plain";
  plain.metrics = {{"v", "", "", false}};
  const std::pair<RouteConfig, const char*> formats[] = {{json, R"({"ts":1700000000,"a":1,"b":{"c":true}})"}, {plain, "21.5"}};
  for (const auto& [route, good] : formats) {
    CAPTURE(route.format);
    auto format = make_format(route);
    REQUIRE(format.ok());
    Arrival arrival;
    arrival.bytes = bytes_of(good);
    Record prototype;
    prototype.device = "d";
    std::vector<Record> once, twice;
    CHECK(format.value()->decode(arrival, prototype, once).ok());
    CHECK(format.value()->decode(arrival, prototype, twice).ok());
    REQUIRE(once.size() == twice.size());
    REQUIRE_FALSE(once.empty());
    for (std::size_t i = 0; i < once.size(); ++i) {
      CHECK(once[i].metric == twice[i].metric);
      CHECK(once[i].value == twice[i].value);
      CHECK(once[i].device == "d");
    }
    Rng rng(seed());
    for (int round = 0; round < 5000 * effort(); ++round) {
      std::string bad = good;
      for (std::uint64_t flips = 1 + rng.below(3); flips > 0; --flips) bad[rng.below(bad.size())] = static_cast<char>(rng.next());
      arrival.bytes = bytes_of(bad);
      std::vector<Record> out(1);
      if (!format.value()->decode(arrival, prototype, out).ok()) CHECK(out.size() == 1);
      else CHECK(out.size() > 1);
    }
  }
}
