// Event-time tumbling windows per device and metric: count, mean, min, max. A pure function of the entries fed, in number
// order: readings, and ticks (the gateway's time as a logged entry), so that a replay after a crash gives the same windows,
// bit for bit, with the same ordinals.
//
// A window closes when its device's watermark (the newest event time seen, unless that lies too far in the future) passes
// its end, or when a tick finds the device idle. A late reading within `allowed_lateness` gives the window again with
// revision + 1 at the next tick; a later one is counted as too late.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "config/config.h"
#include "record/record.h"

namespace millrace {

class WindowEngine {
 public:
  explicit WindowEngine(std::vector<WindowConfig> windows);

  // Appends the windows that closed to `out`, oldest first, with dense ordinals.
  void feed(const Record& entry, std::vector<Record>& out);
  // Whether any window wants readings of this metric.
  bool wants(std::string_view metric) const;
  // Whether a tick would have something to close.
  bool has_open() const { return open_ > 0; }
  std::uint64_t ordinal() const { return ordinal_; }
  std::uint64_t too_late() const { return too_late_; }
  std::uint64_t keys() const { return keys_.size(); }
  std::uint64_t refused_keys() const { return refused_keys_; }

  // State up to the last entry fed. Windows whose definition changed start anew when it is restored.
  Bytes snapshot() const;
  Status restore(BytesView snapshot);

  static Record tick(WallTime now);
  static bool is_tick(const Record& record);

 private:
  struct Pane {
    std::uint64_t count = 0;
    double sum = 0, min = 0, max = 0;
    std::uint32_t revision = 0;  // of the next emission
    bool closed = false, revised = false;
  };
  struct Key {
    std::uint32_t window;
    std::string device_key;  // device and tags, as in watermarks_
    std::string device, metric, unit;
    Tags tags;
    std::map<std::int64_t, Pane> panes;  // by start
  };

  void feed_reading(const Record& reading, std::vector<Record>& out);
  void feed_tick(std::int64_t now_us, std::vector<Record>& out);
  void emit(Key& key, std::int64_t start, Pane& pane, std::vector<Record>& out);
  void close_passed(Key& key, std::int64_t watermark, std::vector<Record>& out);
  void forget_old(Key& key, std::int64_t watermark);

  std::vector<WindowConfig> windows_;
  std::vector<std::uint64_t> definitions_;
  std::unordered_map<std::string, std::uint32_t> key_ids_;
  std::vector<Key> keys_;                                  // in order of first reading: emissions keep it
  std::unordered_map<std::string, std::int64_t> watermarks_;  // by device
  std::int64_t now_us_ = 0;
  std::uint64_t ordinal_ = 0, too_late_ = 0, refused_keys_ = 0, open_ = 0;
};

}  // namespace millrace
