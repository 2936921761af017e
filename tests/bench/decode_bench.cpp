// CPU of decoding payloads: the route of a fleet, plain and lenient, and the same readings in the other
// formats. Prints one JSON object a line: id, value, unit, beside, beside_value; beside is somebody else's
// decoder on the same bytes (other_decoders.h), which makes no records, and where there is none the same
// readings as JSON. CPU is this thread's, best of several rounds. With an argument, one round of that many
// payloads of the first kind and nothing else: for counting instructions.
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/rng.h"
#include "base/text.h"
#include "config/toml.h"
#include "decode/router.h"
#include "record/varint.h"
#include "tests/bench/measure.h"
#include "tests/bench/other_decoders.h"

using namespace millrace;

namespace {

constexpr std::size_t readings_each = 4;

std::vector<std::string> payloads(bool sloppy) {
  Rng rng(1);
  std::vector<std::string> out;
  for (int i = 0; i < 1000; ++i) {
    char text[256];
    std::snprintf(text, sizeof text,
                  R"({"ts":%llu,"temperature":%.2f,"pressure":%.3f,"state":"run","count":%llu%s})",
                  1'700'000'000'000ull + rng.below(1'000'000), 20 + rng.unit() * 10, 1000 + rng.unit(),
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

// The same readings otherwise: temperature, pressure, state, count.
struct Reading {
  std::uint64_t ts;
  double temperature, pressure;
  std::uint64_t count;
};
template <typename Spell>
std::vector<std::string> spelled(Spell spell) {
  Rng rng(1);
  std::vector<std::string> out;
  for (int i = 0; i < 1000; ++i) {
    Reading reading{1'700'000'000'000ull + rng.below(1'000'000),
                    std::round((20 + rng.unit() * 10) * 100) / 100,
                    std::round((1000 + rng.unit()) * 1000) / 1000, rng.below(100'000)};
    out.push_back(spell(reading));
  }
  return out;
}

std::string csv(const Reading& r) {
  return text(r.ts, ",", r.temperature, ",", r.pressure, ",run,", r.count, "\n");
}
std::string line(const Reading& r) {
  return text(r.ts, " T=", r.temperature, " P=", r.pressure, " run n=", r.count);
}
std::string influx(const Reading& r) {
  return text("press,area=a temperature=", r.temperature, ",pressure=", r.pressure,
              ",state=\"run\",count=", r.count, "i ", r.ts, "000000\n");
}
std::string senml(const Reading& r) {
  return text(R"([{"bt":)", static_cast<double>(r.ts) / 1000, R"(,"n":"temperature","v":)", r.temperature,
              R"(},{"n":"pressure","v":)", r.pressure, R"(},{"n":"state","vs":"run"},{"n":"count","v":)",
              r.count, "}]");
}
std::string cbor(const Reading& r) {
  std::string out = "\xa5";
  const auto name = [&](std::string_view word) { out += static_cast<char>(0x60 + word.size()), out += word; };
  const auto big = [&](std::uint64_t raw, int bytes) {
    for (int i = bytes; i-- > 0;) out += static_cast<char>(raw >> (8 * i));
  };
  name("ts"), out += '\x1b', big(r.ts, 8);
  name("temperature"), out += '\xfb', big(std::bit_cast<std::uint64_t>(r.temperature), 8);
  name("pressure"), out += '\xfb', big(std::bit_cast<std::uint64_t>(r.pressure), 8);
  name("state"), name("run");
  name("count"), out += '\x1a', big(r.count, 4);
  return out;
}
std::string bytes(const Reading& r) {
  std::string out;
  const auto big = [&](std::uint64_t raw, int bytes) {
    for (int i = bytes; i-- > 0;) out += static_cast<char>(raw >> (8 * i));
  };
  big(r.ts, 8), big(std::bit_cast<std::uint32_t>(static_cast<float>(r.temperature)), 4),
      big(std::bit_cast<std::uint32_t>(static_cast<float>(r.pressure)), 4);
  out += "run", big(r.count, 4);
  return out;
}
// NDATA with names, as an edge node says it that uses no aliases.
std::string sparkplug(const Reading& r) {
  Bytes payload;
  wire::Writer out(payload);
  const auto metric = [&](std::string_view name, std::uint64_t type, auto value) {
    Bytes one;
    wire::Writer writer(one);
    writer.text_field(1, name);
    writer.uint_field(4, type);
    value(writer);
    out.bytes_field(2, one);
  };
  const auto real = [](double v) {
    return
        [v](wire::Writer& to) { to.tag(13, wire::fixed64), to.put_fixed64(std::bit_cast<std::uint64_t>(v)); };
  };
  static std::uint64_t seq = 0;  // of a birth, then of what follows it
  out.uint_field(1, r.ts);
  out.tag(3, wire::varint), out.put_varint(seq++ % 256);
  metric("temperature", 10, real(r.temperature));
  metric("pressure", 10, real(r.pressure));
  metric("state", 12, [](wire::Writer& to) { to.text_field(15, "run"); });
  metric("count", 8, [&](wire::Writer& to) { to.uint_field(11, r.count); });
  return std::string(text_of(payload));
}

Router router_in(const std::string& keys) {
  std::vector<ConfigError> errors;
  const auto file =
      TomlFile::parse("topic = 'plant/{line}/{device}/telemetry'\ntags = ['line']\n" + keys, "bench", errors);
  RouteConfig route;
  Section section = file->root();
  read_keys(section, topic_route_shape, &route);
  for (const ConfigError& error : errors) std::fprintf(stderr, "%s\n", error.message.c_str());
  return std::move(Router::make({route})).value();
}

std::size_t decode_all(const Router& router, const std::vector<std::string>& all,
                       Remembered* sparkplug_topic = nullptr) {
  std::vector<Record> out;
  Unread unread;
  std::size_t records = 0;
  for (const std::string& payload : all) {
    out.clear();
    Arrival arrival;
    arrival.input = "in";
    arrival.channel = "plant/l1/press-1/telemetry";
    arrival.bytes = bytes_of(payload);
    if (sparkplug_topic) arrival.channel = "spBv1.0/plant/NDATA/node";
    if (!router.decode(arrival, out, unread, sparkplug_topic).ok()) std::abort();
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
  // Ours beside somebody else's, on these bytes: nanoseconds a reading, and both in MB a second.
  const auto show = [&](const char* id, double ours, const char* who,
                        const std::vector<std::string>& payloads,
                        std::size_t (*other)(const std::vector<std::string>&)) {
    const double its = best_ns(30, readings, [&] {
      if (other(payloads) < readings) std::abort();
    });
    double bytes = 0;
    for (const std::string& payload : payloads) bytes += static_cast<double>(payload.size());
    const auto speed = [&](double ns) {
      return std::to_string(static_cast<int>(bytes / static_cast<double>(readings) / ns * 1000));
    };
    print(id, ours, "ns/reading",
          text(who, ", ns/reading (ours ", speed(ours), " MB/s, its ", speed(its), ")").c_str(), its);
  };
  const auto decode = [&](const Router& router, const std::vector<std::string>& payloads) {
    return best_ns(30, readings, [&] {
      if (decode_all(router, payloads) != readings) std::abort();
    });
  };
  const double json = decode(all, common);
  show("decode_json", json, "simdjson's walk", common, others::json);
  show("decode_json_named", decode(named, common), "simdjson's walk", common, others::json);
  show("decode_json_lenient", decode(all, sloppy), "simdjson's walk without the nan", common, others::json);
  show("decode_cbor", decode(router_in("format = 'cbor'\ntime = 'ts'"), spelled(cbor)), "libcbor",
       spelled(cbor), others::cbor);
  show("decode_senml", decode(router_in("format = 'senml'"), spelled(senml)), "simdjson's walk",
       spelled(senml), others::json);
  show("decode_csv",
       decode(
           router_in(
               "format = 'csv'\ncolumns = ['ts', 'temperature', 'pressure', 'state', 'count']\ntime = 'ts'"),
           spelled(csv)),
       "libcsv and strtod", spelled(csv), others::csv);
  for (
      const auto& [id, keys, payloads] :
      {std::tuple{
           "decode_text",
           std::string(
               "format = 'text'\npattern = '^(?<ts>\\d+) T=(?<temperature>\\S+) P=(?<pressure>\\S+) (?<state>\\w+) n=(?<count>\\d+)'\ntime = 'ts'"),
           spelled(line)},
       std::tuple{"decode_influx", std::string("format = 'influx'"), spelled(influx)},
       std::tuple{
           "decode_binary",
           std::string(
               "format = 'binary'\ntime = 'ts'\nfields = { ts = { at = 0, type = 'u64' }, temperature = { at = 8, type = 'f32' }, pressure = { at = 12, type = 'f32' }, "
               "state = { at = 16, type = 'string', length = 3 }, count = { at = 19, type = 'u32' } }"),
           spelled(bytes)}}) {
    const Router other = router_in(keys);
    print(id, decode(other, payloads), "ns/reading", "the same as JSON", json);
  }
  RouteConfig host;
  host.topic = "spBv1.0/#";
  host.format = "sparkplug";
  const Router sparkplug_router = std::move(Router::make({host})).value();
  Remembered remembered;
  (void)sparkplug_router.add_memories(remembered);
  auto births = spelled(sparkplug);
  std::vector<Record> born;
  Unread unread;
  Arrival birth;
  birth.channel = "spBv1.0/plant/NBIRTH/node";
  const std::string first = births.front();
  birth.bytes = bytes_of(first);
  births.erase(births.begin());
  const double ours = best_ns(30, readings, [&] {
    born.clear();  // and the sequence begins anew: with a gap each payload would ask for a birth
    if (!sparkplug_router.decode(birth, born, unread, &remembered).ok()) std::abort();
    if (decode_all(sparkplug_router, births, &remembered) != readings - readings_each) std::abort();
    remembered.beside = {};
  });
  births.push_back(births.front());  // as many as of the others
  show("decode_sparkplug", ours, "libprotobuf", births, others::sparkplug);
  return 0;
}
