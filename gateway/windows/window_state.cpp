#include "windows/window_state.h"

#include <algorithm>

#include "base/check.h"
#include "base/composite_key.h"

namespace millrace {
namespace {

// What is charged is at least what a snapshot writes: a key with its numbers and two panes (the one that
// fills and the one that just closed: whoever has a key can always go on), and each pane beyond; of a pane
// what its aggregates save, and its own.
constexpr std::size_t key_cost_least = 96, pane_cost_least = 28, panes_free = 2;
constexpr std::size_t page_cost_max = 8 << 10;  // a device that comes after this begins a new page

}  // namespace

const char* window_refusal_name(WindowRefusal why) {
  static constexpr const char* names[] = {"keys_max", "state_max", "panes", "name"};
  return names[static_cast<std::size_t>(why)];
}

void compose_identity(const Record& record, std::string& identity) {
  identity.clear();
  add_key_part(identity, record.device);
  for (const auto& [name, value] : record.tags) {
    add_key_part(identity, name);
    add_key_part(identity, value);
  }
}

void split_identity(std::string_view identity, std::string& device, Tags& tags) {
  std::string_view part, value;
  if (take_key_part(identity, part)) device = part;
  while (take_key_part(identity, part) && take_key_part(identity, value)) tags.emplace_back(part, value);
}

WindowPane* WindowPanes::find(std::int64_t start) {
  if (!panes_.empty() && panes_.back().start == start) return &panes_.back();
  const auto at = std::lower_bound(panes_.begin(), panes_.end(), start,
                                   [](const WindowPane& pane, std::int64_t s) { return pane.start < s; });
  return at != panes_.end() && at->start == start ? &*at : nullptr;
}

WindowPane& WindowPanes::insert(WindowPane pane, std::size_t bytes) {
  bytes_ = bytes;
  const auto at = std::upper_bound(panes_.begin(), panes_.end(), pane.start,
                                   [](std::int64_t s, const WindowPane& other) { return s < other.start; });
  const auto index = at - panes_.begin();
  states_.insert(states_.begin() + index * static_cast<std::ptrdiff_t>(bytes), bytes, std::byte{0});
  return *panes_.insert(at, pane);
}

void WindowPanes::erase(std::size_t from, std::size_t to) {
  const auto bytes = [this](std::size_t panes) { return static_cast<std::ptrdiff_t>(panes * bytes_); };
  states_.erase(states_.begin() + bytes(from), states_.begin() + bytes(to));
  panes_.erase(panes_.begin() + static_cast<std::ptrdiff_t>(from),
               panes_.begin() + static_cast<std::ptrdiff_t>(to));
}

WindowState::WindowState(std::vector<Shape> shapes)
    : shapes_(std::move(shapes)), keys_(shapes_.size()), bytes_(shapes_.size()) {}

WindowSeries* WindowDevice::find(std::string_view metric) const {
  const auto at = std::lower_bound(series.begin(), series.end(), metric,
                                   [](const auto& s, std::string_view m) { return s->metric() < m; });
  return at != series.end() && (*at)->metric() == metric ? at->get() : nullptr;
}

WindowDevice* WindowState::find(std::string_view identity) {
  const auto found = devices_.find(identity);
  return found == devices_.end() ? nullptr : &found->second;
}

WindowKey* WindowState::key_of(const WindowSeries& series, std::uint16_t window) {
  WindowKey* key = series.keys.get();
  while (key && key->window < window) key = key->next.get();
  return key && key->window == window ? key : nullptr;
}

WindowPrice window_price(const WindowAggregates& aggregates) {
  const std::size_t pane = pane_cost_least + aggregates.saved_bytes();
  return {key_cost_least + panes_free * pane, pane};
}

// Panes grow dearer than keys do, whose names and numbers stay.
std::uint64_t window_state_needed(const WindowConfig& window) {
  WindowConfig without = window;
  without.aggregates.clear();
  const std::uint64_t before = window_price(WindowAggregates(without)).pane,
                      now = window_price(WindowAggregates(window)).pane;
  return (window.state_max * now + before - 1) / before;
}

std::size_t WindowState::cost_of(std::size_t window, const WindowSeries& series) const {
  return price(window).key + series.device->identity->size() + series.names.size();
}

std::size_t WindowState::pane_cost(const WindowKey& key) const {
  return key.panes.size() > panes_free ? (key.panes.size() - panes_free) * price(key.window).pane : 0;
}

// ---- keys

WindowKey* WindowState::begin_key(std::uint16_t window, std::string_view identity, const Record& reading,
                                  std::int64_t passed, WindowRefusal& why) {
  WindowDevice* device = find(identity);
  WindowSeries* series = device ? device->find(reading.metric) : nullptr;
  if (series) {
    if (WindowKey* key = key_of(*series, window)) return key;
  }
  const WindowLimits& limits = shapes_[window].limits;
  const std::size_t names =
      identity.size() + (series ? series->names.size() : reading.metric.size() + reading.unit.size());
  if (names > window_identity_bytes_max) {
    why = WindowRefusal::name;
    return nullptr;
  }
  if (keys_[window] >= limits.keys_max) {
    why = WindowRefusal::keys;
    return nullptr;
  }
  if (bytes_[window] + price(window).key + names > limits.bytes_max) {
    why = WindowRefusal::bytes;
    return nullptr;
  }
  if (!series)
    series = &add_series(device ? *device : device_of(identity, passed), reading.metric, reading.unit);
  return &add_key(*series, window, next_key_++);
}

WindowDevice& WindowState::device_of(std::string_view identity, std::int64_t passed) {
  const auto at = devices_.try_emplace(std::string(identity)).first;
  WindowDevice& device = at->second;
  device.identity = &at->first;
  device.number = next_device_++;
  device.watermarks = std::make_unique<std::int64_t[]>(shapes_.size());
  std::fill_n(device.watermarks.get(), shapes_.size(), no_time);
  device.heard = device.wake = passed;
  wakes_.set(device, device.wake);
  place_on_page(device);
  return device;
}

void WindowState::place_on_page(WindowDevice& device) {
  if (pages_.empty() || pages_.rbegin()->second.cost >= page_cost_max)
    pages_[next_page_].number = next_page_, ++next_page_;
  device.page = &pages_.rbegin()->second;
  device.page->devices.push_back(&device);
  device.page->cost += device.identity->size();
  device.page->changed = true;
}

WindowSeries& WindowState::add_series(WindowDevice& device, std::string_view metric, std::string_view unit) {
  auto series = std::make_unique<WindowSeries>();
  series->device = &device;
  series->names.reserve(metric.size() + unit.size());
  series->names.append(metric).append(unit);
  series->metric_size = static_cast<std::uint16_t>(metric.size());
  const auto at = std::lower_bound(device.series.begin(), device.series.end(), metric,
                                   [](const auto& s, std::string_view m) { return s->metric() < m; });
  return **device.series.insert(at, std::move(series));
}

WindowKey& WindowState::add_key(WindowSeries& series, std::uint16_t window, std::uint64_t number) {
  std::unique_ptr<WindowKey>* place = &series.keys;
  while (*place && (*place)->window < window) place = &(*place)->next;
  auto key = std::make_unique<WindowKey>();
  key->series = &series;
  key->window = window;
  key->number = number;
  key->next = std::move(*place);
  *place = std::move(key);
  ++keys_[window];
  bytes_[window] += cost_of(window, series);
  series.device->page->cost += cost_of(window, series);
  series.device->page->changed = true;
  return **place;
}

// ---- panes

WindowPane* WindowState::begin_pane(WindowKey& key, std::int64_t start, WindowRefusal& why) {
  if (WindowPane* pane = key.find(start)) return pane;
  const Shape& shape = shapes_[key.window];
  const std::size_t cost = price(key.window).pane;
  std::size_t& bytes = bytes_[key.window];
  const bool full = key.panes.size() >= panes_free && bytes + cost > shape.limits.bytes_max;
  if (full || key.panes.size() >= window_panes_max) {
    const auto oldest = std::find_if(key.panes.begin(), key.panes.end(),
                                     [](const WindowPane& pane) { return pane.closed && !pane.revised; });
    if (oldest == key.panes.end() || oldest->start > start) {
      why = full ? WindowRefusal::bytes : WindowRefusal::panes;
      return nullptr;
    }
    key.floor = std::max(key.floor, oldest->start + shape.size);
    bytes -= key.panes.size() > panes_free ? cost : 0;
    const auto gone = static_cast<std::size_t>(oldest - key.panes.begin());
    key.panes.erase(gone, gone + 1);
    ++given_up_;
  }
  WindowPane& pane = key.panes.insert({.start = start}, shape.aggregates.bytes());
  shape.aggregates.begin(key.panes.states(pane));
  bytes += key.panes.size() > panes_free ? cost : 0;
  ++key.open;
  ++key.series->device->unsettled;
  ++unsettled_;
  if (key.open == 1 || start < key.oldest_open) set_oldest_open(key, start);
  return &pane;
}

// Keeps the device's agenda as its keys are.
void WindowState::set_oldest_open(WindowKey& key, std::optional<std::int64_t> start) {
  WindowAgenda<WindowKey>& agenda = key.series->device->due;
  if (!start) return agenda.remove(key);
  key.oldest_open = *start;
  agenda.set(key, *start + shapes_[key.window].size + shapes_[key.window].idle_close);
}

void WindowState::close(WindowKey& key, WindowPane& pane) {
  const bool was_open = !pane.closed;
  pane.closed = true;
  pane.revised = false;
  --key.series->device->unsettled;
  --unsettled_;
  if (!was_open) return;
  --key.open;
  if (pane.start != key.oldest_open) return;
  if (key.open == 0) return set_oldest_open(key, std::nullopt);
  const WindowPane* after = &pane;
  while (after->closed) ++after;  // there is one that is open, and none before this one
  set_oldest_open(key, after->start);
}

void WindowState::revise(WindowKey& key, WindowPane& pane) {
  pane.revised = true;
  ++key.series->device->unsettled;
  ++unsettled_;
  revised_.emplace_back(&key, pane.start);
}

std::vector<std::pair<WindowKey*, std::int64_t>> WindowState::take_revised() {
  auto taken = std::exchange(revised_, {});
  std::sort(taken.begin(), taken.end(), [](const auto& a, const auto& b) {
    return a.first->number != b.first->number ? a.first->number < b.first->number : a.second < b.second;
  });
  return taken;
}

void WindowState::forget_panes(WindowKey& key, std::int64_t before) {
  std::size_t gone = 0;
  while (gone < key.panes.size() && key.panes[gone].start < before && key.panes[gone].closed &&
         !key.panes[gone].revised)
    ++gone;
  if (gone == 0) return;
  bytes_[key.window] -= pane_cost(key);
  key.floor = std::max(key.floor, key.panes[gone - 1].start + shapes_[key.window].size);
  key.panes.erase(0, gone);
  bytes_[key.window] += pane_cost(key);
}

void WindowState::forget_panes_from(WindowKey& key, std::int64_t from) {
  bytes_[key.window] -= pane_cost(key);
  for (std::size_t at = key.panes.size(); at > 0 && key.panes[at - 1].start >= from; --at) {
    const WindowPane& pane = key.panes[at - 1];
    if (pane.closed && !pane.revised) key.panes.erase(at - 1, at);
  }
  bytes_[key.window] += pane_cost(key);
}

// ---- devices

void WindowState::wake_at(WindowDevice& device, std::int64_t when) {
  if (device.wake == when) return;
  device.wake = when;
  wakes_.set(device, when);
  changed(device);
}

std::vector<WindowDevice*> WindowState::devices_in_order() {
  std::vector<WindowDevice*> devices;
  devices.reserve(devices_.size());
  for (auto& [identity, device] : devices_) devices.push_back(&device);
  std::sort(devices.begin(), devices.end(),
            [](const WindowDevice* a, const WindowDevice* b) { return a->number < b->number; });
  return devices;
}

void WindowState::forget(WindowDevice& device) {
  MILLRACE_CHECK(device.unsettled == 0);  // what is open or revised is on a list of ours
  WindowPage& page = *device.page;
  for (const auto& series : device.series) {
    for (const WindowKey* key = series->keys.get(); key; key = key->next.get()) {
      --keys_[key->window];
      bytes_[key->window] -= cost_of(key->window, *series) + pane_cost(*key);
      page.cost -= cost_of(key->window, *series);
    }
  }
  wakes_.remove(device);
  std::erase(page.devices, &device);
  page.cost -= device.identity->size();
  page.changed = true;
  if (page.devices.empty()) {
    if (page.stored_chunks > 0) pages_gone_.emplace_back(page.number, page.stored_chunks);
    pages_.erase(page.number);
  }
  devices_.erase(devices_.find(*device.identity));
}

bool WindowState::crowded() const {
  for (std::size_t w = 0; w < shapes_.size(); ++w) {
    const WindowLimits& limits = shapes_[w].limits;
    if (keys_[w] > limits.keys_max / 4 * 3 || bytes_[w] > limits.bytes_max / 4 * 3) return true;
  }
  return false;
}

}  // namespace millrace
