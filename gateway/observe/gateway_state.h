// How the gateway is at a moment, as values: gathered once (gateway/self_report.h), and rendered as status
// JSON (state_json.h), as metrics, as what is wrong (faults.h). Holds nothing of the parts it was asked of.
// Ages and spans are seconds; rates are of the last minute; a nothing is what cannot be told yet.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/box_health.h"
#include "base/time.h"

namespace millrace {

using Seconds = std::optional<double>;

// A device that used to speak and does not.
struct SilentDevice {
  std::string name;
  double silent = 0, usual = 0;  // since it spoke last; what lies between its messages as a rule
};

// The last payload of an input that could not be read.
struct UnreadPayload {
  std::string channel, reason;
  double age = 0;
};

// What a route saw that its schema does not expect, since its configuration is in force; and how many of the
// members that it wants by name have never come.
struct SchemaState {
  std::string route;
  std::uint64_t unexpected = 0, type = 0, unit = 0, range = 0, absent = 0;
};

// A device that an input turned away, and what to do about that.
struct TurnedAway {
  std::string client, user, from, topic;  // topic: it may not publish there; empty: it was not let in
  std::string why, next;
  double first = 0, last = 0;  // since it was, for this reason
};

struct InputState {
  std::string name, kind;
  std::string state;                                       // "connected to ...", or why not
  std::string waits_for;                                   // a file that is not there yet; empty: nothing
  bool running = false, healthy = false, blocked = false;  // blocked: somebody must act
  std::uint64_t payloads = 0, records = 0, undecodable = 0;
  double rate = 0;       // records a second
  Seconds last_seen;     // since a payload came
  Seconds usual;         // what lies between payloads as a rule
  bool silent = false;   // it used to bring something, and does not
  Seconds completeness;  // of its devices' messages that were due, how many came: 0 to 1
  std::uint64_t devices = 0, silent_devices = 0, devices_beyond = 0;  // beyond: not watched, devices_max are
  std::vector<SilentDevice> silent_first;                             // those that are silent longest
  std::optional<UnreadPayload> unread;
  std::vector<TurnedAway> turned_away;  // of the last hour, the last first
  std::vector<SchemaState> schemas;     // of routes that saw something
};

struct LaneState {
  std::string lane;
  std::uint64_t admitted = 0, unsettled = 0;
  std::vector<std::pair<std::string, std::uint64_t>> settled;  // by how
};

// From received to acknowledged, in bounds: so many seconds or less. `recent`: of the last five to ten
// minutes.
struct LatencyState {
  std::string lane;
  bool live = false;  // or backlog (uplink/uplink_latency.h)
  std::uint64_t records = 0, recent_records = 0;
  double p50 = 0, p99 = 0, recent_p50 = 0, recent_p99 = 0;
};

struct UplinkState {
  std::string name, kind, state, waits_for, size_limit;
  std::string standby_of;  // whose records it sends while that one is down; empty: its own
  bool on_duty = true;     // it sends: no standby that waits, and nobody whose standby sends
  bool running = false, healthy = false, blocked = false, breaker_open = false;
  bool unverified = false;  // whoever answers is taken for its server
  std::uint64_t backlog = 0, sent = 0, refused = 0;
  double rate = 0;  // records acknowledged a second
  Seconds eta;      // until the backlog is gone; nothing: it grows
  std::vector<LaneState> lanes;
  std::vector<LatencyState> latency;
  std::string last_error;  // the last state that was none of "up"
  Seconds last_error_age;
  Seconds refused_age;  // since a record was refused for good
  // Bytes as TCP carried them, since the start; nothing: its kind does not count them.
  std::optional<std::uint64_t> wire_sent, wire_received;
};

struct AbsentUplink {
  std::string name;
  std::uint64_t records = 0, bytes = 0;
  WallTime until;
};

struct KeptSessions {
  std::string place;
  std::uint64_t sessions = 0;
  double longest = 0;
};

struct WindowFill {
  std::string name;
  std::uint64_t keys = 0, keys_max = 0, bytes = 0, bytes_max = 0, refused = 0, future = 0, too_late = 0;
};

struct StorageState {
  std::string path;
  std::uint64_t bytes_used = 0, bytes_max = 0, state_bytes = 0, state_bytes_max = 0, segments = 0;
  std::uint64_t records = 0, row_bytes = 0, commits = 0, commit_failures = 0, dead_bytes = 0;
  std::uint64_t evicted = 0, unreadable_rows = 0, refused_states = 0, left_out_states = 0, damaged_states = 0,
                refused_records = 0;
  std::uint64_t lost = 0, vanished = 0, unwritten = 0, files_set_aside = 0;
  std::uint64_t leftovers = 0, leftover_records = 0;
  bool blocked = false, newer_format = false, evicts = true;
  std::string trouble;                          // why it cannot be written; empty: it can
  std::uint64_t disk_free = 0, disk_total = 0;  // of the file system; 0, 0: not known
  double rate = 0, bytes_rate = 0;              // records and bytes of rows a second
  Seconds evicted_age, lost_age;                // since something was evicted, or was found lost or vanished
  Seconds room;                                 // until it is full at this rate, if nothing is delivered
};

struct FlashState {
  std::uint64_t written = 0;             // by this process, since it started
  double per_record = 0, per_day = 0;    // a day: once it has run for a minute
  std::string device;                    // "mmcblk0"
  std::optional<int> life_used_percent;  // what the device says of itself; in steps of ten
};

struct CertificateState {
  std::string side, name, key, where, subject;  // "uplink", "central", "tls_ca", a path or a host
  bool of_peer = false;
  double left = 0;  // seconds until it expires
  WallTime to;
};

// The push of the gateway's own metrics ([observe.otlp]).
struct OtlpState {
  std::string endpoint;
  std::string state;    // "up", or why not
  bool healthy = true;  // nothing is known to be wrong
  std::uint64_t pushes = 0, failures = 0, rejected_points = 0;
  Seconds last_age;      // since a push was taken
  Seconds rejected_age;  // since points were rejected, and why
  std::string rejected_why;
};

// Where the gateway could be asked, and cannot.
struct ShutFace {
  std::string what;     // "observe.listen"
  std::string without;  // what cannot be done meanwhile
  std::string trouble;
};

struct ProcessState {
  std::uint64_t resident_bytes = 0, descriptors = 0, descriptors_max = 0, turned_away = 0, lines_dropped = 0;
  Seconds turned_away_age;  // since the last one was
  double cpu_seconds = 0;
};

struct GatewayState {
  WallTime at;
  std::string name, version;
  std::string instance;  // of `millrace --instance`; empty: the machine's first
  std::string config;    // digest of its configuration file
  std::uint64_t epoch = 0;
  double uptime = 0;
  bool ready = false;
  bool clock_trusted = false;
  std::string clock;  // why it is trusted, or not
  std::uint64_t clock_steps = 0;
  double clock_wait = 0;       // seconds for which uplinks still wait for it at most
  bool clock_matters = false;  // there are windows: readings without a time of their own wait for it
  double inbox_fill = 0;
  std::vector<InputState> inputs;
  std::vector<UplinkState> uplinks;
  std::vector<AbsentUplink> absent;
  std::vector<KeptSessions> left_sessions;
  std::vector<WindowFill> windows;
  StorageState log;
  FlashState flash;
  std::vector<CertificateState> certificates;
  std::optional<OtlpState> otlp;
  std::vector<ShutFace> shut_faces;
  ProcessState process;
  BoxHealth box;
};

}  // namespace millrace
