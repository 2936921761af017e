#include "observe/state_json.h"

#include "base/json.h"

namespace millrace {
namespace {

void write(JsonWriter& json, std::string_view name, const Seconds& value) {
  json.key(name);
  if (value) json.value(*value);
  else json.null();
}

void write(JsonWriter& json, const Fault& fault, WallTime now) {
  json.begin_object()
      .member("id", fault.id)
      .member("somebody_must_act", fault.person)
      .member("what", fault.what)
      .member("next", fault.next);
  const double lasts = fault.lasts.value_or(0);
  json.member("lasts_seconds", lasts)
      .member("since", format_time({now.us - static_cast<std::int64_t>(lasts * 1e6)}))
      .end_object();
}

void write(JsonWriter& json, const InputState& input) {
  json.begin_object()
      .member("name", input.name)
      .member("healthy", input.running && input.healthy)
      .member("state", input.state);
  json.member("kind", input.kind)
      .member("blocked", input.blocked)
      .member("payloads", input.payloads)
      .member("records", input.records)
      .member("undecodable", input.undecodable);
  json.member("rate", input.rate);
  write(json, "last_seen_seconds", input.last_seen);
  write(json, "usual_seconds", input.usual);
  write(json, "completeness", input.completeness);
  json.member("silent", input.silent)
      .member("devices", input.devices)
      .member("silent_devices", input.silent_devices);
  json.member("messages_of_devices_not_watched", input.devices_beyond).key("silent_longest").begin_array();
  for (const SilentDevice& device : input.silent_first) {
    json.begin_object()
        .member("name", device.name)
        .member("silent_seconds", device.silent)
        .member("usual_seconds", device.usual)
        .end_object();
  }
  json.end_array();
  if (input.unread) {
    json.key("unread")
        .begin_object()
        .member("channel", input.unread->channel)
        .member("reason", input.unread->reason);
    json.member("age_seconds", input.unread->age).end_object();
  }
  json.key("refused").begin_array();
  for (const TurnedAway& one : input.turned_away) {
    json.begin_object()
        .member("client", one.client)
        .member("user", one.user)
        .member("from", one.from)
        .member("topic", one.topic);
    json.member("reason", one.why)
        .member("next", one.next)
        .member("first_seconds", one.first)
        .member("last_seconds", one.last)
        .end_object();
  }
  json.end_array();
  json.key("schemas").begin_array();
  for (const SchemaState& schema : input.schemas) {
    json.begin_object()
        .member("route", schema.route)
        .member("unexpected", schema.unexpected)
        .member("type", schema.type);
    json.member("unit", schema.unit)
        .member("range", schema.range)
        .member("absent_metrics", schema.absent)
        .end_object();
  }
  json.end_array();
  json.end_object();
}

void write(JsonWriter& json, const LaneState& lane) {
  json.begin_object()
      .member("lane", lane.lane)
      .member("admitted", lane.admitted)
      .member("unsettled", lane.unsettled);
  for (const auto& [how, records] : lane.settled) {
    if (records > 0) json.member(how, records);
  }
  json.end_object();
}

void write(JsonWriter& json, const LatencyState& latency) {
  json.begin_object()
      .member("lane", latency.lane)
      .member("traffic", latency.live ? "live" : "backlog")
      .member("records", latency.records);
  json.member("p50_seconds", latency.p50)
      .member("p99_seconds", latency.p99)
      .member("recent_records", latency.recent_records);
  json.member("recent_p50_seconds", latency.recent_p50)
      .member("recent_p99_seconds", latency.recent_p99)
      .end_object();
}

void write(JsonWriter& json, const UplinkState& uplink) {
  json.begin_object()
      .member("name", uplink.name)
      .member("healthy", uplink.running && uplink.healthy)
      .member("state", uplink.state);
  if (!uplink.size_limit.empty()) json.member("size_limit", uplink.size_limit);
  if (!uplink.standby_of.empty()) json.member("standby_of", uplink.standby_of);
  if (uplink.unverified) json.member("unverified", true);
  json.member("on_duty", uplink.on_duty);
  json.member("backlog_records", uplink.backlog)
      .member("kind", uplink.kind)
      .member("blocked", uplink.blocked);
  json.member("breaker_open", uplink.breaker_open)
      .member("sent", uplink.sent)
      .member("refused", uplink.refused)
      .member("rate", uplink.rate);
  write(json, "eta_seconds", uplink.eta);
  if (uplink.wire_sent) json.member("wire_sent_bytes", *uplink.wire_sent);
  if (uplink.wire_received) json.member("wire_received_bytes", *uplink.wire_received);
  json.key("lanes").begin_array();
  for (const LaneState& lane : uplink.lanes) write(json, lane);
  json.end_array().key("latency").begin_array();
  for (const LatencyState& latency : uplink.latency) write(json, latency);
  json.end_array();
  if (!uplink.last_error.empty()) {
    json.member("last_error", uplink.last_error);
    write(json, "last_error_age_seconds", uplink.last_error_age);
  }
  json.end_object();
}

void write(JsonWriter& json, const AbsentUplink& absent) {
  json.begin_object()
      .member("name", absent.name)
      .member("records", absent.records)
      .member("bytes", absent.bytes);
  json.member("forgotten_after", format_time(absent.until)).end_object();
}

void write(JsonWriter& json, const KeptSessions& left) {
  json.begin_object()
      .member("place", left.place)
      .member("sessions", left.sessions)
      .member("gone_after_seconds", left.longest)
      .end_object();
}

void write(JsonWriter& json, const WindowFill& window) {
  json.begin_object()
      .member("name", window.name)
      .member("keys", window.keys)
      .member("keys_max", window.keys_max);
  json.member("state_bytes", window.bytes)
      .member("state_max", window.bytes_max)
      .member("refused_readings", window.refused);
  json.member("future_readings", window.future).member("too_late_readings", window.too_late).end_object();
}

void write(JsonWriter& json, const CertificateState& one) {
  json.begin_object()
      .member("of", one.side + " " + one.name)
      .member("key", one.key)
      .member("where", one.where)
      .member("subject", one.subject);
  json.member("of_peer", one.of_peer)
      .member("expires", format_time(one.to))
      .member("expires_in_seconds", one.left)
      .end_object();
}

void write(JsonWriter& json, const OtlpState& otlp) {
  json.begin_object()
      .member("endpoint", otlp.endpoint)
      .member("healthy", otlp.healthy)
      .member("state", otlp.state);
  json.member("pushes", otlp.pushes).member("failures", otlp.failures);
  json.member("rejected_points", otlp.rejected_points);
  write(json, "last_age_seconds", otlp.last_age);
  json.end_object();
}

void write(JsonWriter& json, const StorageState& log) {
  json.begin_object()
      .member("bytes_used", log.bytes_used)
      .member("bytes_max", log.bytes_max)
      .member("records", log.records);
  json.member("row_bytes", log.row_bytes)
      .member("commits", log.commits)
      .member("evicted_records", log.evicted);
  json.member("unreadable_rows", log.unreadable_rows)
      .member("dead_bytes", log.dead_bytes)
      .member("blocked", log.blocked);
  json.member("vanished_records", log.vanished)
      .member("lost_records", log.lost)
      .member("newer_format", log.newer_format);
  json.member("leftovers", log.leftovers)
      .member("trouble", log.trouble)
      .member("path", log.path)
      .member("segments", log.segments);
  json.member("disk_free_bytes", log.disk_free).member("disk_bytes", log.disk_total).member("rate", log.rate);
  json.member("when_full", log.evicts ? "evict" : "block");
  write(json, "room_seconds", log.room);
  json.end_object();
}

void write(JsonWriter& json, const BoxHealth& box) {
  json.begin_object();
  write(json, "load", box.load);
  write(json, "celsius", box.celsius);
  json.member("memory_bytes", box.memory_total).member("memory_left_bytes", box.memory_left).end_object();
}

void write(JsonWriter& json, const FlashState& flash) {
  json.begin_object().member("bytes_written", flash.written).member("bytes_per_record", flash.per_record);
  json.member("bytes_per_day", flash.per_day).member("device", flash.device);
  if (flash.life_used_percent) json.member("life_used_percent", std::int64_t{*flash.life_used_percent});
  json.end_object();
}

template <typename List>
void write_all(JsonWriter& json, std::string_view name, const List& list) {
  json.key(name).begin_array();
  for (const auto& one : list) write(json, one);
  json.end_array();
}

}  // namespace

std::string state_json(const GatewayState& state, const std::vector<Fault>& faults) {
  JsonWriter json;
  json.begin_object()
      .member("gateway", state.name)
      .member("version", state.version)
      .member("epoch", state.epoch);
  if (!state.instance.empty()) json.member("instance", state.instance);
  json.member("at", format_time(state.at))
      .member("uptime_seconds", state.uptime)
      .member("ready", state.ready);
  json.key("faults").begin_array();
  for (const Fault& fault : faults) write(json, fault, state.at);
  json.end_array();
  json.member("clock_trusted", state.clock_trusted)
      .member("clock", state.clock)
      .member("clock_steps", state.clock_steps)
      .member("clock_wait_seconds", state.clock_wait);
  write_all(json, "inputs", state.inputs);
  write_all(json, "uplinks", state.uplinks);
  write_all(json, "absent_uplinks", state.absent);
  write_all(json, "left_sessions", state.left_sessions);
  write_all(json, "windows", state.windows);
  json.key("log");
  write(json, state.log);
  json.member("inbox_fill", state.inbox_fill).member("flash_bytes_written", state.flash.written).key("flash");
  write(json, state.flash);
  json.key("box");
  write(json, state.box);
  write_all(json, "certificates", state.certificates);
  if (state.otlp) {
    json.key("otlp");
    write(json, *state.otlp);
  }
  json.member("resident_bytes", state.process.resident_bytes)
      .member("cpu_seconds", state.process.cpu_seconds);
  json.member("open_descriptors", state.process.descriptors)
      .member("descriptors_max", state.process.descriptors_max);
  json.end_object();
  return json.take();
}

}  // namespace millrace
