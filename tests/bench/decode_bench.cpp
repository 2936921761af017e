// CPU of decoding payloads: the route of a fleet, plain and lenient. Prints one JSON object a line: id,
// value, unit, beside, beside_value; beside is the bare walk through the same bytes. CPU is this thread's,
// best of several rounds. With an argument, one round of that many payloads of the first kind and nothing
// else: for counting instructions.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/rng.h"
#include "decode/router.h"
#include "tests/bench/measure.h"
#include "tests/support/accept_json.h"

using namespace millrace;

namespace {

constexpr std::size_t readings_each = 4;

std::vector<std::string> payloads(bool sloppy) {
  Rng rng(1);
  std::vector<std::string> out;
  for (int i = 0; i < 1000; ++i) {
    char text[256];
    std::snprintf(text, sizeof text, R"({"ts":%llu,"temperature":%.2f,"pressure":%.3f,"state":"run","count":%llu%s})", 1'700'000'000'000ull + rng.below(1'000'000),
                  20 + rng.unit() * 10, 1000 + rng.unit(),
                      static_cast<unsigned long long>(rng.below(100'000)), sloppy ? ",\"humidity\":nan" : "");
    out.emplace_back(text);
  }
  return out;
}

Router router(bool named) {
  RouteConfig route;
  route.topic = "plant/{line}/{device}/telemetry";
  route.tags = {"line"};
  route.time = "ts";
  if (named) {
    for (const char* name : {"temperature", "pressure", "state", "count"}) {
      MetricConfig metric;
      metric.name = metric.path = name;
      route.metrics.push_back(metric);
    }
  }
  return std::move(Router::make({route})).value();
}

std::size_t decode_all(const Router& router, const std::vector<std::string>& all) {
  std::vector<Record> out;
  Unread unread;
  std::size_t records = 0;
  for (const std::string& payload : all) {
    out.clear();
    Arrival arrival;
    arrival.input = "in";
    arrival.channel = "plant/l1/press-1/telemetry";
    arrival.bytes = bytes_of(payload);
    if (!router.decode(arrival, out, unread).ok()) std::abort();
    records += out.size();
  }
  return records;
}

}  // namespace

int main(int argc, char** argv) {
  const auto common = payloads(false), sloppy = payloads(true);
  const Router all = router(false), named = router(true);
  if (argc > 1) {
    for (int i = 0; i < std::atoi(argv[1]); ++i) (void)decode_all(argc > 2 ? named : all, common);
    return 0;
  }
  const std::size_t readings = common.size() * readings_each;
  const double bare = best_ns(30, readings, [&] {
    AcceptJson handler;
    for (const std::string& payload : common) {
      if (!read_json(bytes_of(payload), handler).ok()) std::abort();
    }
  });
  const auto decode = [&](const Router& router, const std::vector<std::string>& payloads) {
    return best_ns(30, readings, [&] {
      if (decode_all(router, payloads) != readings) std::abort();
    });
  };
  print("decode_json", decode(all, common), "ns/reading", "the bare walk", bare);
  print("decode_json_named", decode(named, common), "ns/reading", "the bare walk", bare);
  print("decode_json_lenient", decode(all, sloppy), "ns/reading", "the bare walk, strict", bare);
  return 0;
}
