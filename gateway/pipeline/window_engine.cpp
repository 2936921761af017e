#include "pipeline/window_engine.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

#include "base/text.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::string_view tick_metric = "@tick";

std::int64_t floor_to(std::int64_t time, std::int64_t size) {
  std::int64_t start = time - time % size;
  if (time % size < 0) start -= size;
  return start;
}

std::uint64_t definition_of(const WindowConfig& window) {
  std::string all = text(window.name, "/", window.size.count());
  for (const std::string& metric : window.metrics) all += "/" + metric;
  return digest64(bytes_of(all));
}

std::optional<double> number_of(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) return std::isnan(*number) ? std::nullopt : std::optional(*number);
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  return std::nullopt;
}

std::string device_key(const Record& record) {
  std::string key = record.device;
  for (const auto& [name, value] : record.tags) {
    for (const std::string& part : {name, value}) {
      key += '\0';
      key += part;
    }
  }
  return key;
}

std::string key_of(std::uint32_t window, const std::string& device, const std::string& metric) {
  std::string key = text(window, '/');
  key += device;
  key += '\0';
  key += metric;
  return key;
}

}  // namespace

WindowEngine::WindowEngine(std::vector<WindowConfig> windows) : windows_(std::move(windows)) {
  for (const WindowConfig& window : windows_) definitions_.push_back(definition_of(window));
}

Record WindowEngine::tick(WallTime now) {
  Record record;
  record.kind = Kind::event;
  record.metric = tick_metric;
  record.time = now;
  record.trust = TimeTrust::gateway;
  return record;
}

bool WindowEngine::is_tick(const Record& record) { return record.kind == Kind::event && record.metric == tick_metric; }

bool WindowEngine::wants(std::string_view metric) const {
  return std::any_of(windows_.begin(), windows_.end(), [&](const WindowConfig& window) {
    return window.metrics.empty() || std::find(window.metrics.begin(), window.metrics.end(), metric) != window.metrics.end();
  });
}

void WindowEngine::feed(const Record& entry, std::vector<Record>& out) {
  if (is_tick(entry)) feed_tick(entry.time.us, out);
  else if (entry.kind == Kind::reading && entry.trust != TimeTrust::unsynced) feed_reading(entry, out);
}

void WindowEngine::feed_reading(const Record& reading, std::vector<Record>& out) {
  const auto number = number_of(reading.value);
  if (!number || reading.quality == Quality::bad) return;
  const std::string device = device_key(reading);
  const std::int64_t time = reading.time.us;
  for (std::uint32_t w = 0; w < windows_.size(); ++w) {
    const WindowConfig& window = windows_[w];
    if (!window.metrics.empty() && std::find(window.metrics.begin(), window.metrics.end(), reading.metric) == window.metrics.end()) continue;
    const std::int64_t size = to_us(window.size);
    const std::string id = key_of(w, device, reading.metric);
    auto found = key_ids_.find(id);
    if (found == key_ids_.end()) {
      if (keys_.size() >= window.keys_max) {
        ++refused_keys_;
        continue;
      }
      found = key_ids_.emplace(id, static_cast<std::uint32_t>(keys_.size())).first;
      keys_.push_back({w, device, reading.device, reading.metric, reading.unit, reading.tags, {}});
    }
    Key& key = keys_[found->second];
    // One device from the future must not close everybody's windows: such a time moves no watermark.
    const bool ahead = now_us_ != 0 && time > now_us_ + to_us(window.future_max);
    const auto watermark = watermarks_.try_emplace(device, ahead ? now_us_ : time).first;
    const std::int64_t start = floor_to(time, size);
    if (start + size + to_us(window.allowed_lateness) <= watermark->second && !key.panes.contains(start)) {
      ++too_late_;
      continue;
    }
    auto [at, fresh] = key.panes.try_emplace(start);
    Pane& pane = at->second;
    if (fresh) ++open_;
    if (pane.count == 0) {
      pane.min = pane.max = *number;
    } else {
      pane.min = std::min(pane.min, *number);
      pane.max = std::max(pane.max, *number);
    }
    ++pane.count;
    pane.sum += *number;
    if (pane.closed && !pane.revised) {
      pane.revised = true;
      ++open_;
    }
    if (!ahead) watermark->second = std::max(watermark->second, time);
    close_passed(key, watermark->second, out);
    forget_old(key, watermark->second);
  }
}

void WindowEngine::close_passed(Key& key, std::int64_t watermark, std::vector<Record>& out) {
  const std::int64_t size = to_us(windows_[key.window].size);
  for (auto& [start, pane] : key.panes) {
    if (start + size > watermark) break;
    if (!pane.closed) emit(key, start, pane, out);
  }
}

// What is forgotten is too late from then on: a window is never begun a second time.
void WindowEngine::forget_old(Key& key, std::int64_t watermark) {
  const WindowConfig& window = windows_[key.window];
  const std::int64_t keep = to_us(window.size) + to_us(window.allowed_lateness);
  std::erase_if(key.panes, [&](const auto& entry) { return entry.second.closed && !entry.second.revised && entry.first + keep <= watermark; });
}

void WindowEngine::feed_tick(std::int64_t now_us, std::vector<Record>& out) {
  now_us_ = std::max(now_us_, now_us);
  for (Key& key : keys_) {
    const WindowConfig& window = windows_[key.window];
    const std::int64_t size = to_us(window.size);
    std::int64_t& watermark = watermarks_[key.device_key];
    for (auto& [start, pane] : key.panes) {
      const bool idle = start + size + to_us(window.idle_close) <= now_us_;
      if (idle) watermark = std::max(watermark, start + size);
      if ((!pane.closed && idle) || pane.revised) emit(key, start, pane, out);
    }
    forget_old(key, watermark);
  }
}

void WindowEngine::emit(Key& key, std::int64_t start, Pane& pane, std::vector<Record>& out) {
  const WindowConfig& window = windows_[key.window];
  auto detail = std::make_shared<Detail>();
  detail->body = WindowDetail{window.name, start + to_us(window.size), pane.count, pane.sum / static_cast<double>(pane.count),
                              pane.min, pane.max, pane.revision++, ++ordinal_};
  Record record;
  record.kind = Kind::window;
  record.device = key.device;
  record.metric = key.metric;
  record.unit = key.unit;
  record.tags = key.tags;
  record.time = {start};
  record.detail = std::move(detail);
  out.push_back(std::move(record));
  pane.closed = true;
  pane.revised = false;
  --open_;
}

// Snapshot, version 1: now, ordinal, counters, watermarks, then keys with their panes. Varints and bytes, as in varint.h.
Bytes WindowEngine::snapshot() const {
  Bytes out;
  wire::Writer writer(out);
  const auto put_text = [&](std::string_view text) {
    writer.put_varint(text.size());
    writer.append(text.data(), text.size());
  };
  writer.put_varint(1);
  writer.put_varint(wire::zigzag(now_us_));
  writer.put_varint(ordinal_);
  writer.put_varint(too_late_);
  writer.put_varint(definitions_.size());
  for (const std::uint64_t d : definitions_) writer.put_fixed64(d);
  writer.put_varint(watermarks_.size());
  for (const auto& [device, time] : watermarks_) {
    put_text(device);
    writer.put_varint(wire::zigzag(time));
  }
  writer.put_varint(keys_.size());
  for (const Key& key : keys_) {
    writer.put_varint(key.window);
    for (const std::string* text : {&key.device, &key.metric, &key.unit}) put_text(*text);
    writer.put_varint(key.tags.size());
    for (const auto& [name, value] : key.tags) {
      put_text(name);
      put_text(value);
    }
    writer.put_varint(key.panes.size());
    for (const auto& [start, pane] : key.panes) {
      writer.put_varint(wire::zigzag(start));
      writer.put_varint(pane.count);
      for (const double v : {pane.sum, pane.min, pane.max}) writer.put_fixed64(std::bit_cast<std::uint64_t>(v));
      writer.put_varint(pane.revision);
      writer.put_varint((pane.closed ? 1 : 0) | (pane.revised ? 2 : 0));
    }
  }
  return out;
}

Status WindowEngine::restore(BytesView snapshot) {
  wire::Reader reader(snapshot);
  const auto get_text = [&] { return std::string(text_of(reader.get_bytes())); };
  if (reader.get_varint() != 1) return {Code::corrupt, "window snapshot of another version"};
  WindowEngine fresh(windows_);
  fresh.now_us_ = reader.get_sint();
  fresh.ordinal_ = reader.get_varint();
  fresh.too_late_ = reader.get_varint();
  std::vector<std::optional<std::uint32_t>> same;  // old window index -> today's, where the definition is the same
  const std::uint64_t definitions = reader.get_varint();
  for (std::uint64_t i = 0; i < definitions && reader.ok(); ++i) {
    const auto at = std::find(definitions_.begin(), definitions_.end(), reader.get_fixed64());
    same.push_back(at == definitions_.end() ? std::nullopt : std::optional(static_cast<std::uint32_t>(at - definitions_.begin())));
  }
  for (std::uint64_t n = reader.get_varint(); n > 0 && reader.ok(); --n) {
    std::string device = get_text();
    fresh.watermarks_[std::move(device)] = reader.get_sint();
  }
  for (std::uint64_t n = reader.get_varint(); n > 0 && reader.ok(); --n) {
    Key key;
    const std::uint64_t window = reader.get_varint();
    key.device = get_text();
    key.metric = get_text();
    key.unit = get_text();
    for (std::uint64_t tags = reader.get_varint(); tags > 0 && reader.ok(); --tags) {
      std::string name = get_text();
      key.tags.emplace_back(std::move(name), get_text());
    }
    for (std::uint64_t panes = reader.get_varint(); panes > 0 && reader.ok(); --panes) {
      const std::int64_t start = reader.get_sint();
      Pane pane;
      pane.count = reader.get_varint();
      for (double* v : {&pane.sum, &pane.min, &pane.max}) *v = std::bit_cast<double>(reader.get_fixed64());
      pane.revision = static_cast<std::uint32_t>(reader.get_varint());
      const std::uint64_t flags = reader.get_varint();
      pane.closed = flags & 1;
      pane.revised = flags & 2;
      key.panes[start] = pane;
    }
    if (window >= same.size() || !same[window]) continue;
    key.window = *same[window];
    Record named;
    named.device = key.device;
    named.tags = key.tags;
    for (const auto& [start, pane] : key.panes) fresh.open_ += (pane.closed ? 0 : 1) + (pane.revised ? 1 : 0);
    key.device_key = device_key(named);
    fresh.key_ids_[key_of(key.window, key.device_key, key.metric)] = static_cast<std::uint32_t>(fresh.keys_.size());
    fresh.keys_.push_back(std::move(key));
  }
  if (!reader.ok()) return {Code::corrupt, "window snapshot is damaged"};
  *this = std::move(fresh);
  return {};
}

}  // namespace millrace
