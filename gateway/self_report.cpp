#include "self_report.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/descriptors.h"
#include "base/disk_space.h"
#include "base/files.h"
#include "base/instance.h"
#include "base/logger.h"
#include "base/text.h"
#include "net/certificate_time.h"
#include "observe/health_record.h"
#include "observe/state_json.h"
#include "version.h"

namespace millrace {
namespace {

constexpr Duration rate_step = std::chrono::seconds(10), rate_span = std::chrono::seconds(60);
constexpr Duration wear_every = std::chrono::hours(1);
constexpr double pages_and_tables = 1.15;  // what a byte of rows takes in the log's files, about
constexpr double day = 86400;
constexpr std::string_view not_yet =
    "not connected yet";  // a shipper before its first try, which is no error

// "key:  value kB" lines of /proc/self/status, "key: value" of /proc/self/io.
std::uint64_t proc_value(const char* path, std::string_view key) {
  auto content = read_file(path, 64 << 10);
  if (!content.ok()) return 0;
  for (const std::string_view line : split(content.value(), '\n')) {
    if (line.starts_with(key))
      return std::strtoull(std::string(trim(line.substr(key.size()))).c_str(), nullptr, 10);
  }
  return 0;
}

std::vector<SchemaState> schemas_of(const Router& router) {
  std::vector<SchemaState> schemas;
  for (const RouteJudge* judge : router.judges()) {
    const auto& count = judge->counts();
    SchemaState schema{judge->called(),        count[Surprises::unexpected], count[Surprises::type],
                       count[Surprises::unit], count[Surprises::range],      judge->absent()};
    if (schema.unexpected + schema.type + schema.unit + schema.range + schema.absent > 0)
      schemas.push_back(std::move(schema));
  }
  return schemas;
}

std::vector<TurnedAway> turned_away(const Driver& driver, Instant now) {
  std::vector<TurnedAway> all;
  for (const RefusedDevice& one : driver.refused()) {
    all.push_back({one.client, one.user, one.from, one.topic, one.why, one.next, to_seconds(now - one.since),
                   to_seconds(now - one.last)});
  }
  return all;
}

// Of a part of a name; `missing`: what the configuration's part waits for.
template <typename State>
std::string state_words(State state, const std::string& health, const std::string& missing) {
  if (state == State::stopping) return "stopping";
  if (state == State::running)
    return missing.empty()
               ? health
               : text(health, "; as configured before, the new configuration is waiting for ", missing);
  return missing.empty() ? "waits to start" : "waiting for " + missing;
}

std::string kind_of_part(const std::vector<PartConfig>& parts, const std::string& name) {
  const auto found = std::ranges::find(parts, name, &PartConfig::name);
  return found == parts.end() ? std::string() : std::string(found->kind->name);
}

// What an input and an uplink have in common: a name, a kind, and whether and how its driver or shipper is.
template <typename State, typename Parts, typename Worker>
void begin_state(State& to, const std::string& name, const std::vector<PartConfig>& configured,
                 const Parts& parts, typename Parts::State phase, const Worker& worker) {
  to.name = name;
  to.kind = kind_of_part(configured, name);
  to.running = phase == Parts::State::running;
  to.healthy = to.running && worker.healthy();
  to.waits_for = parts.waits_for(name);
  to.state = state_words(phase, to.running ? worker.health() : "", to.waits_for);
}

}  // namespace

double RecentRate::per_second(Instant now, double value) {
  while (seen_.size() > 1 && now - seen_[1].first >= rate_span) seen_.pop_front();
  if (seen_.empty() || now - seen_.back().first >= rate_step) seen_.emplace_back(now, value);
  const double span = to_seconds(now - seen_.front().first);
  return span > 0 ? std::max(0.0, (value - seen_.front().second) / span) : 0;
}

Seconds LastGrowth::age(Instant now, std::uint64_t value) {
  if (value > value_) at_ = now;
  value_ = value;
  return at_ ? Seconds(to_seconds(now - *at_)) : Seconds();
}

SelfReport::SelfReport(Sources of) : of_(of), started_at_(of_.loop.now()), shown_(of_.metrics) { look(); }

void SelfReport::look() {
  const Instant now = of_.loop.now();
  of_.devices.sweep([this](const std::string& input) { return of_.inputs.contains(input); }, now);
  forget_gone();
  const GatewayState state = gather(true);
  history_.look(state, faults_in(state), now);
}

// Names come and go with reloads.
void SelfReport::forget_gone() {
  const auto gone = [this](const auto& entry) {
    const auto is_of = [&](std::string_view side) {
      return entry.first.starts_with(side) && entry.first.size() > side.size();
    };
    if (is_of("input ")) return !of_.inputs.contains(entry.first.substr(6));
    return is_of("uplink ") && !of_.uplinks.contains(entry.first.substr(7));
  };
  std::erase_if(rates_, gone);
  std::erase_if(growths_, gone);
  std::erase_if(last_errors_, gone);
}

std::string SelfReport::status_json(bool ready) {
  const GatewayState state = gather(ready);
  return state_json(state, faults_in(state));
}

std::string SelfReport::metrics_text() {
  const auto last = of_.metrics.before_scrape([this] { shown_.show(gather_of(true)); });
  return of_.metrics.expose();
}

void SelfReport::read_metrics(MetricReader& reader) {
  shown_.show(gather(true));
  of_.metrics.read(reader);
}

void SelfReport::tell_health() {
  const GatewayState state = gather(true);
  if (state.log.blocked || !state.log.trouble.empty()) return;
  of_.pipeline.tell("health", health_json(state, faults_in(state), of_.config.gateway.health_interval));
}

std::vector<Fault> SelfReport::faults_in(const GatewayState& state) {
  std::vector<Fault> faults = faults_of(state);
  watch_.look(faults, of_.loop.now());
  return faults;
}

// Parts show some of their state in metrics alone, which they bring up to date before a scrape.
GatewayState SelfReport::gather(bool ready) {
  of_.metrics.refresh();
  return gather_of(ready);
}

GatewayState SelfReport::gather_of(bool ready) {
  GatewayState state;
  state.at = of_.loop.wall();
  state.name = of_.config.gateway.name;
  state.version = MILLRACE_VERSION;
  state.instance = instance();
  state.config = of_.config.digest;
  state.epoch = of_.log.epoch();
  state.uptime = to_seconds(of_.loop.now() - started_at_);
  state.ready = ready;
  state.clock_trusted = of_.clock.trust().trusted();
  state.clock = of_.clock.why();
  state.clock_wait = to_seconds(of_.clock.wait_left());
  state.clock_steps = of_.clock.watch().steps();
  state.clock_matters = of_.pipeline.windows().window_count() > 0;
  state.inbox_fill = of_.inbox.fill();
  gather_inputs(state);
  gather_uplinks(state);
  gather_kept(state);
  state.log = gather_log();
  state.flash = gather_flash(state.log.records);
  state.certificates = of_.certificates.list(certificate_time(of_.loop.wall()));
  state.otlp = of_.otlp();
  state.shut_faces = of_.shut_faces();
  state.process = gather_process();
  state.box = box_health();
  return state;
}

// What a part counts: it has registered it, help and all.
std::uint64_t SelfReport::counted(const char* name, const Labels& labels) const {
  return of_.metrics.counter(name, "", labels).value();
}
// Of what not every kind counts.
std::optional<std::uint64_t> SelfReport::counted_if(const char* name, const Labels& labels) const {
  const Counter* counter = of_.metrics.find_counter(name, labels);
  return counter ? std::optional(counter->value()) : std::nullopt;
}
bool SelfReport::says(const char* name, const Labels& labels) const {
  return of_.metrics.gauge(name, "", labels).value() > 0;
}

double SelfReport::rate(const std::string& of, std::uint64_t value) {
  return rates_[of].per_second(of_.loop.now(), static_cast<double>(value));
}

void SelfReport::gather_inputs(GatewayState& state) {
  of_.inputs.for_each([&](const std::string& name, InputPart& part, Inputs::State phase) {
    InputState& input = state.inputs.emplace_back();
    begin_state(input, name, of_.config.inputs, of_.inputs, phase, part.driver());
    input.blocked = input.running && !input.healthy && part.driver().needs_person();
    const Labels labels{{"input", name}};
    input.payloads = counted("millrace_input_payloads_total", labels);
    input.records = counted("millrace_input_records_total", labels);
    input.undecodable = counted("millrace_input_undecodable_total", labels);
    input.rate = rate("input " + name, input.records);
    of_.devices.tell(input, of_.loop.now());
    input.turned_away = turned_away(part.driver(), of_.loop.now());
    if (part.router()) input.schemas = schemas_of(*part.router());
  });
}

std::vector<LaneState> SelfReport::lanes_of(const std::string& uplink) const {
  std::vector<LaneState> lanes;
  for (const Lane lane : all_lanes) {
    const LaneLedger ledger = of_.log.ledger(uplink, lane);
    if (ledger.admitted == 0) continue;
    LaneState& state = lanes.emplace_back();
    state.lane = lane_name(lane);
    state.admitted = ledger.admitted;
    state.unsettled = ledger.unsettled();
    for (std::size_t how = 0; how < how_count; ++how)
      state.settled.emplace_back(how_name(static_cast<How>(how)), ledger.settled[how]);
  }
  return lanes;
}

std::vector<LatencyState> SelfReport::latency_of(const Shipper& shipper) const {
  std::vector<LatencyState> all;
  for (const UplinkLatency::Whole& one : shipper.latency().whole(of_.loop.now())) {
    all.push_back({lane_name(one.lane), one.live, one.records, one.recent_records, one.p50, one.p99,
                   one.recent_p50, one.recent_p99});
  }
  return all;
}

void SelfReport::gather_uplinks(GatewayState& state) {
  const Instant now = of_.loop.now();
  of_.uplinks.for_each([&](const std::string& name, UplinkPart& part, Uplinks::State phase) {
    UplinkState& uplink = state.uplinks.emplace_back();
    begin_state(uplink, name, of_.config.uplinks, of_.uplinks, phase, part.shipper());
    uplink.size_limit = part.shipper().size_limit();
    if (part.shipper().consumer() != name) uplink.standby_of = part.shipper().consumer();
    uplink.unverified = part.unverified();
    uplink.on_duty = part.shipper().far_side().on_duty();
    uplink.backlog = part.shipper().backlog();
    if (const double eta = part.shipper().eta_seconds(); std::isfinite(eta)) uplink.eta = eta;
    const std::string key = "uplink " + name;
    const Labels labels{{"uplink", name}};
    uplink.blocked = uplink.running && says("millrace_uplink_blocked", labels);
    uplink.breaker_open = uplink.running && says("millrace_uplink_breaker_open", labels);
    uplink.sent = counted("millrace_uplink_records_total", labels);
    uplink.refused = counted("millrace_uplink_refused_records_total", labels);
    uplink.rate = rate(key, uplink.sent);
    uplink.refused_age = growths_[key].age(now, uplink.refused);
    uplink.wire_sent = counted_if("millrace_uplink_wire_sent_bytes_total", labels);
    uplink.wire_received = counted_if("millrace_uplink_wire_received_bytes_total", labels);
    uplink.lanes = lanes_of(name);
    uplink.latency = latency_of(part.shipper());
    if (uplink.running && !uplink.healthy && uplink.state != not_yet) last_errors_[key] = {uplink.state, now};
    if (const auto last = last_errors_.find(key); last != last_errors_.end()) {
      uplink.last_error = last->second.first;
      uplink.last_error_age = to_seconds(now - last->second.second);
    }
  });
}

void SelfReport::gather_kept(GatewayState& state) const {
  for (const AbsentUplinks::Absent& absent : of_.absent.list())
    state.absent.push_back({absent.name, absent.records, absent.bytes, absent.until});
  for (const auto& keeper : of_.keepers) {
    for (const auto& [place, kept] : keeper->kept())
      state.left_sessions.push_back({place, kept.values, to_seconds(kept.longest)});
  }
  const WindowEngine& engine = of_.pipeline.windows();
  for (std::size_t w = 0; w < engine.window_count(); ++w) {
    WindowFill& window = state.windows.emplace_back();
    window.name = engine.window(w).name;
    window.keys = engine.keys(w);
    window.keys_max = engine.window(w).keys_max;
    window.bytes = engine.bytes(w);
    window.bytes_max = engine.window(w).state_max;
    for (const std::uint64_t readings : engine.stats(w).refused) window.refused += readings;
    window.future = engine.stats(w).future;
    window.too_late = engine.stats(w).too_late;
  }
}

StorageState SelfReport::gather_log() {
  const LogStats stats = of_.log.stats();
  StorageState log;
  log.path = of_.config.log.path;
  log.bytes_used = stats.bytes_used, log.bytes_max = stats.bytes_max;
  log.state_bytes = stats.state_bytes, log.state_bytes_max = stats.state_bytes_max;
  log.segments = stats.segments, log.records = stats.records, log.row_bytes = stats.row_bytes;
  log.commits = stats.commits, log.commit_failures = stats.commit_failures, log.dead_bytes = stats.dead_bytes;
  log.evicted = stats.evicted_records, log.unreadable_rows = stats.unreadable_rows;
  log.refused_states = stats.refused_states, log.left_out_states = stats.left_out_states;
  log.damaged_states = stats.damaged_states;
  log.refused_records = stats.refused_records, log.lost = stats.lost_records,
  log.vanished = stats.vanished_records;
  log.unwritten = stats.unwritten_records, log.files_set_aside = stats.files_set_aside;
  log.leftovers = of_.leftovers.size();
  for (const auto& leftover : of_.leftovers) log.leftover_records += leftover->records();
  log.blocked = stats.blocked, log.trouble = stats.trouble;
  log.newer_format = of_.newer_beside, log.evicts = !of_.config.log.block_when_full;
  if (const auto disk = disk_space(log.path); disk.ok())
    log.disk_free = disk.value().free, log.disk_total = disk.value().total;
  log.rate = rate("log records", log.records);
  log.bytes_rate = rate("log bytes", log.row_bytes);
  log.lost_age = growths_["lost"].age(of_.loop.now(), log.lost + log.vanished);
  log.evicted_age = growths_["evicted"].age(of_.loop.now(), log.evicted);
  if (log.bytes_rate > 0) {
    const std::uint64_t left = log.bytes_max - std::min(log.bytes_max, log.bytes_used);
    log.room = static_cast<double>(left) / (log.bytes_rate * pages_and_tables);
  }
  return log;
}

FlashState SelfReport::gather_flash(std::uint64_t records) {
  const Instant now = of_.loop.now();
  if (!wear_at_ || now - *wear_at_ >= wear_every) {
    wear_at_ = now;
    wear_ = flash_wear(of_.config.log.path);
  }
  FlashState flash;
  flash.written = proc_value("/proc/self/io", "write_bytes:");
  if (records > 0) flash.per_record = static_cast<double>(flash.written) / static_cast<double>(records);
  if (const double uptime = to_seconds(now - started_at_); uptime >= 60)
    flash.per_day = static_cast<double>(flash.written) / uptime * day;
  flash.device = wear_.device;
  flash.life_used_percent = wear_.used_percent;
  return flash;
}

ProcessState SelfReport::gather_process() {
  ProcessState process;
  process.resident_bytes = 1024 * proc_value("/proc/self/status", "VmRSS:");
  process.descriptors = descriptors_open();
  process.descriptors_max = of_.descriptor_limit;
  process.turned_away = of_.loop.turned_away();
  process.turned_away_age = growths_["turned away"].age(of_.loop.now(), process.turned_away);
  process.lines_dropped = log_lines_dropped();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  process.cpu_seconds = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                        1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  return process;
}

}  // namespace millrace
