#include "self_report.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>

#include "base/descriptors.h"
#include "base/disk_space.h"
#include "base/files.h"
#include "base/json.h"
#include "base/logger.h"
#include "base/text.h"
#include "version.h"

namespace millrace {
namespace {

// "key:  value kB" lines of /proc/self/status, "key: value" of /proc/self/io.
std::uint64_t proc_value(const char* path, std::string_view key) {
  auto content = read_file(path, 64 << 10);
  if (!content.ok()) return 0;
  for (const std::string_view line : split(content.value(), '\n')) {
    if (line.starts_with(key)) return std::strtoull(std::string(trim(line.substr(key.size()))).c_str(), nullptr, 10);
  }
  return 0;
}

// Of a part of a name; `missing`: what the configuration's part waits for.
template <typename State>
std::string state_words(State state, const std::string& health, const std::string& missing) {
  if (state == State::stopping) return "stopping";
  if (state == State::running) return missing.empty() ? health : text(health, "; as configured before, the new configuration is waiting for ", missing);
  return missing.empty() ? "waits to start" : "waiting for " + missing;
}

}  // namespace

void SelfReport::update_metrics() {
  const LogStats stats = of_.log.stats();
  const auto set = [this](const char* name, const char* help, double value) { of_.metrics.gauge(name, help).set(value); };
  set("millrace_log_bytes", "Bytes the log takes on disk, -wal included", static_cast<double>(stats.bytes_used));
  set("millrace_log_max_bytes", "Bytes the log may take on disk", static_cast<double>(stats.bytes_max));
  set("millrace_log_state_bytes", "Bytes of state in the log: windows, sessions, retained digests", static_cast<double>(stats.state_bytes));
  set("millrace_log_state_max_bytes", "Bytes of state the log takes: a quarter of max_size", static_cast<double>(stats.state_bytes_max));
  set("millrace_log_blocked", "Whether inputs pause because the log is full", stats.blocked ? 1 : 0);
  set("millrace_log_degraded", "Whether the log cannot be written at present", stats.trouble.empty() ? 0 : 1);
  if (const auto disk = disk_space(of_.config.log.path); disk.ok()) {
    set("millrace_log_disk_free_bytes", "Bytes free on the file system that holds the log, without what is reserved for root", static_cast<double>(disk.value().free));
    set("millrace_log_disk_bytes", "Bytes of the file system that holds the log, without what is reserved for root", static_cast<double>(disk.value().total));
  }
  std::uint64_t left = 0;
  for (const auto& leftover : of_.leftovers) left += leftover->records();
  set("millrace_log_newer_format", "Whether the log's folder belongs to a later version, and ours lies beside it", of_.newer_beside ? 1 : 0);
  set("millrace_log_leftover_records", "Records in the log of another version that are forwarded first", static_cast<double>(left));
  set("millrace_log_segments", "Segment files of the log", static_cast<double>(stats.segments));
  set("millrace_log_dead_bytes", "Bytes of dead letters", static_cast<double>(stats.dead_bytes));
  set("millrace_clock_trusted", "Whether the wall clock is believed (gateway.clock)", of_.clock.trust().trusted() ? 1 : 0);
  set("millrace_clock_steps", "How often the wall clock was set by two seconds or more since the start", static_cast<double>(of_.clock.watch().steps()));
  set("millrace_inputs", "Configured inputs", static_cast<double>(of_.inputs.size()));
  set("millrace_log_lines_dropped", "Lines for the operator that the journal had no room for", static_cast<double>(log_lines_dropped()));
  set("process_open_fds", "File descriptors that are open", static_cast<double>(descriptors_open()));
  set("process_max_fds", "File descriptors there may be (RLIMIT_NOFILE)", static_cast<double>(of_.descriptor_limit));
  set("millrace_connections_turned_away", "Connections closed since the start because no file descriptor was left", static_cast<double>(of_.loop.turned_away()));
  set("process_resident_memory_bytes", "Resident memory", 1024.0 * static_cast<double>(proc_value("/proc/self/status", "VmRSS:")));
  const auto count = [this](const char* name, const char* help, std::uint64_t value) {
    Counter& counter = of_.metrics.counter(name, help);
    counter.add(value - std::min(value, counter.value()));
  };
  count("millrace_log_commits_total", "Group commits", stats.commits);
  count("millrace_log_commit_failures_total", "Group commits that failed and were tried again", stats.commit_failures);
  count("millrace_log_records_total", "Records appended to the log", stats.records);
  count("millrace_log_row_bytes_total", "Bytes of rows appended to the log", stats.row_bytes);
  count("millrace_log_evicted_records_total", "Records evicted because the log was full, per consumer", stats.evicted_records);
  count("millrace_log_unreadable_rows_total", "Rows that could not be read", stats.unreadable_rows);
  count("millrace_log_refused_states_total", "Commits refused because their state did not fit", stats.refused_states);
  count("millrace_log_damaged_states_total", "Entries of state that failed their checksum at start", stats.damaged_states);
  count("millrace_log_refused_records_total", "Records not taken: too large for a row, or events and dead letters beyond their share", stats.refused_records);
  count("millrace_log_lost_records_total", "Records settled as unreadable, per consumer", stats.lost_records);
  count("millrace_log_vanished_records_total", "Records the storage had acknowledged and lost", stats.vanished_records);
  count("millrace_log_unwritten_records_total", "Records that were delivered before they touched flash (commit = when-unsent)", stats.unwritten_records);
  count("millrace_log_files_set_aside_total", "Files of the log that could not be used", stats.files_set_aside);
  const std::uint64_t flash = proc_value("/proc/self/io", "write_bytes:");
  set("millrace_flash_bytes_per_record", "Bytes written to storage for each record that came into the log, since the start",
      stats.records > 0 ? static_cast<double>(flash) / static_cast<double>(stats.records) : 0);
  count("millrace_flash_bytes_written_total", "Bytes this process has caused to be written to storage (/proc/self/io)", flash);
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  of_.metrics.gauge("process_cpu_seconds_total", "CPU time used").set(static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                                                   1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec));
  constexpr const char* absent_records = "millrace_absent_uplink_records";
  constexpr const char* absent_bytes = "millrace_absent_uplink_bytes";
  constexpr const char* absent_until = "millrace_absent_uplink_forgotten_timestamp_seconds";
  for (const std::string& name : std::exchange(absent_shown_, {})) {
    for (const char* family : {absent_records, absent_bytes, absent_until}) of_.metrics.retire("uplink", name, family);
  }
  for (const AbsentUplinks::Absent& absent : of_.absent.list()) {
    of_.metrics.gauge(absent_records, "Records kept for an uplink that is not in the configuration", {{"uplink", absent.name}}).set(static_cast<double>(absent.records));
    of_.metrics.gauge(absent_bytes, "About what these records take in the log", {{"uplink", absent.name}}).set(static_cast<double>(absent.bytes));
    of_.metrics.gauge(absent_until, "When the uplink is forgotten with what is kept for it, in seconds since 1970", {{"uplink", absent.name}})
        .set(static_cast<double>(absent.until.us) / 1e6);
    absent_shown_.push_back(absent.name);
  }
  show_left();
  of_.inputs.for_each([this](const std::string& name, const InputPart&, Inputs::State) {
    of_.metrics.gauge("millrace_input_waiting", "Whether the input waits for a file that is not there yet", {{"input", name}}).set(of_.inputs.waits_for(name).empty() ? 0 : 1);
  });
  of_.uplinks.for_each([this](const std::string& name, UplinkPart& part, Uplinks::State state) {
    if (state == Uplinks::State::waiting && !of_.uplinks.waits_for(name).empty()) {  // its shipper sets this once it runs
      of_.metrics.gauge("millrace_uplink_backlog_records", "Records not yet acknowledged", {{"uplink", name}}).set(static_cast<double>(part.shipper().backlog()));
    }
    of_.metrics.gauge("millrace_uplink_waiting", "Whether the uplink waits for a file that is not there yet", {{"uplink", name}}).set(of_.uplinks.waits_for(name).empty() ? 0 : 1);
    for (const Lane lane : all_lanes) {
      const LaneLedger ledger = of_.log.ledger(name, lane);
      if (ledger.admitted == 0) continue;
      const Labels labels{{"uplink", name}, {"lane", lane_name(lane)}};
      of_.metrics.gauge("millrace_ledger_admitted_records", "Records this uplink is to forward", labels).set(static_cast<double>(ledger.admitted));
      of_.metrics.gauge("millrace_ledger_unsettled_records", "Of these, not settled yet", labels).set(static_cast<double>(ledger.unsettled()));
      for (std::size_t how = 0; how < how_count; ++how) {
        Labels with_how = labels;
        with_how.emplace_back("how", how_name(static_cast<How>(how)));
        of_.metrics.gauge("millrace_ledger_settled_records", "Of these, settled, and how", with_how).set(static_cast<double>(ledger.settled[how]));
      }
    }
  });
}

void SelfReport::show_left() {
  constexpr const char* family = "millrace_left_sessions";
  for (const std::string& place : std::exchange(left_shown_, {})) of_.metrics.retire("place", place, family);
  for (const auto& keeper : of_.keepers) {
    for (const auto& [place, kept] : keeper->kept()) {
      of_.metrics.gauge(family, "Sessions of devices kept for an address where no input listens", {{"place", place}}).set(static_cast<double>(kept.values));
      left_shown_.push_back(place);
    }
  }
}

std::string SelfReport::status_json(bool ready) const {
  const LogStats stats = of_.log.stats();
  JsonWriter json;
  json.begin_object();
  json.member("gateway", of_.config.gateway.name).member("version", MILLRACE_VERSION).member("epoch", of_.log.epoch());
  json.member("uptime_seconds", to_seconds(of_.loop.now() - started_at_)).member("ready", ready);
  json.member("clock_trusted", of_.clock.trust().trusted()).member("clock", of_.clock.why());
  json.key("inputs").begin_array();
  of_.inputs.for_each([this, &json](const std::string& name, InputPart& part, Inputs::State state) {
    const bool running = state == Inputs::State::running;
    json.begin_object().member("name", name).member("healthy", running && part.driver().healthy());
    json.member("state", state_words(state, running ? part.driver().health() : "", of_.inputs.waits_for(name))).end_object();
  });
  json.end_array().key("uplinks").begin_array();
  of_.uplinks.for_each([this, &json](const std::string& name, UplinkPart& part, Uplinks::State state) {
    const bool running = state == Uplinks::State::running;
    json.begin_object().member("name", name).member("healthy", running && part.shipper().healthy());
    json.member("state", state_words(state, running ? part.shipper().health() : "", of_.uplinks.waits_for(name)));
    if (const std::string limit = part.shipper().size_limit(); !limit.empty()) json.member("size_limit", limit);
    json.member("backlog_records", part.shipper().backlog()).end_object();
  });
  json.end_array().key("absent_uplinks").begin_array();
  for (const AbsentUplinks::Absent& absent : of_.absent.list()) {
    json.begin_object().member("name", absent.name).member("records", absent.records).member("bytes", absent.bytes);
    json.member("forgotten_after", format_time(absent.until)).end_object();
  }
  json.end_array().key("left_sessions").begin_array();
  for (const auto& keeper : of_.keepers) {
    for (const auto& [place, kept] : keeper->kept()) {
      json.begin_object().member("place", place).member("sessions", kept.values);
      json.member("gone_after_seconds", to_seconds(kept.longest)).end_object();
    }
  }
  json.end_array().key("windows").begin_array();
  for (std::size_t w = 0; w < of_.pipeline.windows().window_count(); ++w) {
    const WindowEngine& engine = of_.pipeline.windows();
    std::uint64_t refused = 0;
    for (const std::uint64_t readings : engine.stats(w).refused) refused += readings;
    json.begin_object().member("name", engine.window(w).name).member("keys", static_cast<std::uint64_t>(engine.keys(w)));
    json.member("keys_max", static_cast<std::uint64_t>(engine.window(w).keys_max)).member("state_bytes", static_cast<std::uint64_t>(engine.bytes(w)));
    json.member("state_max", engine.window(w).state_max).member("refused_readings", refused).member("future_readings", engine.stats(w).future);
    json.member("too_late_readings", engine.stats(w).too_late).end_object();
  }
  json.end_array().key("log").begin_object();
  json.member("bytes_used", stats.bytes_used).member("bytes_max", stats.bytes_max).member("records", stats.records);
  json.member("row_bytes", stats.row_bytes).member("commits", stats.commits).member("evicted_records", stats.evicted_records);
  json.member("unreadable_rows", stats.unreadable_rows).member("dead_bytes", stats.dead_bytes).member("blocked", stats.blocked);
  json.member("vanished_records", stats.vanished_records).member("lost_records", stats.lost_records);
  json.member("newer_format", of_.newer_beside).member("leftovers", static_cast<std::uint64_t>(of_.leftovers.size()));
  json.member("trouble", stats.trouble).end_object();
  json.member("inbox_fill", of_.inbox.fill());
  json.member("flash_bytes_written", proc_value("/proc/self/io", "write_bytes:"));
  json.member("resident_bytes", 1024 * proc_value("/proc/self/status", "VmRSS:"));
  json.end_object();
  return json.take();
}

}  // namespace millrace
