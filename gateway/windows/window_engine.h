// Event-time tumbling windows per device and metric: count, mean, min, max, and what a window asks for
// besides (aggregate.h). A pure function of the entries fed, in number order: readings, and what the
// gateway's clock said (ticks and notes, logged entries too), so that a replay after a crash gives the same
// windows, bit for bit, with the same ordinals.
//
// A window closes when its device's watermark (the newest event time seen) passes its end, or when a tick
// finds the device silent for long enough. A late reading within `allowed_lateness` gives the window again
// with revision + 1 at the next tick; a later one is counted as too late. A reading further ahead of the
// gateway's clock than `future_max` is not aggregated.
//
// **Clock.** What the wall clock says is known, or it is not (a box that woke in 1970). While it is not, no
// reading is ahead of it, and what a device did to its own watermark meanwhile is mended once the clock is
// known. Silence is measured in time that passed between ticks, not by the wall: a clock that jumps makes
// nobody silent. Devices that send their own times are judged by these: the gateway's clock closes nothing of
// theirs, and who goes on steadily is not from the future because that clock was set back. Stamps of arrival
// go where the clock goes: when it is set back, so are the watermarks they made, and a stretch of time that
// is lived twice gives its windows twice, the second time with a higher revision. Readings that were stamped
// while nobody vouched for the clock wait until a note says what time it was, and are fed then.
//
// **Bounds.** Keys, panes of a key, names, and the bytes of a window's state are bounded (window_state.h).
// What finds no room is refused and counted; the others go on. A device that is silent for a day, or for an
// hour when it is crowded, is forgotten. Feeding costs by what a reading closes, a tick by who fell silent:
// never by what is open.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "config/windows.h"
#include "record/record.h"
#include "windows/undated_readings.h"
#include "windows/window_state.h"

namespace millrace {

class WindowEngine {
 public:
  // An entry may be judged by a clock this old: whoever feeds sees to it that none is older (needs_note).
  static constexpr std::int64_t clock_grain_us = 10'000'000;
  enum class Clock : std::uint8_t {
    unknown,    // no reason to believe it
    plausible,  // nobody vouches for it, and nothing speaks against it
    trusted,
  };
  struct Stats {  // of one window
    std::uint64_t too_late = 0, future = 0;
    std::array<std::uint64_t, window_refusal_count> refused{};  // readings
  };

  struct Named {  // a reading that was not aggregated
    std::string device, metric;
  };

  explicit WindowEngine(const std::vector<WindowConfig>& windows);

  // Readings stamped after this, by the monotonic clock, are not kept until the clock is known
  // (undated_readings.h). Before anything is fed.
  void keep_undated_until(Instant until) { undated_.keep_until(until); }
  const UndatedReadings& undated() const { return undated_; }

  // Appends the windows that closed to `out`, with dense ordinals.
  void feed(const Record& entry, std::vector<Record>& out);
  // Whether any window wants readings of this metric.
  bool wants(std::string_view metric) const;
  // Whether a tick would have something to close.
  bool has_open() const { return state_.unsettled() > 0; }
  std::uint64_t ordinal() const { return ordinal_; }
  // Ordinals that were given are not given again, whatever became of the state that knew of them.
  void number_behind(std::uint64_t ordinal) { ordinal_ = std::max(ordinal_, ordinal); }

  std::size_t window_count() const { return windows_.size(); }
  const WindowConfig& window(std::size_t w) const { return windows_[w].config; }
  const Stats& stats(std::size_t w) const { return stats_[w]; }
  std::size_t keys(std::size_t w) const { return state_.keys(w); }
  std::size_t bytes(std::size_t w) const { return state_.bytes(w); }
  const Named& last_refused(std::size_t w) const { return last_refused_[w]; }
  std::uint64_t given_up() const { return state_.given_up(); }

  // What the gateway's clock says. A tick comes behind the readings before it and closes what is due; a note
  // leads the readings behind it, and is what a clock that was set back is believed by.
  static Record tick(WallTime now, Clock clock = Clock::trusted);
  // `step_us`: by how much it was set since the last note, where it was.
  static Record note(WallTime now, Clock clock, std::int64_t step_us = 0);
  // A note that also tells what time it was in this boot, and a tick behind which nobody waits for that.
  static Record dating_note(WallTime now, Instant monotonic, std::uint64_t boot_id, std::int64_t step_us);
  static Record last_tick(WallTime now, Clock clock);
  static bool is_tick(const Record& record);
  static bool is_note(const Record& record);
  // Whether readings that arrive now must be led by a note.
  bool needs_note(WallTime now, Clock clock) const;
  // What can be said of `now`, where `vouched` says whether somebody does.
  Clock judge(WallTime now, bool vouched) const;

 private:
  friend class WindowPages;
  struct Window {
    WindowConfig config;
    std::int64_t size, lateness, future_max, idle_close;
    WindowAggregates aggregates;
  };

  void feed_reading(const Record& reading, std::vector<Record>& out);
  void refuse(std::uint32_t window, std::uint64_t& counter, std::string_view device, std::string_view metric);
  void add(WindowKey& key, const Record& reading, double value, std::vector<Record>& out);
  bool takes(const Window& window, std::string_view metric) const;
  bool ahead(std::uint16_t window, const WindowDevice* device, std::int64_t silent,
             const Record& reading) const;
  bool late(const WindowKey& key, std::int64_t start) const;
  bool doubtful(const WindowDevice& device, std::uint16_t window, std::int64_t time) const;
  void hear(WindowDevice& device);
  void close_passed(WindowDevice& device, std::vector<Record>& out);
  void close_until(WindowKey& key, std::int64_t watermark, std::vector<Record>& out);
  void forget_old(WindowKey& key);
  void emit(WindowKey& key, WindowPane& pane, std::vector<Record>& out);

  void feed_clock(const Record& entry, std::vector<Record>& out);
  void feed_undated(const Record& reading, std::vector<Record>& out);
  void date_undated(const Record& entry, std::vector<Record>& out);
  void feed_tick(std::vector<Record>& out);
  void look_at(WindowDevice& device, std::vector<Record>& out);
  void forget_or_wait(WindowDevice& device);
  void heal(bool set_back, std::vector<Record>& out);
  bool given(const WindowDevice& device, std::int64_t start) const;
  void mend(WindowDevice& device, std::uint16_t window, std::int64_t beyond, std::vector<Record>& out);

  std::vector<Window> windows_;
  std::vector<Stats> stats_;
  std::vector<Named> last_refused_;  // for people; not part of the state
  WindowState state_;
  UndatedReadings undated_;  // not part of the state either: no snapshot is made while it holds any
  std::string identity_;
  std::int64_t idle_close_min_ = 0;
  std::size_t forgotten_now_ = 0;  // by this tick
  std::int64_t now_us_ = 0;        // the newest time the clock said when it was known
  std::int64_t said_us_ = 0;       // what it said last
  std::int64_t passed_us_ = 0;     // between ticks, jumps left out
  Clock clock_ = Clock::unknown;
  std::uint64_t ordinal_ = 0;
  // The last leap of the clock: between these two times nothing was stamped.
  std::int64_t leap_from_ = no_time, leap_to_ = no_time;
  // Windows that start between these, or not after `again_now_`, may have been given already by devices that
  // were mended: theirs begin with `again_revision_`, which is higher than any that was given.
  std::int64_t again_from_ = no_time, again_until_ = no_time, again_now_ = no_time;
  std::uint32_t again_revision_ = 0, highest_revision_ = 0;
};

}  // namespace millrace
