#include "sim/fleet/scenario.h"

#include <cstdio>

#include "base/files.h"
#include "base/text.h"

namespace millrace::sim {
namespace {

using namespace std::chrono_literals;

void read_version(Section& section, int& version) {
  std::string text = version == 5 ? "5" : "3.1.1";
  section.choice("version", text, {"5", "3.1.1"});
  version = text == "5" ? 5 : 4;
}

void read_size(Section& section, std::string_view key, std::int64_t min, std::int64_t max, std::size_t& out) {
  std::int64_t value = static_cast<std::int64_t>(out);
  section.integer(key, min, max, value);
  out = static_cast<std::size_t>(value);
}

void read_fleet(Section& section, FleetSpec& out) {
  section.text("server", out.server);
  section.text("endpoint", out.endpoint);
  section.text("username", out.username);
  section.secret("password_file", out.password);
  read_version(section, out.version);
  read_size(section, "devices", 1, 100'000, out.devices);
  read_size(section, "connections", 1, 1000, out.connections);
  std::int64_t qos = out.qos;
  section.integer("qos", 0, 2, qos);
  out.qos = static_cast<int>(qos);
  section.number("rate", 0.01, 1e6, out.rate);
  section.duration("duration", 100ms, 24h * 30, out.duration);
  section.text("topic", out.topic);
  section.choice("payload", out.payload, {"flat", "nested", "array"});
  read_size(section, "array_size", 1, 1000, out.array_size);
  section.choice("series", out.series, {"real", "walk", "constant"});
  section.text("data", out.data);
  section.number("malformed", 0, 1, out.malformed);
  section.duration("jitter", 0s, 10s, out.jitter);
  section.duration("clock_skew", 0s, 24h * 365, out.clock_skew);
  read_size(section, "unacknowledged", 1, 1000, out.unacknowledged);
  std::int64_t seed = static_cast<std::int64_t>(out.seed);
  section.integer("seed", 1, INT64_MAX, seed);
  out.seed = static_cast<std::uint64_t>(seed);
  section.finish();
}

void read_central(Section& section, CentralSpec& out) {
  section.text("server", out.server, true);
  section.text("username", out.username);
  section.secret("password_file", out.password);
  section.text("tls_ca", out.tls.ca);
  section.text("tls_cert", out.tls.cert);
  section.secret("tls_key_file", out.tls.key);
  out.tls.enabled = out.server.starts_with("mqtts://");
  read_version(section, out.version);
  section.text("topic", out.topic);
  section.finish();
}

// "3,7-9": 3 7 8 9.
void read_units(Section& section, std::string_view key, int most, std::vector<int>& out) {
  std::string list;
  section.text(key, list);
  for (const std::string_view part : split(std::string_view(list), ',')) {
    const std::string words(trim(part));
    int from = 0, to = 0;
    if (words.empty()) continue;
    const int read = std::sscanf(words.c_str(), "%d-%d", &from, &to);
    if (read == 1) to = from;
    if (read < 1 || from < 1 || to > most || from > to)
      return section.error(key, text("\"", words, "\" is no unit, or units, of 1 to ", most));
    for (int unit = from; unit <= to; ++unit) out.push_back(unit);
  }
}

void read_bus(Section& section, BusSpec& out) {
  section.text("link", out.link, true);
  section.text("name", out.name);
  std::int64_t slaves = out.slaves;
  section.integer("slaves", 1, 247, slaves);
  out.slaves = static_cast<int>(slaves);
  read_units(section, "dead", out.slaves, out.dead);
  read_units(section, "slow", out.slaves, out.slow);
  read_units(section, "late", out.slaves, out.late);
  read_units(section, "lying", out.slaves, out.lying);
  section.duration("slow_by", 1ms, 10s, out.slow_by);
  section.duration("late_by", 1ms, 10s, out.late_by);
  section.number("noise", 0, 1, out.noise);
  section.finish();
}

void read_talkers(Section& root, std::string_view key, std::vector<TalkerSpec>& out) {
  for (Section& section : root.tables(key)) {
    TalkerSpec& talker = out.emplace_back();
    section.text("link", talker.link, true);
    section.text("name", talker.name, true);
    section.duration("interval", 1ms, 24h, talker.interval);
    section.number("noise", 0, 1, talker.noise);
    section.finish();
  }
}

void read_site(Section& root, SiteSpec& out) {
  root.duration("duration", 100ms, 24h * 30, out.duration);
  for (Section& section : root.tables("buses")) read_bus(section, out.buses.emplace_back());
  read_talkers(root, "talkers", out.talkers);
  read_talkers(root, "meters", out.meters);
  read_talkers(root, "microcontrollers", out.microcontrollers);
}

}  // namespace

Scenario load_scenario(const std::string& path, std::vector<ConfigError>& errors) {
  Scenario scenario;
  auto content = read_file(path, 1 << 20);
  if (!content.ok()) {
    errors.push_back({0, 0, content.status().detail()});
    return scenario;
  }
  const auto file = TomlFile::parse(content.value(), path, errors);
  if (!file) return scenario;
  Section root = file->root();
  read_site(root, scenario.site);
  scenario.has_fleet = root.has("fleet") || !scenario.site.any();
  if (auto section = root.table("fleet")) read_fleet(*section, scenario.fleet);
  if (auto section = root.table("central")) read_central(*section, scenario.central);
  for (Section& section : root.tables("outages")) {
    OutageSpec& outage = scenario.outages.emplace_back();
    section.duration("after", 0s, 24h * 30, outage.after);
    section.duration("lasts", 100ms, 24h * 30, outage.lasts);
    section.text("down", outage.down, true);
    section.text("up", outage.up, true);
    section.finish();
  }
  root.duration("drain_timeout", 1s, 24h * 30, scenario.drain_timeout);
  root.finish();
  return scenario;
}

}  // namespace millrace::sim
