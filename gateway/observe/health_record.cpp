#include "observe/health_record.h"

#include <algorithm>

#include "base/json.h"
#include "base/utf8.h"

namespace millrace {
namespace {

constexpr std::size_t worst_bytes_max = 300;

std::uint64_t settled_as(const GatewayState& state, std::initializer_list<std::string_view> hows) {
  std::uint64_t records = 0;
  for (const UplinkState& uplink : state.uplinks) {
    for (const LaneState& lane : uplink.lanes) {
      for (const auto& [how, count] : lane.settled) {
        if (std::ranges::find(hows, how) != hows.end()) records += count;
      }
    }
  }
  return records;
}

template <typename Parts>
std::uint64_t down(const Parts& parts) {
  return static_cast<std::uint64_t>(
      std::ranges::count_if(parts, [](const auto& part) { return !part.healthy; }));
}

template <typename Parts, typename Of>
std::uint64_t sum(const Parts& parts, Of of) {
  std::uint64_t all = 0;
  for (const auto& part : parts) all += part.*of;
  return all;
}

std::int64_t whole(double seconds) { return static_cast<std::int64_t>(seconds); }

}  // namespace

std::string health_json(const GatewayState& state, const std::vector<Fault>& faults, Duration interval) {
  JsonWriter json;
  json.begin_object().member("version", state.version).member("config", state.config);
  json.member("interval_seconds", whole(to_seconds(interval))).member("uptime_seconds", whole(state.uptime));
  json.member("clock_trusted", state.clock_trusted);
  json.member("faults", std::uint64_t{faults.size()});
  json.member("must_act", static_cast<std::uint64_t>(std::ranges::count_if(faults, &Fault::person)));
  if (!faults.empty()) json.member("worst", cut_utf8(faults.front().what, worst_bytes_max));
  json.member("inputs", std::uint64_t{state.inputs.size()}).member("inputs_down", down(state.inputs));
  json.member("devices", sum(state.inputs, &InputState::devices))
      .member("silent_devices", sum(state.inputs, &InputState::silent_devices));
  json.member("undecodable", sum(state.inputs, &InputState::undecodable));
  json.member("uplinks", std::uint64_t{state.uplinks.size()}).member("uplinks_down", down(state.uplinks));
  json.member("backlog", sum(state.uplinks, &UplinkState::backlog));
  json.member("lost", settled_as(state, {"evicted", "unreadable", "expired", "forgotten"}));
  json.member("dead", settled_as(state, {"dead"}));
  json.member("log_bytes", state.log.bytes_used).member("log_max_bytes", state.log.bytes_max);
  json.member("disk_free_bytes", state.log.disk_free).member("flash_bytes", state.flash.written);
  if (state.flash.life_used_percent)
    json.member("flash_life_used_percent", std::int64_t{*state.flash.life_used_percent});
  json.end_object();
  return json.take();
}

}  // namespace millrace
