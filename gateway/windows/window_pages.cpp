#include "windows/window_pages.h"

#include <algorithm>
#include <cstdio>

#include "base/composite_key.h"
#include "base/text.h"
#include "record/varint.h"

namespace millrace {
namespace {

// 1 was one blob, restore_blob(). 2 has no list of aggregates: every window has the summary, and nothing
// else. It is written still where that is so, so that a version before finds its windows, too.
constexpr std::uint64_t layout = 3, layout_of_summaries = 2;
// what is more is damage
constexpr std::uint64_t aggregates_stored_max = 1000, aggregate_bytes_max = 1 << 16;

std::uint64_t definition_of(const WindowConfig& window) {
  std::string all = composite_key(window.name, text(window.size.count()));
  for (const std::string& metric : window.metrics) add_key_part(all, metric);
  return digest64(bytes_of(all));
}

std::uint64_t definition_in_blob(const WindowConfig& window) {
  std::string all = text(window.name, "/", window.size.count());
  for (const std::string& metric : window.metrics) all += "/" + metric;
  return digest64(bytes_of(all));
}

void put_text(wire::Writer& writer, std::string_view text) {
  writer.put_varint(text.size());
  writer.append(text.data(), text.size());
}

std::string get_text(wire::Reader& reader) { return std::string(text_of(reader.get_bytes())); }

// no_time is 0, so that zigzag needs no eleventh byte for it.
void put_time(wire::Writer& writer, std::int64_t time) {
  writer.put_varint(time == no_time ? 0 : wire::zigzag(time) + 1);
}
std::int64_t get_time(wire::Reader& reader) {
  const std::uint64_t stored = reader.get_varint();
  return stored == 0 ? no_time : wire::unzigzag(stored - 1);
}

}  // namespace

// A page lies in pieces of 8 KiB: windows/00000001, windows/00000001.1 and so on.
std::string WindowPages::piece_name(std::uint32_t page, std::uint32_t chunk) {
  char name[32];
  if (chunk == 0) std::snprintf(name, sizeof name, "windows/%08x", page);
  else std::snprintf(name, sizeof name, "windows/%08x.%x", page, chunk);
  return name;
}

// ---- panes

// Of a window in the head: how many aggregates its panes have, and of each name and bytes.
void WindowPages::name_aggregates(const WindowAggregates& aggregates, wire::Writer& writer) {
  writer.put_varint(aggregates.items().size());
  for (const WindowAggregates::Item& item : aggregates.items()) {
    put_text(writer, item.kind->name);
    writer.put_varint(item.kind->saved_bytes);
  }
}

void WindowPages::find_aggregates(const WindowAggregates* today, wire::Reader& reader, Stored& window) {
  const std::uint64_t count = reader.get_varint();
  if (count > aggregates_stored_max) return reader.fail();
  for (std::uint64_t n = 0; n < count && reader.ok(); ++n) {
    const std::string name = get_text(reader);
    Stored::Aggregate& stored = window.aggregates.emplace_back();
    stored.bytes = reader.get_varint();
    if (stored.bytes > aggregate_bytes_max) return reader.fail();
    for (std::size_t i = 0; today && i < today->items().size(); ++i) {
      const AggregateKind& kind = *today->items()[i].kind;
      if (kind.name == name && kind.saved_bytes == stored.bytes) stored.item = i;
    }
  }
}

bool WindowPages::same_aggregates(const WindowAggregates& today, const Stored& window) {
  bool same = today.items().size() == window.aggregates.size();
  for (std::size_t i = 0; i < window.aggregates.size() && same; ++i) same = window.aggregates[i].item == i;
  return same;
}

// As panes were before windows could be asked for more.
void WindowPages::only_the_summary(const WindowAggregates* today, Stored& window) {
  Bytes bytes;
  wire::Writer writer(bytes);
  writer.put_varint(1);
  put_text(writer, summary_name);
  writer.put_varint(summary_saved_bytes);
  wire::Reader reader(bytes);
  find_aggregates(today, reader, window);
}

// A pane: start, count, the states of its aggregates (as many bytes as the head says; of the summary sum,
// min, max), revision, and bits: closed, revised, then one for each aggregate that does not know all its
// readings.
void WindowPages::put_pane(const WindowAggregates& aggregates, const WindowPanes& panes,
                           const WindowPane& pane, std::int64_t before, wire::Writer& writer) {
  writer.put_varint(wire::zigzag(pane.start - before));
  writer.put_varint(pane.count);
  for (const WindowAggregates::Item& item : aggregates.items())
    item.kind->save(panes.states(pane) + item.at, writer);
  writer.put_varint(pane.revision);
  writer.put_varint((pane.closed ? 1u : 0u) | (pane.revised ? 2u : 0u) | std::uint64_t{pane.lacks} << 2);
}

// Its start. An aggregate that was not asked for when the pane began gives nothing of it. `today`: null of a
// window that is no longer there, whose pane goes.
std::int64_t WindowPages::get_pane(const WindowAggregates* today, const Stored& window, std::int64_t before,
                                   wire::Reader& reader, WindowPanes& panes) {
  WindowPane pane;
  pane.start = static_cast<std::int64_t>(static_cast<std::uint64_t>(before) +
                                         static_cast<std::uint64_t>(reader.get_sint()));
  pane.count = reader.get_varint();
  std::vector<std::byte> states(today ? today->bytes() : 0);
  if (today) today->begin(states.data());
  for (const Stored::Aggregate& stored : window.aggregates) {
    wire::Reader state(reader.get_bytes(stored.bytes));
    if (stored.item)
      today->items()[*stored.item].kind->load(states.data() + today->items()[*stored.item].at, state);
  }
  pane.revision = static_cast<std::uint32_t>(reader.get_varint());
  const std::uint64_t flags = reader.get_varint();
  pane.closed = flags & 1;
  pane.revised = flags >> 1 & 1;
  if (!today || !reader.ok()) return pane.start;
  std::uint32_t knows = 0;
  for (std::size_t i = 0; i < window.aggregates.size(); ++i) {
    const bool all = i >= 62 || (flags >> (2 + i) & 1) == 0;
    if (window.aggregates[i].item && all) knows |= 1u << *window.aggregates[i].item;
  }
  pane.lacks = ~knows & ((1u << today->items().size()) - 1) & ((1u << window_aggregates_max) - 1);
  const WindowPane& put = panes.insert(pane, today->bytes());
  std::copy(states.begin(), states.end(), panes.states(put));
  return pane.start;
}

// ---- writing

// The head: layout, clock (known, said, passed, which), ordinal, the next numbers of devices, keys and pages,
// panes given up; windows: definition (8 bytes), too late, future, refused, since layout 3 their aggregates;
// pages: number, pieces; and, in later versions, the last leap of the clock, from when to when windows may be
// given again, with which revision, the highest given. Varints; then the digest of all that.
Bytes WindowPages::encode_head(const WindowEngine& engine) {
  Bytes out;
  wire::Writer writer(out);
  const WindowState& state = engine.state_;
  const bool summaries = std::all_of(engine.windows_.begin(), engine.windows_.end(),
                                     [](const auto& window) { return window.aggregates.only_summary(); });
  writer.put_varint(summaries ? layout_of_summaries : layout);
  for (const std::int64_t time : {engine.now_us_, engine.said_us_, engine.passed_us_})
    writer.put_varint(wire::zigzag(time));
  for (const std::uint64_t n :
       {static_cast<std::uint64_t>(engine.clock_), engine.ordinal_, state.next_device_, state.next_key_,
        std::uint64_t{state.next_page_}, state.given_up_, std::uint64_t{engine.windows_.size()}}) {
    writer.put_varint(n);
  }
  for (std::size_t w = 0; w < engine.windows_.size(); ++w) {
    writer.put_fixed64(definition_of(engine.windows_[w].config));
    writer.put_varint(engine.stats_[w].too_late);
    writer.put_varint(engine.stats_[w].future);
    for (const std::uint64_t n : engine.stats_[w].refused) writer.put_varint(n);
    if (!summaries) name_aggregates(engine.windows_[w].aggregates, writer);
  }
  writer.put_varint(state.pages_.size());
  for (const auto& [number, page] : state.pages_) {
    writer.put_varint(number);
    writer.put_varint(page.stored_chunks);
  }
  for (const std::int64_t time :
       {engine.leap_from_, engine.leap_to_, engine.again_from_, engine.again_until_, engine.again_now_})
    put_time(writer, time);
  writer.put_varint(engine.again_revision_);
  writer.put_varint(engine.highest_revision_);
  writer.put_fixed64(digest64(out));
  return out;
}

// A page: devices: identity, number, heard, wake, watermarks (one for each window), series: metric, unit,
// keys: window, number, floor, panes, each behind the one before; and, in later versions, of each device: 1
// when its times are ours + 2 when windows may be given again. Varints and texts behind their length; then
// the digest of all that.
Bytes WindowPages::encode_page(const WindowEngine& engine, const WindowPage& page) {
  Bytes out;
  wire::Writer writer(out);
  writer.put_varint(page.devices.size());
  for (const WindowDevice* device : page.devices) {
    put_text(writer, *device->identity);
    writer.put_varint(device->number);
    writer.put_varint(wire::zigzag(device->heard));
    writer.put_varint(wire::zigzag(device->wake));
    for (std::size_t w = 0; w < engine.windows_.size(); ++w) put_time(writer, device->watermarks[w]);
    writer.put_varint(device->series.size());
    for (const auto& series : device->series) {
      put_text(writer, series->metric());
      put_text(writer, series->unit());
      std::size_t keys = 0;
      for (const WindowKey* key = series->keys.get(); key; key = key->next.get()) ++keys;
      writer.put_varint(keys);
      for (const WindowKey* key = series->keys.get(); key; key = key->next.get()) {
        writer.put_varint(key->window);
        writer.put_varint(key->number);
        put_time(writer, key->floor);
        writer.put_varint(key->panes.size());
        std::int64_t before = 0;
        for (const WindowPane& pane : key->panes) {
          put_pane(engine.windows_[key->window].aggregates, key->panes, pane, before, writer);
          before = pane.start;
        }
      }
    }
  }
  for (const WindowDevice* device : page.devices)
    writer.put_varint((device->stamped ? 1 : 0) | (device->again ? 2 : 0));
  writer.put_fixed64(digest64(out));
  return out;
}

std::vector<WindowPages::Piece> WindowPages::take_changes(WindowEngine& engine) {
  std::vector<Piece> pieces;
  WindowState& state = engine.state_;
  for (const auto& [number, chunks] : std::exchange(state.pages_gone_, {})) {
    for (std::uint32_t c = 0; c < chunks; ++c) pieces.push_back({piece_name(number, c), {}});
  }
  for (auto& [number, page] : state.pages_) {
    if (!std::exchange(page.changed, false)) continue;
    const Bytes bytes = encode_page(engine, page);
    std::uint32_t chunks = 0;
    for (std::size_t from = 0; from < bytes.size(); from += piece_bytes_max) {
      const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(from);
      const auto end =
          bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), from + piece_bytes_max));
      pieces.push_back({piece_name(number, chunks++), Bytes(begin, end)});
    }
    for (std::uint32_t c = chunks; c < page.stored_chunks; ++c) pieces.push_back({piece_name(number, c), {}});
    page.stored_chunks = chunks;
  }
  pieces.push_back({std::string(prefix) + "head", encode_head(engine)});
  return pieces;
}

std::size_t WindowPages::changed_bytes(const WindowEngine& engine) {
  std::size_t bytes = 0;
  for (const auto& [number, page] : engine.state_.pages_) bytes += page.changed ? page.cost : 0;
  return bytes;
}

void WindowPages::all_changed(WindowEngine& engine) {
  for (auto& [number, page] : engine.state_.pages_) page.changed = true;
}

std::set<std::string> WindowPages::names(const WindowEngine& engine) {
  std::set<std::string> names{std::string(prefix) + "head"};
  for (const auto& [number, page] : engine.state_.pages_) {
    for (std::uint32_t c = 0; c < page.stored_chunks; ++c) names.insert(piece_name(number, c));
  }
  return names;
}

// ---- reading

// The windows that a head names, and what each has counted.
WindowPages::StoredWindows WindowPages::restore_windows(WindowEngine& engine, std::uint64_t version,
                                                        wire::Reader& reader) {
  StoredWindows windows;
  for (std::uint64_t n = reader.get_varint(); n > 0 && reader.ok(); --n) {
    const std::uint64_t definition = reader.get_fixed64();
    WindowEngine::Stats stats;
    stats.too_late = reader.get_varint();
    stats.future = reader.get_varint();
    for (std::uint64_t& refused : stats.refused) refused = reader.get_varint();
    Stored& window = windows.emplace_back();
    for (std::uint16_t w = 0; w < engine.windows_.size(); ++w) {
      if (definition_of(engine.windows_[w].config) != definition) continue;
      window.today = w;
      engine.stats_[w] = stats;
    }
    const WindowAggregates* today = window.today ? &engine.windows_[*window.today].aggregates : nullptr;
    if (version == layout) find_aggregates(today, reader, window);
    else only_the_summary(today, window);
  }
  return windows;
}

WindowPages::Found WindowPages::restore(
    WindowEngine& engine, const std::function<std::optional<Bytes>(const std::string& name)>& read) {
  Found found;
  const auto head = read(std::string(prefix) + "head");
  if (!head || head->size() < 8) return found;
  const BytesView body(head->data(), head->size() - 8);
  if (wire::Reader(BytesView(*head).subspan(body.size())).get_fixed64() != digest64(body)) return found;
  wire::Reader reader(body);
  const std::uint64_t version = reader.get_varint();
  if (version != layout && version != layout_of_summaries) return found;
  found.head = true;
  WindowState& state = engine.state_;
  for (std::int64_t* time : {&engine.now_us_, &engine.said_us_, &engine.passed_us_})
    *time = reader.get_sint();
  engine.clock_ = static_cast<WindowEngine::Clock>(std::min<std::uint64_t>(reader.get_varint(), 2));
  engine.ordinal_ = reader.get_varint();
  state.next_device_ = reader.get_varint();
  state.next_key_ = reader.get_varint();
  state.next_page_ = static_cast<std::uint32_t>(reader.get_varint());
  state.given_up_ = reader.get_varint();
  const StoredWindows windows = restore_windows(engine, version, reader);
  bool same = windows.size() == engine.windows_.size();
  for (std::uint32_t w = 0; w < windows.size() && same; ++w)
    same = windows[w].today == w && same_aggregates(engine.windows_[w].aggregates, windows[w]);
  for (std::uint64_t n = reader.get_varint(); n > 0 && reader.ok(); --n) {
    const auto number = static_cast<std::uint32_t>(reader.get_varint());
    const auto chunks = static_cast<std::uint32_t>(reader.get_varint());
    Bytes bytes;
    bool whole = true;
    for (std::uint32_t c = 0; c < chunks && whole; ++c) {
      const auto piece = read(piece_name(number, c));
      whole = piece.has_value();
      if (piece) bytes.insert(bytes.end(), piece->begin(), piece->end());
    }
    WindowPage& page = state.pages_[number];
    page.number = number;
    page.stored_chunks = chunks;
    page.changed = !same;
    const std::size_t dropped_before = found.keys_dropped;
    if (!whole || !decode_page(engine, page, bytes, windows, found.keys_dropped)) ++found.pages_lost;
    if (found.keys_dropped > dropped_before) page.changed = true;
    if (page.devices.empty()) {
      state.pages_gone_.emplace_back(number, chunks);
      state.pages_.erase(number);
    }
  }
  if (reader.at_end()) return found;
  for (std::int64_t* time :
       {&engine.leap_from_, &engine.leap_to_, &engine.again_from_, &engine.again_until_, &engine.again_now_})
    *time = get_time(reader);
  engine.again_revision_ = static_cast<std::uint32_t>(reader.get_varint());
  engine.highest_revision_ = static_cast<std::uint32_t>(reader.get_varint());
  return found;
}

// A series of `device` whose windows are none of today's leaves nothing.
void WindowPages::decode_series(WindowEngine& engine, WindowDevice& device, const StoredWindows& stored,
                                wire::Reader& reader, std::size_t& dropped) {
  WindowState& state = engine.state_;
  const std::string metric = get_text(reader), unit = get_text(reader);
  WindowSeries* series = nullptr;
  for (std::uint64_t keys = reader.get_varint(); keys > 0 && reader.ok(); --keys) {
    const std::uint64_t window = reader.get_varint(), number = reader.get_varint();
    const std::int64_t floor = get_time(reader);
    if (window >= stored.size()) {  // of how many bytes its panes are nobody knows
      reader.fail();
      break;
    }
    const auto today = stored[window].today;
    WindowPanes panes;
    std::int64_t before = 0;
    for (std::uint64_t n = reader.get_varint(); n > 0 && reader.ok(); --n) {
      before = get_pane(today ? &engine.windows_[*today].aggregates : nullptr, stored[window], before, reader,
                        panes);
    }
    if (!today) continue;
    if (!series) series = &state.add_series(device, metric, unit);
    WindowKey* key = restore_key(state, *series, *today, number);
    if (!key) {
      ++dropped;
      continue;
    }
    key->floor = floor;
    restore_panes(state, *key, std::move(panes));
  }
  if (series && !series->keys) std::erase_if(device.series, [&](const auto& s) { return s.get() == series; });
}

// False: damaged. Of one whose digest is wrong nothing is taken; of one whose digest is right and whose bytes
// are not, what could be read of it.
bool WindowPages::decode_page(WindowEngine& engine, WindowPage& page, BytesView bytes,
                              const StoredWindows& stored, std::size_t& dropped) {
  if (bytes.size() < 8) return false;
  const BytesView body = bytes.first(bytes.size() - 8);
  if (wire::Reader(bytes.subspan(body.size())).get_fixed64() != digest64(body)) return false;
  WindowState& state = engine.state_;
  wire::Reader reader(body);
  std::vector<WindowDevice*> read;  // null: none of its windows is configured any longer
  for (std::uint64_t devices = reader.get_varint(); devices > 0 && reader.ok(); --devices) {
    const auto at = state.devices_.try_emplace(get_text(reader)).first;
    WindowDevice& device = at->second;
    device.identity = &at->first;
    device.number = reader.get_varint();
    device.heard = reader.get_sint();
    device.wake = reader.get_sint();
    device.watermarks = std::make_unique<std::int64_t[]>(state.shapes_.size());
    std::fill_n(device.watermarks.get(), state.shapes_.size(), no_time);
    for (const Stored& window : stored) {
      const std::int64_t time = get_time(reader);
      if (window.today) device.watermarks[*window.today] = time;
    }
    device.page = &page;
    page.devices.push_back(&device);
    page.cost += device.identity->size();
    state.wakes_.set(device, device.wake);
    for (std::uint64_t series_left = reader.get_varint(); series_left > 0 && reader.ok(); --series_left)
      decode_series(engine, device, stored, reader, dropped);
    read.push_back(device.series.empty() ? nullptr : &device);
    if (read.back()) continue;
    state.wakes_.remove(device);
    page.devices.pop_back();
    page.cost -= device.identity->size();
    state.devices_.erase(at);
  }
  for (std::size_t d = 0; d < read.size() && !reader.at_end(); ++d) {
    const std::uint64_t flags = reader.get_varint();
    if (!read[d]) continue;
    read[d]->stamped = flags & 1;
    read[d]->again = flags & 2;
  }
  return reader.ok();
}

// At today's price: what state_max allows is what the log has room for.
WindowKey* WindowPages::restore_key(WindowState& state, WindowSeries& series, std::uint16_t window,
                                    std::uint64_t number) {
  const WindowLimits& limits = state.shapes_[window].limits;
  if (state.keys_[window] >= limits.keys_max ||
      state.bytes_[window] + state.cost_of(window, series) > limits.bytes_max)
    return nullptr;
  return &state.add_key(series, window, number);
}

// Counts what is open into all the books: of a key that had room all its panes, however many.
void WindowPages::restore_panes(WindowState& state, WindowKey& key, WindowPanes panes) {
  WindowDevice& device = *key.series->device;
  key.panes = std::move(panes);
  state.bytes_[key.window] += state.pane_cost(key);
  for (WindowPane& pane : key.panes) {
    if (pane.closed) continue;
    ++key.open;
    ++device.unsettled;
    ++state.unsettled_;
    if (key.open == 1) state.set_oldest_open(key, pane.start);
  }
  for (WindowPane& pane : key.panes) {
    if (pane.closed && pane.revised) state.revise(key, pane);
  }
  std::int64_t& watermark = device.watermarks[key.window];
  if (!key.panes.empty() && watermark == no_time) watermark = key.panes.back().start;
}

// ---- the one blob of earlier versions

// Version 1: now, ordinal, too late, definitions; watermarks: device (name and tags, joined by NUL), time;
// keys: window, device, metric, unit, tags, panes, each with its whole start.
Status WindowPages::restore_blob(WindowEngine& engine, BytesView blob) {
  wire::Reader reader(blob);
  if (reader.get_varint() != 1) return {Code::corrupt, "window snapshot of another version"};
  std::vector<WindowConfig> configs;
  for (const WindowEngine::Window& window : engine.windows_) configs.push_back(window.config);
  WindowEngine fresh(configs);
  WindowState& state = fresh.state_;
  fresh.now_us_ = reader.get_sint();
  fresh.ordinal_ = reader.get_varint();
  const std::uint64_t too_late = reader.get_varint();
  if (!fresh.stats_.empty()) fresh.stats_.front().too_late = too_late;
  StoredWindows windows;
  for (std::uint64_t n = reader.get_varint(); n > 0 && reader.ok(); --n) {
    const std::uint64_t definition = reader.get_fixed64();
    Stored& stored = windows.emplace_back();
    for (std::uint16_t w = 0; w < configs.size(); ++w) {
      if (definition_in_blob(configs[w]) == definition) stored.today = w;
    }
    only_the_summary(stored.today ? &fresh.windows_[*stored.today].aggregates : nullptr, stored);
  }
  std::unordered_map<std::string, std::int64_t> watermarks;
  for (std::uint64_t n = reader.get_varint(); n > 0 && reader.ok(); --n) {
    std::string device = get_text(reader);
    watermarks[std::move(device)] = reader.get_sint();
  }
  std::string identity;
  for (std::uint64_t n = reader.get_varint(); n > 0 && reader.ok(); --n) {
    const std::uint64_t window = reader.get_varint();
    Record named;
    named.device = get_text(reader);
    named.metric = get_text(reader);
    named.unit = get_text(reader);
    std::string joined = named.device;
    for (std::uint64_t tags = reader.get_varint(); tags > 0 && reader.ok(); --tags) {
      std::string name = get_text(reader);
      const auto& [tag, value] = named.tags.emplace_back(name, get_text(reader));
      for (const std::string* part : {&tag, &value}) joined.append(1, '\0').append(*part);
    }
    if (window >= windows.size()) return {Code::corrupt, "window snapshot is damaged"};
    const auto today = windows[window].today;
    WindowPanes panes;
    for (std::uint64_t count = reader.get_varint(); count > 0 && reader.ok(); --count) {
      get_pane(today ? &fresh.windows_[*today].aggregates : nullptr, windows[window], 0, reader, panes);
    }
    if (!reader.ok() || !today) continue;
    compose_identity(named, identity);
    WindowRefusal why{};
    WindowKey* key = state.begin_key(*today, identity, named, 0, why);
    if (!key || !key->panes.empty()) continue;
    if (const auto at = watermarks.find(joined); at != watermarks.end())
      key->series->device->watermarks[*today] = at->second;
    const std::size_t room =
        std::min(window_panes_max, 2 + (state.shapes_[*today].limits.bytes_max - state.bytes_[*today]) / 64);
    if (panes.size() > room) panes.erase(room, panes.size());  // the furthest ahead
    restore_panes(state, *key, std::move(panes));
  }
  if (!reader.ok()) return {Code::corrupt, "window snapshot is damaged"};
  engine = std::move(fresh);
  return {};
}

}  // namespace millrace
