#include "windows/window_engine.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "record/unsynced.h"

namespace millrace {
namespace {

constexpr std::string_view tick_metric = "@tick", note_metric = "@clock";
constexpr std::int64_t second = 1'000'000, hour = 3600 * second, day = 24 * hour;
// less is slewing, or a leap second: stamps do not go back then
constexpr std::int64_t clock_step_us = 2 * second;
// between two ticks no more than this has passed: the rest is a jump
constexpr std::int64_t jump = 10 * second;
constexpr std::int64_t note_after = 8 * second;  // ticks come every five seconds while anything is open
// 2024: an unvouched clock before that is no clock
constexpr std::int64_t first_release = 1'704'067'200 * second;
constexpr std::int64_t end_of_time = 253'402'300'800 * second;  // year 10000: nothing below can overflow
constexpr std::int64_t silent_forgotten = day, silent_forgotten_crowded = hour;
constexpr std::size_t forgotten_per_tick = 1000;

std::int64_t floor_to(std::int64_t time, std::int64_t size) {
  std::int64_t start = time - time % size;
  if (time % size < 0) start -= size;
  return start;
}

std::optional<double> number_of(const Value& value) {
  if (const auto* number = std::get_if<double>(&value))
    return std::isnan(*number) ? std::nullopt : std::optional(*number);
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  return std::nullopt;
}

std::vector<WindowState::Shape> shapes_of(const std::vector<WindowConfig>& windows) {
  std::vector<WindowState::Shape> shapes;
  for (const WindowConfig& w : windows) {
    shapes.push_back({to_us(w.size),
                      to_us(w.idle_close),
                      {w.keys_max, static_cast<std::size_t>(w.state_max)},
                      WindowAggregates(w)});
  }
  return shapes;
}

Record clock_entry(std::string_view metric, WallTime now, WindowEngine::Clock clock) {
  Record record;
  record.kind = Kind::event;
  record.metric = metric;
  record.time = now;
  record.trust = clock == WindowEngine::Clock::unknown ? TimeTrust::unsynced : TimeTrust::gateway;
  record.quality = clock == WindowEngine::Clock::plausible ? Quality::uncertain : Quality::good;
  return record;
}

}  // namespace

WindowEngine::WindowEngine(const std::vector<WindowConfig>& windows)
    : stats_(windows.size()), last_refused_(windows.size()), state_(shapes_of(windows)) {
  for (const WindowConfig& w : windows) {
    windows_.push_back({w, to_us(w.size), to_us(w.allowed_lateness), to_us(w.future_max), to_us(w.idle_close),
                        WindowAggregates(w)});
    idle_close_min_ =
        windows_.size() == 1 ? to_us(w.idle_close) : std::min(idle_close_min_, to_us(w.idle_close));
  }
}

Record WindowEngine::tick(WallTime now, Clock clock) { return clock_entry(tick_metric, now, clock); }
Record WindowEngine::note(WallTime now, Clock clock, std::int64_t step_us) {
  Record record = clock_entry(note_metric, now, clock);
  if (step_us != 0) record.value = step_us;
  return record;
}
Record WindowEngine::dating_note(WallTime now, Instant monotonic, std::uint64_t boot_id,
                                 std::int64_t step_us) {
  Record record = note(now, Clock::trusted, step_us);
  keep_boot_time(record, boot_id, now.us - monotonic.ns / 1000);
  return record;
}
Record WindowEngine::last_tick(WallTime now, Clock clock) {
  Record record = tick(now, clock);
  record.value = false;
  return record;
}
bool WindowEngine::is_tick(const Record& record) {
  return record.kind == Kind::event && record.metric == tick_metric;
}
bool WindowEngine::is_note(const Record& record) {
  return record.kind == Kind::event && record.metric == note_metric;
}

bool WindowEngine::takes(const Window& window, std::string_view metric) const {
  const std::vector<std::string>& metrics = window.config.metrics;
  return metrics.empty() || std::find(metrics.begin(), metrics.end(), metric) != metrics.end();
}

bool WindowEngine::wants(std::string_view metric) const {
  return std::any_of(windows_.begin(), windows_.end(),
                     [&](const Window& window) { return takes(window, metric); });
}

void WindowEngine::feed(const Record& entry, std::vector<Record>& out) {
  if (entry.kind == Kind::reading) {
    if (entry.trust != TimeTrust::unsynced) feed_reading(entry, out);
    else if (wants(entry.metric)) feed_undated(entry, out);
  } else if (is_tick(entry) || is_note(entry)) {
    feed_clock(entry, out);
    date_undated(entry, out);
  }
}

void WindowEngine::feed_undated(const Record& entry, std::vector<Record>& out) {
  if (const auto told = undated_.take(entry)) feed_reading(*told, out);
}

void WindowEngine::date_undated(const Record& entry, std::vector<Record>& out) {
  if (const auto* more = std::get_if<bool>(&entry.value); more && !*more) return undated_.give_up();
  if (clock_ != Clock::trusted || !entry.detail || entry.detail->boot_id == 0) return;
  const std::int64_t monotonic_us = entry.detail->monotonic_us, offset_us = entry.time.us - monotonic_us;
  for (const Record& reading : undated_.dated(entry.detail->boot_id, offset_us, monotonic_us))
    feed_reading(reading, out);
}

// ---- readings

void WindowEngine::feed_reading(const Record& reading, std::vector<Record>& out) {
  const auto number = number_of(reading.value);
  if (!number || reading.quality == Quality::bad) return;
  compose_identity(reading, identity_);
  const WindowDevice* device = state_.find(identity_);
  const WindowSeries* series = device ? device->find(reading.metric) : nullptr;
  WindowKey* at = series ? series->keys.get() : nullptr;
  // the first window that takes it hears it
  const std::int64_t silent = device ? passed_us_ - device->heard : 0;
  for (std::uint16_t w = 0; w < windows_.size(); ++w) {
    while (at && at->window < w) at = at->next.get();
    WindowKey* key = at && at->window == w ? at : nullptr;
    if (!key && !takes(windows_[w], reading.metric)) continue;
    if (ahead(w, device, silent, reading)) {
      refuse(w, stats_[w].future, reading.device, reading.metric);
      continue;
    }
    if (!key) {
      WindowRefusal why{};
      key = state_.begin_key(w, identity_, reading, passed_us_, why);
      if (!key) {
        refuse(w, stats_[w].refused[static_cast<std::size_t>(why)], reading.device, reading.metric);
        continue;
      }
      if (!at) at = key;
    }
    add(*key, reading, *number, out);
  }
}

void WindowEngine::refuse(std::uint32_t window, std::uint64_t& counter, std::string_view device,
                          std::string_view metric) {
  ++counter;
  last_refused_[window].device = device.substr(0, 256);
  last_refused_[window].metric = metric.substr(0, 256);
}

// A clock that is not known stands in nobody's way: a box that woke in 1970 has devices that know better. A
// stamp of ours that is ahead of our clock was made before that was set back. A device that only went on
// since it was last heard is not from the future: it is our clock that was set back.
bool WindowEngine::ahead(std::uint16_t window, const WindowDevice* device, std::int64_t silent,
                         const Record& reading) const {
  const std::int64_t time = reading.time.us;
  if (time >= end_of_time || time <= -end_of_time) return true;
  const bool stamped = reading.trust == TimeTrust::gateway;
  if (clock_ == Clock::unknown ||
      time <= now_us_ + (stamped ? 0 : windows_[window].future_max) + clock_grain_us)
    return false;
  if (stamped || !device || device->stamped || device->watermarks[window] == no_time) return true;
  return time > device->watermarks[window] + silent + clock_grain_us;
}

bool WindowEngine::late(const WindowKey& key, std::int64_t start) const {
  const Window& window = windows_[key.window];
  const std::int64_t watermark = key.series->device->watermarks[key.window];
  return watermark != no_time && start + window.size + window.lateness <= watermark;
}

// It says what our clock says, and what it said before lies where nobody can have been: its clock was set
// right, as ours was.
bool WindowEngine::doubtful(const WindowDevice& device, std::uint16_t window, std::int64_t time) const {
  const std::int64_t near = windows_[window].future_max + clock_grain_us;
  return clock_ != Clock::unknown && device.watermarks[window] > now_us_ + near && time >= now_us_ - near &&
         time <= now_us_ + near;
}

void WindowEngine::add(WindowKey& key, const Record& reading, double value, std::vector<Record>& out) {
  const Window& window = windows_[key.window];
  WindowDevice& device = *key.series->device;
  const std::int64_t time = reading.time.us;
  const std::int64_t start = floor_to(time, window.size);
  hear(device);
  if (late(key, start) && doubtful(device, key.window, time))
    mend(device, key.window, now_us_ + window.future_max + clock_grain_us, out);
  if (late(key, start) || (start < key.floor && !key.find(start))) {
    ++stats_[key.window].too_late;
    return;
  }
  std::int64_t& watermark = device.watermarks[key.window];
  if (time > watermark) {
    watermark = time;
    device.stamped = reading.trust == TimeTrust::gateway;
    // before the note was made
    if (device.stamped && time < leap_to_ && time > leap_from_ + clock_grain_us) leap_to_ = time;
    close_until(key, watermark, out);
    forget_old(key);
    close_passed(device, out);
  }
  WindowRefusal why{};
  WindowPane* pane = state_.begin_pane(key, start, why);
  if (!pane) {
    Record named;
    split_identity(*device.identity, named.device, named.tags);
    return refuse(key.window, stats_[key.window].refused[static_cast<std::size_t>(why)], named.device,
                  key.series->metric());
  }
  if (pane->count == 0 && given(device, start)) pane->revision = again_revision_;
  ++pane->count;
  window.aggregates.add(key.panes.states(*pane), {value, time});
  WindowState::changed(device);
  if (pane->closed) {
    if (!pane->revised) state_.revise(key, *pane);
  } else if (start + window.size <= watermark) {
    emit(key, *pane, out);
  }
}

void WindowEngine::hear(WindowDevice& device) {
  if (device.heard == passed_us_ && device.wake == passed_us_ + idle_close_min_) return;
  device.heard = passed_us_;
  state_.wake_at(device, passed_us_ + idle_close_min_);
}

void WindowEngine::close_until(WindowKey& key, std::int64_t watermark, std::vector<Record>& out) {
  while (key.open > 0 && key.oldest_open + windows_[key.window].size <= watermark)
    emit(key, *key.find(key.oldest_open), out);
}

// A metric that fell silent while its device speaks: its windows close by the device's time alone.
void WindowEngine::close_passed(WindowDevice& device, std::vector<Record>& out) {
  while (!device.due.empty()) {
    WindowKey& key = *device.due.first().item;
    if (device.due.first().at > device.watermarks[key.window]) return;
    emit(key, *key.find(key.oldest_open), out);
    forget_old(key);
  }
}

// What is forgotten is too late from then on: a window is never begun a second time.
void WindowEngine::forget_old(WindowKey& key) {
  const Window& window = windows_[key.window];
  state_.forget_panes(key, key.series->device->watermarks[key.window] - window.lateness - window.size + 1);
}

void WindowEngine::emit(WindowKey& key, WindowPane& pane, std::vector<Record>& out) {
  const Window& window = windows_[key.window];
  const WindowSeries& series = *key.series;
  highest_revision_ = std::max(highest_revision_, pane.revision);
  auto detail = std::make_shared<Detail>();
  WindowDetail given{.name = window.config.name,
                     .end_us = pane.start + window.size,
                     .count = pane.count,
                     .revision = pane.revision++,
                     .ordinal = ++ordinal_};
  window.aggregates.give(key.panes.states(pane), pane.lacks, given);
  Record record;
  // Readings whose sum no double holds: their mean lies between them, and nobody knows where.
  if (!std::isfinite(given.mean) && std::isfinite(given.min) && std::isfinite(given.max)) {
    given.mean = std::clamp(given.mean, given.min, given.max);
    record.quality = Quality::uncertain;
  }
  detail->body = std::move(given);
  record.kind = Kind::window;
  split_identity(*series.device->identity, record.device, record.tags);
  record.metric = series.metric();
  record.unit = series.unit();
  record.time = {pane.start};
  record.detail = std::move(detail);
  out.push_back(std::move(record));
  state_.close(key, pane);
  WindowState::changed(*series.device);
}

// ---- the clock

WindowEngine::Clock WindowEngine::judge(WallTime now, bool vouched) const {
  if (vouched) return Clock::trusted;
  return now.us < first_release || now.us + clock_grain_us < now_us_ ? Clock::unknown : Clock::plausible;
}

bool WindowEngine::needs_note(WallTime now, Clock clock) const {
  if (clock != clock_) return true;
  return clock != Clock::unknown && (now.us > now_us_ + note_after || now.us + clock_step_us < now_us_);
}

void WindowEngine::feed_clock(const Record& entry, std::vector<Record>& out) {
  const std::int64_t says = entry.time.us;
  const Clock clock = entry.trust == TimeTrust::unsynced    ? Clock::unknown
                      : entry.quality == Quality::uncertain ? Clock::plausible
                                                            : Clock::trusted;
  if (said_us_ != 0) passed_us_ += std::clamp(says - said_us_, std::int64_t{0}, jump);
  said_us_ = says;
  const bool was_known = clock_ != Clock::unknown;
  clock_ = clock;
  if (clock != Clock::unknown) {
    // Ticks stand behind the readings of their group, and may be older than the note that leads it.
    const auto* step = std::get_if<std::int64_t>(&entry.value);
    if (says - now_us_ > jump) {
      leap_from_ = now_us_;
      leap_to_ = says;
    }
    const bool set_back = was_known && is_note(entry) && (says < now_us_ || (step && *step < 0));
    now_us_ = is_note(entry) ? says : std::max(now_us_, says);
    if (set_back || !was_known) heal(set_back, out);
  }
  if (is_tick(entry)) feed_tick(out);
}

void WindowEngine::feed_tick(std::vector<Record>& out) {
  for (const auto& [key, start] : state_.take_revised()) {
    WindowPane* pane = key->find(start);
    if (!pane || !pane->revised) continue;
    emit(*key, *pane, out);
    forget_old(*key);
  }
  forgotten_now_ = 0;
  for (WindowDevice* device = state_.first_to_wake(); device && device->wake <= passed_us_;
       device = state_.first_to_wake()) {
    look_at(*device, out);
  }
}

// The device was silent since it was last heard. Where its own time stands by now can be told without the
// wall clock: at its watermark, and the silence. Only where our clock made its times, that one knows better.
void WindowEngine::look_at(WindowDevice& device, std::vector<Record>& out) {
  const std::int64_t at_most = passed_us_ - device.heard;  // it may have spoken since the tick before
  const bool by_our_clock = clock_ == Clock::trusted && device.stamped;
  while (!device.due.empty()) {
    WindowKey& key = *device.due.first().item;
    const std::int64_t due = device.due.first().at;
    const Window& window = windows_[key.window];
    std::int64_t& watermark = device.watermarks[key.window];
    const std::int64_t silent =
        by_our_clock ? std::min(at_most, std::max<std::int64_t>(0, now_us_ - watermark)) : at_most;
    std::int64_t left = due - watermark - silent;
    if (by_our_clock) left = std::min(left, due - now_us_);
    left = std::max(left, window.idle_close - silent);
    if (left > 0) return state_.wake_at(device, passed_us_ + left);
    WindowPane& pane = *key.find(key.oldest_open);
    watermark = std::max(watermark, pane.start + window.size);
    emit(key, pane, out);
    forget_old(key);
  }
  forget_or_wait(device);
}

void WindowEngine::forget_or_wait(WindowDevice& device) {
  const std::int64_t silent = passed_us_ - device.heard;
  const std::int64_t enough = state_.crowded() ? silent_forgotten_crowded : silent_forgotten;
  if (silent < enough || device.unsettled > 0)
    return state_.wake_at(device, passed_us_ + (silent < hour ? hour - silent : hour));
  if (++forgotten_now_ > forgotten_per_tick) return state_.wake_at(device, passed_us_ + 1);
  state_.forget(device);
}

// The clock became known, or was set back. Our own stamps beyond it are of before. What a device said itself
// is left to it, but for what it said while nothing was known, and lies too far ahead.
void WindowEngine::heal(bool set_back, std::vector<Record>& out) {
  for (WindowDevice* device : state_.devices_in_order()) {
    for (std::uint16_t w = 0; w < windows_.size(); ++w) {
      const std::int64_t far = now_us_ + windows_[w].future_max + clock_grain_us;
      const std::int64_t beyond = device->stamped ? now_us_ : far;
      if (device->watermarks[w] > beyond && (device->stamped || !set_back)) mend(*device, w, beyond, out);
    }
  }
}

bool WindowEngine::given(const WindowDevice& device, std::int64_t start) const {
  return device.again && start < again_until_ && (start >= again_from_ || start <= again_now_);
}

// Takes a device's time in a window back to the clock's. What it had begun beyond is given as far as it got,
// and is given again with a higher revision once its time has come.
void WindowEngine::mend(WindowDevice& device, std::uint16_t window, std::int64_t beyond,
                        std::vector<Record>& out) {
  const std::int64_t size = windows_[window].size;
  std::int64_t& watermark = device.watermarks[window];
  // Where the clock had leapt over what comes now, nothing of it was given.
  const bool leapt_over = device.stamped && leap_to_ != no_time && now_us_ >= leap_from_ + clock_grain_us;
  const std::int64_t from = leapt_over ? std::max(now_us_, floor_to(leap_to_, size)) : now_us_;
  again_from_ = again_until_ == no_time ? from : std::min(again_from_, from);
  again_until_ = std::max(again_until_, floor_to(watermark, size) + size);
  again_now_ = std::max(again_now_, now_us_);
  device.again = true;
  // A note leads its group: what was stamped behind the step, and before the note was made, is not late.
  const std::int64_t to = device.stamped ? now_us_ - clock_grain_us : now_us_;
  watermark = to;
  for (const auto& series : device.series) {
    WindowKey* key = WindowState::key_of(*series, window);
    if (!key) continue;
    for (std::size_t p = key->panes.size(); p > 0 && key->panes[p - 1].start > beyond; --p) {
      WindowPane& pane = key->panes[p - 1];
      if (!pane.closed || pane.revised) emit(*key, pane, out);
    }
    state_.forget_panes_from(*key, beyond + 1);
    if (key->floor > to) key->floor = floor_to(to, size);
  }
  again_revision_ = highest_revision_ + 1;
  WindowState::changed(device);
}

}  // namespace millrace
