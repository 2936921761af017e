// What windows remember: devices with their watermarks, the series of each (a metric of a device), and of every series the
// open and lately closed windows, its "panes". Who may be remembered is bounded: names, windows' keys, panes of a key, and
// the bytes all that takes in a snapshot. Whoever finds no room is refused, for a reason that is counted.
//
// Decides nothing about time: that is the engine's. Everything here that has an order has it by numbers that are part of the
// state, so that an engine restored from a snapshot does the same in the same order.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/config.h"
#include "record/record.h"

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

struct WindowPane {
  std::int64_t start = 0;
  std::uint64_t count = 0;
  double sum = 0, min = 0, max = 0;
  std::uint32_t revision = 0;  // of the next emission
  bool closed = false, revised = false;
};

struct WindowDevice;
struct WindowSeries;

// One series in one window.
struct WindowKey {
  WindowSeries* series = nullptr;
  std::uint32_t window = 0;
  std::uint32_t open = 0;                // panes that were not emitted yet
  std::uint64_t number = 0;              // in order of first reading: emissions keep it
  std::int64_t floor = no_time;          // what starts before this was forgotten: it is never begun a second time
  std::int64_t oldest_open = 0;          // start; when `open` is not 0
  std::vector<WindowPane> panes;         // by start
  std::unique_ptr<WindowKey> next;       // of the same series, in a later window

  WindowPane* find(std::int64_t start);
};

struct WindowSeries {
  WindowDevice* device = nullptr;
  std::string_view identity;             // its place in the table
  std::string metric, unit;
  std::unique_ptr<WindowKey> keys;       // by window
};

struct WindowPage {
  std::uint32_t number = 0;
  std::vector<WindowDevice*> devices;
  std::size_t cost = 0;                  // of its devices, about what it takes
  std::uint32_t stored_chunks = 0;       // pieces it lies in
  bool changed = true;
};

struct WindowDevice {
  std::string_view identity;
  std::string name;
  Tags tags;
  std::uint64_t number = 0;              // in order of first reading
  std::vector<std::int64_t> watermarks;  // by window: newest event time taken
  std::int64_t heard = 0, wake = 0;      // when it last spoke, and when to look at it; in time that passed
  WindowPage* page = nullptr;
  std::uint32_t unsettled = 0;           // panes that are open or revised
  std::vector<WindowSeries*> series;
  struct Due {
    std::int64_t at;                     // end of the oldest open pane, and idle_close
    std::uint64_t number;
    WindowKey* key;
    bool operator<(const Due& other) const { return at != other.at ? at < other.at : number < other.number; }
  };
  std::set<Due> due;                     // keys with an open pane
};

class WindowState {
 public:
  struct Shape {                         // of a window, in microseconds
    std::int64_t size, idle_close;
    WindowLimits limits;
  };
  explicit WindowState(std::vector<Shape> shapes);
  WindowState(WindowState&&) = default;
  WindowState& operator=(WindowState&&) = default;

  WindowSeries* find(std::string_view identity);
  // The key of `reading` in `window`, begun when there is none. Null: refused, and why.
  WindowKey* begin_key(std::uint32_t window, std::string_view device_identity, std::string_view identity, const Record& reading,
                       std::int64_t passed, WindowRefusal& why);
  static WindowKey* key_of(WindowSeries& series, std::uint32_t window);

  // The pane of `key` that starts at `start`, begun when there is none. For want of room the oldest closed pane of the key is
  // given up before the new one is refused (null). Valid until the next change of the key.
  WindowPane* begin_pane(WindowKey& key, std::int64_t start, WindowRefusal& why);
  void close(WindowKey& key, WindowPane& pane);    // it is emitted: neither open nor revised any longer
  void revise(WindowKey& key, WindowPane& pane);   // it is to be emitted again
  // Drops closed panes from the front, as long as they start before `before`.
  void forget_panes(WindowKey& key, std::int64_t before);
  void forget_panes_from(WindowKey& key, std::int64_t from);
  // Revised panes, in the order of their keys; none after the call.
  std::vector<std::pair<WindowKey*, std::int64_t>> take_revised();

  // Devices by when they want to be looked at.
  void wake_at(WindowDevice& device, std::int64_t when);
  WindowDevice* first_to_wake() { return wakes_.empty() ? nullptr : wakes_.begin()->device; }
  std::vector<WindowDevice*> devices_in_order();
  void forget(WindowDevice& device);
  // More than three quarters of some bound are taken.
  bool crowded() const;

  std::uint64_t unsettled() const { return unsettled_; }
  std::size_t keys(std::uint32_t window) const { return keys_[window]; }
  std::size_t bytes(std::uint32_t window) const { return bytes_[window]; }
  std::uint64_t given_up() const { return given_up_; }

  static void changed(const WindowDevice& device) { device.page->changed = true; }

 private:
  friend class WindowPages;  // how it is stored
  struct Wake {
    std::int64_t at;
    std::uint64_t number;
    WindowDevice* device;
    bool operator<(const Wake& other) const { return at != other.at ? at < other.at : number < other.number; }
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  template <typename Value>
  using Table = std::unordered_map<std::string, Value, Hash, std::equal_to<>>;

  WindowDevice& device_of(std::string_view identity, const Record& reading, std::int64_t passed);
  void place_on_page(WindowDevice& device);
  WindowKey& add_key(WindowSeries& series, std::uint32_t window, std::uint64_t number);
  WindowSeries& add_series(WindowDevice& device, std::string_view identity, const std::string& metric, const std::string& unit);
  static std::size_t cost_of(const WindowSeries& series);
  std::size_t pane_cost(const WindowKey& key) const;
  void set_oldest_open(WindowKey& key, std::optional<std::int64_t> start);
  void restored(WindowKey& key);

  std::vector<Shape> shapes_;
  Table<WindowDevice> devices_;
  Table<WindowSeries> series_;
  std::set<Wake> wakes_;
  std::map<std::uint32_t, WindowPage> pages_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pages_gone_;  // number, and pieces it lies in
  std::vector<std::pair<WindowKey*, std::int64_t>> revised_;
  std::vector<std::size_t> keys_, bytes_;
  std::uint64_t next_device_ = 1, next_key_ = 1, unsettled_ = 0, given_up_ = 0;
  std::uint32_t next_page_ = 1;
};

// Device and tags of a record, and the metric behind them, each part behind its length; `identity` begins with the device's,
// which ends at the returned place. The buffer keeps its room.
std::size_t compose_identity(const Record& record, std::string& identity);

}  // namespace millrace
