#include "observe/state_metrics.h"

#include <algorithm>
#include <cmath>

namespace millrace {

void StateMetrics::count(const char* name, const char* help, std::uint64_t value) {
  Counter& counter = metrics_.counter(name, help);
  counter.add(value - std::min(value, counter.value()));
}

void StateMetrics::begin_anew() {
  for (const auto& [family, label] : passing_) metrics_.retire(label.first, label.second, family);
  passing_.clear();
}

void StateMetrics::show(const StorageState& log) {
  set("millrace_log_bytes", "Bytes the log takes on disk, -wal included", log.bytes_used);
  set("millrace_log_max_bytes", "Bytes the log may take on disk", log.bytes_max);
  set("millrace_log_state_bytes", "Bytes of state in the log: windows, sessions, retained digests",
      log.state_bytes);
  set("millrace_log_state_max_bytes", "Bytes of state the log takes: a quarter of max_size",
      log.state_bytes_max);
  set("millrace_log_blocked", "Whether inputs pause because the log is full", log.blocked ? 1 : 0);
  set("millrace_log_degraded", "Whether the log cannot be written at present", log.trouble.empty() ? 0 : 1);
  if (log.disk_total > 0) {
    set("millrace_log_disk_free_bytes",
        "Bytes free on the file system that holds the log, without what is reserved for root", log.disk_free);
    set("millrace_log_disk_bytes",
        "Bytes of the file system that holds the log, without what is reserved for root", log.disk_total);
  }
  set("millrace_log_newer_format",
      "Whether the log's folder belongs to a later version, and ours lies beside it",
      log.newer_format ? 1 : 0);
  set("millrace_log_leftover_records", "Records in the log of another version that are forwarded first",
      log.leftover_records);
  set("millrace_log_segments", "Segment files of the log", log.segments);
  set("millrace_log_dead_bytes", "Bytes of dead letters", log.dead_bytes);
  count("millrace_log_commits_total", "Group commits", log.commits);
  count("millrace_log_commit_failures_total", "Group commits that failed and were tried again",
        log.commit_failures);
  count("millrace_log_records_total", "Records appended to the log", log.records);
  count("millrace_log_row_bytes_total", "Bytes of rows appended to the log", log.row_bytes);
  count("millrace_log_evicted_records_total", "Records evicted because the log was full, per consumer",
        log.evicted);
  count("millrace_log_unreadable_rows_total", "Rows that could not be read", log.unreadable_rows);
  count("millrace_log_refused_states_total", "Commits refused because their state did not fit",
        log.refused_states);
  count("millrace_left_out_states_total",
        "What is remembered of inputs and found no room in the log's state beside the readings it came with",
        log.left_out_states);
  count("millrace_log_damaged_states_total", "Entries of state that failed their checksum at start",
        log.damaged_states);
  count("millrace_log_refused_records_total",
        "Records not taken: too large for a row, or events and dead letters beyond their share",
        log.refused_records);
  count("millrace_log_lost_records_total", "Records settled as unreadable, per consumer", log.lost);
  count("millrace_log_vanished_records_total", "Records the storage had acknowledged and lost", log.vanished);
  count("millrace_log_unwritten_records_total",
        "Records that were delivered before they touched flash (commit = when-unsent)", log.unwritten);
  count("millrace_log_files_set_aside_total", "Files of the log that could not be used", log.files_set_aside);
}

void StateMetrics::show(const ProcessState& process) {
  set("millrace_log_lines_dropped", "Lines for the operator that the journal had no room for",
      process.lines_dropped);
  set("process_open_fds", "File descriptors that are open", process.descriptors);
  set("process_max_fds", "File descriptors there may be (RLIMIT_NOFILE)", process.descriptors_max);
  set("millrace_connections_turned_away",
      "Connections closed since the start because no file descriptor was left", process.turned_away);
  set("process_resident_memory_bytes", "Resident memory", process.resident_bytes);
  metrics_.total("process_cpu_seconds_total", "CPU time used").set(process.cpu_seconds);
}

// What the kernel does not tell is not shown as 0.
void StateMetrics::show(const BoxHealth& box) {
  if (box.load) set("millrace_box_load", "Load of the machine, of the last minute (proc(5))", *box.load);
  if (box.celsius)
    set("millrace_box_temperature_celsius", "The warmest thermal zone of the machine", *box.celsius);
  if (box.memory_total == 0) return;
  set("millrace_box_memory_bytes", "Memory of the machine", box.memory_total);
  set("millrace_box_memory_left_bytes", "Of this, what programs can have without swapping (MemAvailable)",
      box.memory_left);
}

void StateMetrics::show(const InputState& input) {
  const Labels labels{{"input", input.name}};
  set("millrace_input_waiting", "Whether the input waits for a file that is not there yet",
      input.waits_for.empty() ? 0 : 1, labels);
  set("millrace_input_devices", "Devices that are watched: heard within a week, new ones within a day",
      input.devices, labels);
  set("millrace_input_silent_devices",
      "Of these, silent for observe.silent_after, and for longer than is usual for them",
      input.silent_devices, labels);
  set("millrace_input_unwatched_messages", "Messages of devices that are not watched, since the start",
      input.devices_beyond, labels);
  if (input.completeness) {
    set("millrace_input_completeness_ratio",
        "Of the messages of its devices that were due in the last hour or two (by expected_interval, else by habit), how many came",
        *input.completeness, labels);
  }
  if (input.last_seen)
    set("millrace_input_last_seen_seconds", "Since the last payload came", *input.last_seen, labels);
}

void StateMetrics::show(const UplinkState& uplink) {
  const Labels labels{{"uplink", uplink.name}};
  if (!uplink.waits_for.empty() && !uplink.running) {  // its shipper sets this once it runs
    set("millrace_uplink_backlog_records", "Records not yet acknowledged", uplink.backlog, labels);
  }
  set("millrace_uplink_waiting", "Whether the uplink waits for a file that is not there yet",
      uplink.waits_for.empty() ? 0 : 1, labels);
  for (const LaneState& lane : uplink.lanes) {
    const Labels of_lane{{"uplink", uplink.name}, {"lane", lane.lane}};
    set("millrace_ledger_admitted_records", "Records this uplink is to forward", lane.admitted, of_lane);
    set("millrace_ledger_unsettled_records", "Of these, not settled yet", lane.unsettled, of_lane);
    for (const auto& [how, records] : lane.settled) {
      Labels with_how = of_lane;
      with_how.emplace_back("how", how);
      set("millrace_ledger_settled_records", "Of these, settled, and how", records, with_how);
    }
  }
}

// The clock may be set, and the start lies then at another time; what is read off it a little differently
// each time does not move.
void StateMetrics::show_start(const GatewayState& state) {
  const double started = static_cast<double>(state.at.us) / 1e6 - state.uptime;
  if (std::abs(started - started_) > 1) started_ = std::floor(started);
  set("process_start_time_seconds", "When the process started, in seconds since 1970", started_);
}

void StateMetrics::show(const GatewayState& state) {
  show(state.log);
  show(state.process);
  show_start(state);
  show(state.box);
  set("millrace_clock_trusted", "Whether the wall clock is believed (gateway.clock)",
      state.clock_trusted ? 1 : 0);
  set("millrace_clock_steps", "How often the wall clock was set by two seconds or more since the start",
      state.clock_steps);
  set("millrace_clock_wait_seconds",
      "For how long at most uplinks still keep back what was stamped by a clock that is not believed "
      "(gateway.clock_wait)",
      state.clock_wait);
  set("millrace_inputs", "Configured inputs", state.inputs.size());
  set("millrace_flash_bytes_per_record",
      "Bytes written to storage for each record that came into the log, since the start",
      state.flash.per_record);
  count("millrace_flash_bytes_written_total",
        "Bytes this process has caused to be written to storage (/proc/self/io)", state.flash.written);
  if (state.flash.life_used_percent) {
    set("millrace_flash_life_used_ratio",
        "How much of its life the flash under the log says it has used, in steps of a tenth",
        *state.flash.life_used_percent / 100.0);
  }
  begin_anew();
  set_passing("millrace_info",
              "1: which gateway this is, its version and the digest of its configuration file", 1,
              {{"gateway", state.name}, {"version", state.version}, {"config", state.config}});
  for (const AbsentUplink& absent : state.absent) {
    const Labels labels{{"uplink", absent.name}};
    set_passing("millrace_absent_uplink_records",
                "Records kept for an uplink that is not in the configuration", absent.records, labels);
    set_passing("millrace_absent_uplink_bytes", "About what these records take in the log", absent.bytes,
                labels);
    set_passing("millrace_absent_uplink_forgotten_timestamp_seconds",
                "When the uplink is forgotten with what is kept for it, in seconds since 1970",
                static_cast<double>(absent.until.us) / 1e6, labels);
  }
  for (const KeptSessions& left : state.left_sessions) {
    set_passing("millrace_left_sessions",
                "Sessions kept that no input serves: of devices, by address; ours, at a broker; streams of "
                "serial devices, by input",
                left.sessions, {{"place", left.place}});
  }
  for (const InputState& input : state.inputs) show(input);
  for (const UplinkState& uplink : state.uplinks) show(uplink);
}

}  // namespace millrace
