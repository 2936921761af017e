// What windows remember: devices with their watermarks, the series of each (a metric of a device), and of
// every series the open and lately closed windows, its "panes". Who may be remembered is bounded: names,
// windows' keys, panes of a key, and the bytes all that takes in a snapshot. Whoever finds no room is
// refused, for a reason that is counted.
//
// Decides nothing about time: that is the engine's. Everything here that has an order has it by numbers that
// are part of the state, so that an engine restored from a snapshot does the same in the same order.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/windows.h"
#include "record/record.h"
#include "windows/aggregate.h"

namespace millrace {

constexpr std::int64_t no_time = std::numeric_limits<std::int64_t>::min();

enum class WindowRefusal : std::uint8_t { keys, bytes, panes, name };
constexpr std::size_t window_refusal_count = 4;
const char* window_refusal_name(WindowRefusal why);  // as a metric's label

struct WindowLimits {
  std::size_t keys_max = 0;   // series with state
  std::size_t bytes_max = 0;  // of their state
};
constexpr std::size_t window_identity_bytes_max = 4096;  // of device, tags, metric and unit together

// What a key takes of state_max, with two panes and without its names, and what each pane beyond takes.
struct WindowPrice {
  std::size_t key = 0, pane = 0;
};
WindowPrice window_price(const WindowAggregates& aggregates);
// The state_max by which everything still has room that has it in the window's own without its aggregates.
std::uint64_t window_state_needed(const WindowConfig& window);

struct WindowPane {
  std::int64_t start = 0;
  std::uint64_t count = 0;
  std::uint32_t revision = 0;                       // of the next emission
  std::uint32_t lacks : window_aggregates_max = 0;  // a bit for each aggregate that has not seen all readings
  std::uint32_t closed : 1 = false, revised : 1 = false;
};

// Panes by start, each with room for the states of its window's aggregates (`bytes` of them), which lie side
// by side elsewhere.
class WindowPanes {
 public:
  std::size_t size() const { return panes_.size(); }
  bool empty() const { return panes_.empty(); }
  WindowPane& operator[](std::size_t at) { return panes_[at]; }
  const WindowPane& operator[](std::size_t at) const { return panes_[at]; }
  auto begin() { return panes_.begin(); }
  auto end() { return panes_.end(); }
  auto begin() const { return panes_.begin(); }
  auto end() const { return panes_.end(); }
  const WindowPane& back() const { return panes_.back(); }

  WindowPane* find(std::int64_t start);
  // Where it stands now; its states are zeros.
  WindowPane& insert(WindowPane pane, std::size_t bytes);
  void erase(std::size_t from, std::size_t to);
  std::byte* states(const WindowPane& pane) { return states_.data() + place(pane); }
  const std::byte* states(const WindowPane& pane) const { return states_.data() + place(pane); }

 private:
  std::size_t place(const WindowPane& pane) const {
    return static_cast<std::size_t>(&pane - panes_.data()) * bytes_;
  }

  std::vector<WindowPane> panes_;
  std::vector<std::byte> states_;
  std::size_t bytes_ = 0;
};

// Who is due when: a heap whose items know their place in it. Equal times go by number.
template <typename Item>
class WindowAgenda {
 public:
  struct Entry {
    std::int64_t at;
    Item* item;
    bool operator<(const Entry& other) const {
      return at != other.at ? at < other.at : item->number < other.item->number;
    }
  };
  bool empty() const { return heap_.empty(); }
  const Entry& first() const { return heap_.front(); }
  void set(Item& item, std::int64_t at) {
    if (item.place == 0) {
      heap_.push_back({at, &item});
      item.place = static_cast<std::uint32_t>(heap_.size());
    }
    heap_[item.place - 1].at = at;
    settle(item.place - 1);
  }
  void remove(Item& item) {
    if (item.place == 0) return;
    const std::size_t hole = item.place - 1;
    item.place = 0;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (hole == heap_.size()) return;
    put(hole, last);
    settle(hole);
  }

 private:
  void put(std::size_t place, const Entry& entry) {
    heap_[place] = entry;
    entry.item->place = static_cast<std::uint32_t>(place + 1);
  }
  void settle(std::size_t place) {
    const Entry entry = heap_[place];
    for (; place > 0 && entry < heap_[(place - 1) / 2]; place = (place - 1) / 2)
      put(place, heap_[(place - 1) / 2]);
    for (std::size_t child; (child = 2 * place + 1) < heap_.size(); place = child) {
      if (child + 1 < heap_.size() && heap_[child + 1] < heap_[child]) ++child;
      if (!(heap_[child] < entry)) break;
      put(place, heap_[child]);
    }
    put(place, entry);
  }

  std::vector<Entry> heap_;
};

struct WindowDevice;
struct WindowSeries;

// One series in one window. There is one for each metric of each device: its bytes count.
struct WindowKey {
  WindowSeries* series = nullptr;
  std::uint16_t window = 0, open = 0;  // panes that were not emitted yet
  std::uint32_t place = 0;             // on its device's agenda, where it is with an open pane
  std::uint64_t number = 0;            // in order of first reading: emissions keep it
  std::int64_t floor = no_time;  // what starts before this was forgotten: it is never begun a second time
  std::int64_t oldest_open = 0;  // start; when `open` is not 0
  WindowPanes panes;
  std::unique_ptr<WindowKey> next;  // of the same series, in a later window

  WindowPane* find(std::int64_t start) { return panes.find(start); }
};

struct WindowSeries {
  WindowDevice* device = nullptr;
  std::unique_ptr<WindowKey> keys;  // by window
  std::string names;                // metric and unit, side by side
  std::uint16_t metric_size = 0;

  std::string_view metric() const { return std::string_view(names).substr(0, metric_size); }
  std::string_view unit() const { return std::string_view(names).substr(metric_size); }
};

struct WindowPage {
  std::uint32_t number = 0;
  std::uint32_t stored_chunks = 0;  // pieces it lies in
  std::vector<WindowDevice*> devices;
  std::size_t cost = 0;  // of its devices, about what it takes
  bool changed = true;
};

struct WindowDevice {
  const std::string* identity = nullptr;  // name and tags, compose_identity()
  std::uint64_t number = 0;               // in order of first reading
  std::int64_t heard = 0, wake = 0;       // when it last spoke, and when to look at it; in time that passed
  std::unique_ptr<std::int64_t[]> watermarks;  // by window: newest event time taken
  WindowPage* page = nullptr;
  std::uint32_t place = 0;      // on the agenda of devices
  std::uint32_t unsettled = 0;  // panes that are open or revised
  bool stamped = false;         // its watermarks come from stamps of ours
  bool again = false;           // its time was taken back: windows may come that were given already
  std::vector<std::unique_ptr<WindowSeries>> series;  // by metric
  WindowAgenda<WindowKey> due;                        // the end of a key's oldest open pane, and idle_close

  WindowSeries* find(std::string_view metric) const;
};

class WindowState {
 public:
  struct Shape {  // of a window, in microseconds
    std::int64_t size, idle_close;
    WindowLimits limits;
    WindowAggregates aggregates;
  };
  explicit WindowState(std::vector<Shape> shapes);
  WindowState(WindowState&&) = default;
  WindowState& operator=(WindowState&&) = default;

  WindowDevice* find(std::string_view identity);
  // The key of `reading` in `window`, begun when there is none. Null: refused, and why. `identity` is its
  // device's.
  WindowKey* begin_key(std::uint16_t window, std::string_view identity, const Record& reading,
                       std::int64_t passed, WindowRefusal& why);
  static WindowKey* key_of(const WindowSeries& series, std::uint16_t window);

  // The pane of `key` that starts at `start`, begun when there is none. For want of room the oldest closed
  // pane of the key is given up before the new one is refused (null). Valid until the next change of the key.
  WindowPane* begin_pane(WindowKey& key, std::int64_t start, WindowRefusal& why);
  void close(WindowKey& key, WindowPane& pane);   // it is emitted: neither open nor revised any longer
  void revise(WindowKey& key, WindowPane& pane);  // it is to be emitted again
  // Drops closed panes from the front, as long as they start before `before`.
  void forget_panes(WindowKey& key, std::int64_t before);
  void forget_panes_from(WindowKey& key, std::int64_t from);
  // Revised panes, in the order of their keys; none after the call.
  std::vector<std::pair<WindowKey*, std::int64_t>> take_revised();

  // Devices by when they want to be looked at.
  void wake_at(WindowDevice& device, std::int64_t when);
  WindowDevice* first_to_wake() { return wakes_.empty() ? nullptr : wakes_.first().item; }
  std::vector<WindowDevice*> devices_in_order();
  void forget(WindowDevice& device);
  // More than three quarters of some bound are taken.
  bool crowded() const;

  std::uint64_t unsettled() const { return unsettled_; }
  std::size_t keys(std::size_t window) const { return keys_[window]; }
  std::size_t bytes(std::size_t window) const { return bytes_[window]; }
  std::uint64_t given_up() const { return given_up_; }

  static void changed(const WindowDevice& device) { device.page->changed = true; }

 private:
  friend class WindowPages;  // how it is stored
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  WindowDevice& device_of(std::string_view identity, std::int64_t passed);
  void place_on_page(WindowDevice& device);
  WindowSeries& add_series(WindowDevice& device, std::string_view metric, std::string_view unit);
  WindowKey& add_key(WindowSeries& series, std::uint16_t window, std::uint64_t number);
  WindowPrice price(std::size_t window) const { return window_price(shapes_[window].aggregates); }
  std::size_t cost_of(std::size_t window, const WindowSeries& series) const;
  std::size_t pane_cost(const WindowKey& key) const;
  void set_oldest_open(WindowKey& key, std::optional<std::int64_t> start);

  std::vector<Shape> shapes_;
  std::unordered_map<std::string, WindowDevice, Hash, std::equal_to<>> devices_;
  WindowAgenda<WindowDevice> wakes_;
  std::map<std::uint32_t, WindowPage> pages_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pages_gone_;  // number, and pieces it lies in
  std::vector<std::pair<WindowKey*, std::int64_t>> revised_;
  std::vector<std::size_t> keys_, bytes_;
  std::uint64_t next_device_ = 1, next_key_ = 1, unsettled_ = 0, given_up_ = 0;
  std::uint32_t next_page_ = 1;
};

// Device and tags of a record, each part behind its length. The buffer keeps its room.
void compose_identity(const Record& record, std::string& identity);
void split_identity(std::string_view identity, std::string& device, Tags& tags);

}  // namespace millrace
