// Windows as a consumer of the log, "@windows", which listens to it by itself: they are fed each reading as
// it enters, what closes joins the same group, and the cursor moves with snapshots of their state. After a
// crash the state is loaded, what lies behind the cursor is fed again, and outputs already logged are
// recognised by their ordinal. On the loop.
//
// A snapshot writes what changed, and waits until as much came in rows: state must not wear the flash out.
// The cursor holds back about as many bytes of rows as a snapshot writes, of a full log neither more, and
// what lies behind it costs being read again after a crash, and nothing else. What windows refuse is told,
// with the limit and its key; see window_engine.h for what is refused.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/handle.h"
#include "base/metrics.h"
#include "log/log.h"
#include "loop/loop.h"
#include "windows/window_engine.h"

namespace millrace {

struct WindowOptions {
  std::vector<WindowConfig> windows;
  std::function<bool()> clock_vouched = [] { return true; };  // somebody says that the wall clock is right
  std::uint64_t boot_id = 0;
  // Until then, by the monotonic clock, what is stamped by a clock nobody vouches for waits for one somebody
  // does.
  Instant dated_until;
  Duration tick_interval = std::chrono::seconds(5);
  Duration snapshot_interval = std::chrono::seconds(60), snapshot_wait_max = std::chrono::minutes(10);
};

class WindowConsumer {
 public:
  static constexpr const char* name = "@windows";

  // Subscribes where there are windows.
  WindowConsumer(Loop& loop, Log& log, Metrics& metrics, WindowOptions options);

  const WindowEngine& engine() const { return engine_; }
  bool any() const { return engine_.window_count() > 0; }

  // Loads and replays; `ready` once windows are as they were. Without windows, removes what
  // is left of their state.
  void start(std::function<void()> ready);
  // Of a start that is not over: `ready` does not come, and the next one feeds what this one would have.
  void give_up_start() { stopped_ = true; }
  // Readings join `set`: it says how late it is, where that is not known well enough, and that the clock was
  // set.
  void lead(WriteSet& set);
  void snapshot();

 private:
  struct ReplayedLane;
  struct Replay;
  struct Told {  // of a window: what is refused for a reason, or lies in the future
    std::uint64_t readings = 0;
    Instant at;
  };
  using ToldWindow = std::array<Told, window_refusal_count + 1>;

  void entering(Sequence number, Lane lane, const Record& record, WriteSet& more);
  // A moment when a snapshot lets the log give space back.
  void offer_snapshot();
  void load();
  void remove_all();
  void replay(const std::shared_ptr<Replay>& again);
  void read_page(const std::shared_ptr<Replay>& again, ReplayedLane& lane);
  static void decode_next(ReplayedLane& lane);
  void feed_again(Lane lane, const Record& record);
  void tick();
  WindowEngine::Clock clock() const;
  void tell();
  void tell(std::size_t window, std::size_t what, std::uint64_t readings);
  std::string words(std::size_t window, std::size_t what) const;
  void update_metrics();

  Loop& loop_;
  Log& log_;
  Metrics& metrics_;
  WindowOptions options_;
  WindowEngine engine_;
  std::vector<Record> emitted_;
  std::unique_ptr<Timer> tick_timer_, snapshot_timer_;
  bool running_ = false, stopped_ = false, fed_since_tick_ = false;
  std::optional<std::int64_t> clock_offset_us_;  // wall minus monotonic: a step shows here
  std::int64_t step_us_ = 0;                     // by how much it was set, until a note has said so
  Sequence fed_through_ = 0;
  std::uint64_t fed_[lane_count] = {};
  std::uint64_t logged_ordinal_ = 0;
  std::uint64_t rows_at_snapshot_ = 0;
  Instant snapshot_at_;
  std::vector<std::string> remove_with_snapshot_;  // state of earlier versions, and pieces nobody knows
  std::vector<ToldWindow> told_;
  Metrics::Hook scrape_;
  Handle listening_;
};

}  // namespace millrace
