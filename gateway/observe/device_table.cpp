#include "observe/device_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace millrace {
namespace {

constexpr std::uint64_t known_after = 3;  // messages: then it is known what is usual
constexpr double times_late = 2, times_silent = 5;
constexpr double late_min = 5, silent_min = 10;  // seconds: a moment is no silence
constexpr double measured_after = 10;            // messages that are expected
constexpr double weight = 1.0 / 8;               // of the newest gap
constexpr std::size_t channel_max = 200, reason_max = 400, silent_told = 8;
// What a device brings is looked at in its first readings, and then so often.
constexpr std::uint64_t metrics_first = 256;
constexpr Duration metrics_every = std::chrono::seconds(10);
constexpr Duration change_settles = std::chrono::minutes(1);

}  // namespace

const char* pulse_word(Pulse pulse) {
  constexpr const char* words[] = {"new", "alive", "late", "silent"};
  return words[static_cast<std::size_t>(pulse)];
}

// A gap that was a silence is not usual, nor is one in which nobody listened.
void DeviceTable::Voice::heard_anew(Instant now, Duration silent_after) {
  if (pulse_ >= Pulse::late) away_ = std::max(away_, age(now));
  if (times_ > 0 && last_ >= from_ && !silent(now, silent_after)) {
    const double gap = age(now);
    usual_ = times_ == 1 ? gap : usual_ + weight * (gap - usual_);
  }
  if (span_began_.ns == 0 || span_began_ < from_) {  // the first is where counting begins
    span_began_ = now;
    in_span_ = before_ = 0;
    before_seconds_ = 0;
  } else {
    ++in_span_;
  }
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
  const double interval = expected_ > 0 ? expected_ : times_ >= known_after ? usual_ : 0;
  if (interval <= 0 || span_began_.ns == 0 || span_began_ < from_) return {0, 0};
  const double seconds = to_seconds(now - span_began_) + static_cast<double>(before_seconds_);
  const double expected = std::floor(seconds / interval);
  if (expected < measured_after) return {0, 0};
  const double came = static_cast<double>(in_span_) + static_cast<double>(before_);
  return {std::min(came, expected), expected};
}

std::optional<double> DeviceTable::Voice::completeness(Instant now) const {
  const auto [came, expected] = came_of_expected(now);
  return expected > 0 ? std::optional(came / expected) : std::nullopt;
}

bool DeviceTable::Voice::has_habit() const { return times_ >= known_after || (times_ > 0 && expected_ > 0); }

bool DeviceTable::Voice::silent(Instant now, Duration silent_after) const {
  if (!has_habit()) return false;
  if (pulse_ == Pulse::silent && away_ == 0) return true;  // so it was when we went
  const double limit = expected_ > 0 ? std::max(silent_min, times_silent * expected_)
                                     : std::max(to_seconds(silent_after), times_silent * usual_);
  return unheard(now) > limit;
}

bool DeviceTable::Voice::late(Instant now, Duration silent_after) const {
  if (!has_habit()) return false;
  const double limit = expected_ > 0 ? std::max(late_min, times_late * expected_)
                                     : std::max(to_seconds(silent_after) / 2, times_late * usual_);
  return unheard(now) > limit;
}

DeviceTable::Input& DeviceTable::turn_to(std::string_view name) {
  auto found = inputs_.find(name);
  if (found == inputs_.end()) found = inputs_.emplace(std::string(name), Input()).first;
  at_name_ = found->first;
  at_ = &found->second;
  last_ = nullptr;
  return *at_;
}

DeviceTable::Device* DeviceTable::add(Input& input, std::string_view name, Instant now,
                                      std::optional<std::uint32_t> slot) {
  if (devices_ >= options_.devices_max) {
    ++input.beyond;
    return nullptr;
  }
  const auto at = input.devices.emplace(std::string(name), Device()).first;
  ++devices_;
  Device& device = at->second;
  device.name_ = at->first;
  device.first_ = now;
  if (!slot && !input.free.empty()) {
    slot = input.free.back();
    input.free.pop_back();
  }
  device.slot_ = slot.value_or(static_cast<std::uint32_t>(input.slots.size()));
  for (auto more = static_cast<std::uint32_t>(input.slots.size()); more <= device.slot_; ++more) {
    if (more < device.slot_) input.free.push_back(more);
    input.slots.push_back(nullptr);
  }
  input.slots[device.slot_] = &device;
  input.dirty.resize(input.slots.size() / chunk_devices + 1, Dirty::no);
  return &device;
}

bool DeviceTable::seen(std::string_view device, std::uint64_t readings, Instant now) {
  if (!last_ || device != last_name_) {
    auto found = at_->devices.find(device);
    Device* here = found == at_->devices.end() ? add(*at_, device, now) : &found->second;
    if (!here) return false;
    last_name_ = here->name_;
    last_ = here;
  }
  last_->heard(now, options_.silent_after);
  last_->readings += readings;
  if (last_->readings > metrics_first && now - last_->looked_ < metrics_every) return false;
  last_->looked_ = now;
  mark(*at_, *last_, Dirty::heard);
  return true;
}

void DeviceTable::mark(Input& input, const Device& device, Dirty dirty) {
  if (device.pulse_ == Pulse::fresh) return;
  Dirty& chunk = input.dirty[device.slot_ / chunk_devices];
  chunk = std::max(chunk, dirty);
}

std::optional<std::uint32_t> DeviceTable::name_of(std::string_view metric) {
  if (const auto found = names_by_text_.find(metric); found != names_by_text_.end()) return found->second;
  if (names_.size() >= names_max) return std::nullopt;
  const auto at =
      names_by_text_.emplace(std::string(metric), static_cast<std::uint32_t>(names_.size())).first;
  names_.push_back(&at->first);
  return at->second;
}

// Of the device that seen() was just told of.
void DeviceTable::brought(std::string_view metric, Instant now) {
  for (Metric& known : last_->metrics_) {
    if (*names_[known.name] != metric) continue;
    known.came = true;
    return;
  }
  const auto name = last_->metrics_.size() < metrics_max ? name_of(metric) : std::nullopt;
  if (!name) {
    ++last_->beyond_;
    return;
  }
  last_->metrics_.push_back({*name});
  last_->changed_ = now;
}

void DeviceTable::expects(Duration interval) { last_->expect(to_seconds(interval)); }

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
    state.silent_first.push_back(
        {name, device.age(now), device.expected() > 0 ? device.expected() : device.usual()});
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

std::size_t DeviceTable::size(std::string_view name) const {
  const auto input = inputs_.find(name);
  return input == inputs_.end() ? 0 : input->second.devices.size();
}

void DeviceTable::sweep(const std::function<bool(const std::string& input)>& is_there, Instant now) {
  at_ = nullptr;
  last_ = nullptr;
  const bool full = devices_ >= options_.devices_max;
  for (auto at = inputs_.begin(); at != inputs_.end();) {
    Input& input = at->second;
    const bool gone = !is_there(at->first);
    devices_ -= std::erase_if(input.devices, [&](const auto& entry) {
      const Device& device = entry.second;
      const Duration kept = device.pulse_ == Pulse::fresh || full ? forgotten_after : known_forgotten_after;
      if (!gone && device.age(now) <= to_seconds(kept)) return false;
      mark(input, device, Dirty::changed);
      input.slots[device.slot_] = nullptr;
      input.free.push_back(device.slot_);
      return true;
    });
    at = gone ? inputs_.erase(at) : std::next(at);
  }
}

// ---- what became of them

void DeviceTable::look(const std::function<bool(const std::string& input)>& hears, Instant now,
                       const std::function<void(const std::string& input, const Change&)>& see) {
  for (auto& [name, input] : inputs_) {
    const bool was_deaf = std::exchange(input.deaf, !hears(name));
    if (was_deaf && !input.deaf) {
      input.voice.listen_from(now);
      for (auto& [device_name, device] : input.devices) device.listen_from(now);
    }
    for (Device* device : input.slots) {
      if (device) look_at(name, input, *device, now, see);
    }
  }
}

// One that was heard meanwhile is back, also where nobody hears now.
void DeviceTable::look_at(const std::string& name, Input& input, Device& device, Instant now,
                          const std::function<void(const std::string& input, const Change&)>& see) const {
  const Pulse before = device.pulse_;
  Pulse after = before;
  double seconds = device.age(now);
  if (device.away_ > 0) {
    after = Pulse::alive;
    seconds = std::exchange(device.away_, 0);
  } else if (before == Pulse::fresh) {
    const bool known = device.times_ >= known_after && device.last_ - device.first_ >= options_.silent_after;
    if (!known || device.silent(now, options_.silent_after)) return;
    after = Pulse::alive;
    seconds = device.expected_ > 0 ? device.expected_ : device.usual_;
  } else if (!input.deaf) {
    if (device.silent(now, options_.silent_after)) after = Pulse::silent;
    else if (before == Pulse::alive && device.late(now, options_.silent_after)) after = Pulse::late;
  }
  if (after == before) return;
  device.pulse_ = after;
  mark(input, device, Dirty::changed);
  see(name, {device.name_, before, after, seconds});
}

bool DeviceTable::is_due(const Device& device, Duration interval, Instant now) const {
  if (device.pulse_ == Pulse::fresh) return false;
  if (!device.told_ || now - *device.told_ >= interval) return true;
  return device.changed_ > *device.told_ && now - device.changed_ >= change_settles;
}

// What has not come since the last time is no longer listed.
void DeviceTable::begin_anew(Device& device, Instant now) {
  device.told_ = now;
  device.told_readings_ = device.readings;
  device.beyond_ = 0;
  for (Metric& metric : device.metrics_) metric.came = false;
}

void DeviceTable::inventory(Duration interval, Instant now,
                            const std::function<bool(const Inventory&)>& see) {
  for (auto& [name, input] : inputs_) {
    for (Device* device : input.slots) {
      if (!device || !is_due(*device, interval, now)) continue;
      double per_hour = 0;
      if (device->told_ && now - *device->told_ >= interval) {
        // Of one that says nothing any more: what it used to bring.
        if (device->pulse_ == Pulse::alive)
          std::erase_if(device->metrics_, [](const Metric& metric) { return !metric.came; });
      }
      const Instant since = device->told_.value_or(device->first_);
      if (now > since)
        per_hour =
            static_cast<double>(device->readings - device->told_readings_) / to_seconds(now - since) * 3600;
      if (!see({name, device->name_, *device, per_hour})) return;
      begin_anew(*device, now);
      mark(input, *device, Dirty::changed);
    }
  }
}

// ---- what is kept

void DeviceTable::for_chunks(
    const std::function<void(const std::string& input, std::size_t chunk, Dirty)>& see) const {
  for (const auto& [name, input] : inputs_) {
    for (std::size_t chunk = 0; chunk < input.dirty.size(); ++chunk) see(name, chunk, input.dirty[chunk]);
  }
}

void DeviceTable::for_chunk(const std::string& name, std::size_t chunk,
                            const std::function<void(const std::string&, const Device&)>& see) const {
  const auto found = inputs_.find(name);
  if (found == inputs_.end()) return;
  const auto& slots = found->second.slots;
  for (std::size_t at = chunk * chunk_devices; at < slots.size() && at < (chunk + 1) * chunk_devices; ++at) {
    if (slots[at] && slots[at]->pulse_ != Pulse::fresh) see(std::string(slots[at]->name_), *slots[at]);
  }
}

void DeviceTable::saved(const std::string& name, std::size_t chunk) {
  const auto found = inputs_.find(name);
  if (found != inputs_.end() && chunk < found->second.dirty.size()) found->second.dirty[chunk] = Dirty::no;
}

void DeviceTable::restore(std::string_view name, std::size_t chunk, std::size_t n, const Kept& kept,
                          Instant now) {
  Input& input = input_of(name);
  const std::size_t slot = chunk * chunk_devices + n;
  const bool taken =
      slot < input.slots.size() || n >= chunk_devices || slot >= 2 * options_.devices_max + chunk_devices;
  if (taken || input.devices.contains(kept.name)) return;
  Device* device = add(input, kept.name, kept.first, static_cast<std::uint32_t>(slot));
  if (!device) return;
  device->last_ = std::min(kept.last, now);
  device->from_ = now;
  device->usual_ = kept.usual;
  device->expected_ = kept.expected;
  device->times_ = known_after;
  device->readings = kept.readings;
  device->told_readings_ = kept.told_readings;
  device->pulse_ = kept.pulse == Pulse::fresh ? Pulse::alive : kept.pulse;
  device->told_ = kept.told;
  device->changed_ = kept.told.value_or(kept.first);
  for (const std::string_view metric : kept.metrics) {
    if (const auto id = device->metrics_.size() < metrics_max ? name_of(metric) : std::nullopt)
      device->metrics_.push_back({*id, false});
  }
}

}  // namespace millrace
