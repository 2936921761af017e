#include "observe/device_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace millrace {
namespace {

constexpr std::uint64_t known_after = 3;  // messages: then it is known what is usual
constexpr double times_usual = 5;
constexpr double measured_after = 10;  // messages that are expected
constexpr double weight = 1.0 / 8;     // of the newest gap
constexpr std::size_t channel_max = 200, reason_max = 400, silent_told = 8;

}  // namespace

// A gap that was a silence is not usual.
void DeviceTable::Voice::heard_anew(Instant now, Duration silent_after) {
  if (times_ > 0 && !silent(now, silent_after)) {
    const double gap = age(now);
    usual_ = times_ == 1 ? gap : usual_ + weight * (gap - usual_);
  }
  if (times_ == 0) span_began_ = now;  // the first is where counting begins
  else ++in_span_;
  if (now - span_began_ >= span) {
    before_ = std::exchange(in_span_, 0);
    before_seconds_ = static_cast<float>(to_seconds(now - span_began_));
    span_began_ = now;
  }
  last_ = now;
  ++times_;
}

// What is due now is not missing yet.
std::pair<double, double> DeviceTable::Voice::came_of_expected(Instant now) const {
  if (times_ < known_after || usual_ <= 0) return {0, 0};
  const double seconds = to_seconds(now - span_began_) + static_cast<double>(before_seconds_);
  const double expected = std::floor(seconds / usual_);
  if (expected < measured_after) return {0, 0};
  const double came = static_cast<double>(in_span_) + static_cast<double>(before_);
  return {std::min(came, expected), expected};
}

std::optional<double> DeviceTable::Voice::completeness(Instant now) const {
  const auto [came, expected] = came_of_expected(now);
  return expected > 0 ? std::optional(came / expected) : std::nullopt;
}

bool DeviceTable::Voice::silent(Instant now, Duration silent_after) const {
  return times_ >= known_after && age(now) > std::max(to_seconds(silent_after), times_usual * usual_);
}

DeviceTable::Input& DeviceTable::input_of(std::string_view name) {
  if (at_ && name == at_name_) return *at_;
  auto found = inputs_.find(name);
  if (found == inputs_.end()) found = inputs_.emplace(std::string(name), Input()).first;
  at_name_ = found->first;
  at_ = &found->second;
  last_ = nullptr;
  return *at_;
}

void DeviceTable::payload(std::string_view input, Instant now) {
  input_of(input).voice.heard(now, options_.silent_after);
}

void DeviceTable::seen(std::string_view device, std::uint64_t readings, Instant now) {
  if (!last_ || device != last_name_) {
    auto found = at_->devices.find(device);
    if (found == at_->devices.end()) {
      if (devices_ >= options_.devices_max) {
        ++at_->beyond;
        return;
      }
      found = at_->devices.emplace(std::string(device), Device()).first;
      ++devices_;
    }
    last_name_ = found->first;
    last_ = &found->second;
  }
  last_->heard(now, options_.silent_after);
  last_->readings += readings;
}

void DeviceTable::unread(std::string_view input, std::string_view channel, std::string_view reason,
                         Instant now) {
  Input& of = input_of(input);
  of.channel = channel.substr(0, channel_max);
  of.reason = reason.substr(0, reason_max);
  of.unread_at = now;
}

void DeviceTable::tell(InputState& state, Instant now) const {
  const auto found = inputs_.find(state.name);
  if (found == inputs_.end()) return;
  const Input& input = found->second;
  state.devices = input.devices.size();
  state.devices_beyond = input.beyond;
  if (input.voice.times() > 0) state.last_seen = input.voice.age(now);
  if (input.voice.times() > 1) state.usual = input.voice.usual();
  state.silent = input.voice.silent(now, options_.silent_after);
  if (!input.reason.empty()) state.unread = {input.channel, input.reason, to_seconds(now - input.unread_at)};
  double came = 0, expected = 0;
  for (const auto& [name, device] : input.devices) {
    const auto [came_of_it, expected_of_it] = device.came_of_expected(now);
    came += came_of_it;
    expected += expected_of_it;
    if (!silent(device, now)) continue;
    ++state.silent_devices;
    state.silent_first.push_back({name, device.age(now), device.usual()});
  }
  if (expected > 0) state.completeness = came / expected;
  const auto longest = [](const SilentDevice& a, const SilentDevice& b) { return a.silent > b.silent; };
  const std::size_t told = std::min(silent_told, state.silent_first.size());
  std::ranges::partial_sort(state.silent_first,
                            state.silent_first.begin() + static_cast<std::ptrdiff_t>(told), longest);
  state.silent_first.resize(told);
}

void DeviceTable::for_each(
    const std::function<void(const std::string&, const std::string&, const Device&)>& see) const {
  for (const auto& [input, known] : inputs_) {
    for (const auto& [name, device] : known.devices) see(input, name, device);
  }
}

void DeviceTable::sweep(const std::function<bool(const std::string& input)>& is_there, Instant now) {
  at_ = nullptr;
  last_ = nullptr;
  for (auto at = inputs_.begin(); at != inputs_.end();) {
    const bool gone = !is_there(at->first);
    devices_ -= std::erase_if(at->second.devices, [&](const auto& entry) {
      return gone || entry.second.age(now) > to_seconds(forgotten_after);
    });
    at = gone ? inputs_.erase(at) : std::next(at);
  }
}

}  // namespace millrace
