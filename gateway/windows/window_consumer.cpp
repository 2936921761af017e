#include "windows/window_consumer.h"

#include <algorithm>
#include <deque>

#include "base/logger.h"
#include "base/text.h"
#include "base/utf8.h"
#include "windows/window_pages.h"
#include "record/batch.h"
#include "record/unsynced.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::string_view blob_state = "windows.snapshot", ordinal_state = "windows.ordinal";
constexpr Duration tell_again = std::chrono::minutes(10);
constexpr std::size_t name_shown_max = 64;
constexpr Duration read_again = std::chrono::seconds(1);
constexpr int read_again_max = 30;
constexpr std::size_t replayed_page_bytes = 256 << 10;
constexpr std::size_t replayed_at_once = 4096;  // readings, before the loop has its turn
constexpr std::int64_t step_us = 2'000'000;     // less is slewing, or a leap second

std::uint64_t ordinal_of(const Record& record) {
  return record.detail ? std::get<WindowDetail>(record.detail->body).ordinal : 0;
}

}  // namespace

WindowConsumer::WindowConsumer(Loop& loop, Log& log, Metrics& metrics, WindowOptions options)
    : loop_(loop),
      log_(log),
      metrics_(metrics),
      options_(std::move(options)),
      engine_(options_.windows),
      told_(options_.windows.size()) {
  if (!any()) return;
  engine_.keep_undated_until(options_.dated_until);
  log_.subscribe({name, {Lane::raw, Lane::held}, Subscription::Start::now});
  Log::Listener listener;
  listener.entering = [this](Sequence number, Lane lane, const Record& record, WriteSet& more) {
    entering(number, lane, record, more);
  };
  listener.sealed = [this] { offer_snapshot(); };
  const auto listening = log_.listen(std::move(listener));
  listening_ = Handle{[this, listening] { log_.unlisten(listening); }};
  scrape_ = metrics_.before_scrape([this] { update_metrics(); });
}

// ---- start: windows as they were

// Of one lane what lies behind the snapshot.
struct WindowConsumer::ReplayedLane {
  explicit ReplayedLane(Lane of) : lane(of) {}

  const Lane lane;
  Sequence next = 0;  // the first number that is not read yet
  bool exhausted = false;
  Sequence from = 0;            // of what was read numbers below it are not wanted
  std::deque<Row> rows;         // read, and not yet decoded
  std::vector<Record> records;  // of the row whose turn it is
  Sequence first = 0;           // its number
  std::size_t at = 0;           // the next of its records

  bool empty() const { return at >= records.size(); }
  Sequence number() const { return first + at; }
};

struct WindowConsumer::Replay {
  ReplayedLane lanes[2] = {ReplayedLane(Lane::raw), ReplayedLane(Lane::held)};
  Sequence end = 0;
  int failures = 0;  // to read, one after the other
  std::function<void()> ready;

  // The one whose record has the lowest number; null: there is none left.
  ReplayedLane* front() {
    ReplayedLane* lowest = nullptr;
    for (ReplayedLane& lane : lanes) {
      if (!lane.empty() && (!lowest || lane.number() < lowest->number())) lowest = &lane;
    }
    return lowest;
  }
};

void WindowConsumer::load() {
  const auto found =
      WindowPages::restore(engine_, [this](const std::string& piece) { return log_.state(piece); });
  const auto pieces = log_.states(WindowPages::prefix);
  if (found.head) {
    if (found.pages_lost > 0)
      LOG_ERROR("windows: ", found.pages_lost,
                " pages of their state are damaged or missing; the open windows of their devices start anew");
    if (found.keys_dropped > 0) {
      LOG_WARN("windows: there was no room for the open windows of ", found.keys_dropped,
               " devices' metrics, which begin anew: keys_max or state_max is "
               "less than it was, or aggregates take more of it (millrace check says how much they need)");
    }
  } else if (!pieces.empty()) {
    LOG_ERROR("windows: the head of their state is damaged or missing; all open windows start anew");
  } else if (const auto blob = log_.state(blob_state)) {
    if (Status status = WindowPages::restore_blob(engine_, *blob); !status.ok())
      LOG_ERROR("windows: ", status.detail(), "; open windows start anew");
  }
  const auto known = WindowPages::names(engine_);
  for (const std::string& piece : pieces) {
    if (!known.contains(piece)) remove_with_snapshot_.push_back(piece);
  }
  if (log_.state(blob_state)) remove_with_snapshot_.emplace_back(blob_state);
  if (const auto bytes = log_.state(ordinal_state)) logged_ordinal_ = wire::Reader(*bytes).get_varint();
}

// Of windows that were configured once: nobody reads it, and what comes back one day begins anew. Only the
// ordinal stays: no two windows of a gateway have the same.
void WindowConsumer::remove_all() {
  WriteSet set;
  for (const std::string& piece : log_.states(WindowPages::prefix)) set.states.push_back({piece, {}});
  if (log_.state(blob_state)) set.states.push_back({std::string(blob_state), {}});
  if (!set.states.empty()) log_.commit(std::move(set), {});
}

void WindowConsumer::start(std::function<void()> ready) {
  if (!any()) {
    remove_all();
    loop_.post(std::move(ready));
    return;
  }
  load();
  auto again = std::make_shared<Replay>();
  again->end = log_.last_committed();
  for (ReplayedLane& lane : again->lanes) {
    const auto ranges = log_.unsettled(name, lane.lane);
    lane.next = ranges.empty() ? again->end + 1 : ranges.front().first;
    lane.exhausted = ranges.empty();
  }
  fed_through_ = again->end;
  again->ready = [this, ready = std::move(ready)] {
    // Damaged state gives fewer windows than were logged: their ordinals are taken all the same.
    engine_.number_behind(logged_ordinal_);
    for (std::size_t w = 0; w < engine_.window_count(); ++w) {
      const WindowEngine::Stats& stats = engine_.stats(w);
      for (std::size_t why = 0; why < window_refusal_count; ++why)
        told_[w][why].readings = stats.refused[why];
      told_[w].back().readings = stats.future;
    }
    running_ = true;
    snapshot_at_ = loop_.now();
    tick();
    snapshot_timer_ = loop_.after(options_.snapshot_interval, [this] { offer_snapshot(); });
    ready();
  };
  replay(again);
}

// Raw and held rows behind the snapshot, merged by number: a page is read, a row decoded at a time, and the
// loop has its turn in between. Rows that compress well hold a million readings in a page.
void WindowConsumer::replay(const std::shared_ptr<Replay>& again) {
  for (std::size_t fed = 0; fed < replayed_at_once; ++fed) {
    if (stopped_) return;
    for (ReplayedLane& lane : again->lanes) {
      while (lane.empty() && !lane.rows.empty()) decode_next(lane);
      if (lane.empty() && !lane.exhausted) return read_page(again, lane);
    }
    ReplayedLane* const from = again->front();
    if (!from) return loop_.post(std::move(again->ready));
    feed_again(from->lane, from->records[from->at++]);
  }
  loop_.post([this, again] { replay(again); });
}

void WindowConsumer::read_page(const std::shared_ptr<Replay>& again, ReplayedLane& lane) {
  log_.read(lane.lane, {lane.next, again->end}, Log::Direction::up, replayed_page_bytes,
            [this, again, &lane](Result<std::vector<Row>> rows) {
              if (!rows.ok() && rows.status().code() != Code::closed && ++again->failures <= read_again_max) {
                tick_timer_ = loop_.after(read_again, [this, again] { replay(again); });
                return;
              }
              if (rows.ok()) {
                again->failures = 0;
                lane.from = lane.next;
                lane.rows.assign(rows.value().begin(), rows.value().end());
                lane.exhausted = lane.rows.empty();
                if (!lane.exhausted) lane.next = lane.rows.back().last() + 1;
              } else {
                LOG_ERROR("windows: lane ", lane_name(lane.lane), " from number ", lane.next,
                          " on cannot be read: ", rows.status().detail(),
                          "; what lies there is not in their windows");
                lane.exhausted = true;
              }
              replay(again);
            });
}

void WindowConsumer::decode_next(ReplayedLane& lane) {
  const Row row = std::move(lane.rows.front());
  lane.rows.pop_front();
  lane.records.clear();
  lane.first = row.first;
  lane.at = row.first < lane.from ? lane.from - row.first : 0;
  if (Status status = decode_batch(*row.columns, row.zstd, lane.records); !status.ok()) {
    LOG_ERROR("windows: row ", row.first, ": ", status.detail());
    lane.records.clear();
  }
}

void WindowConsumer::feed_again(Lane lane, const Record& record) {
  emitted_.clear();
  engine_.feed(record, emitted_);
  ++fed_[static_cast<std::size_t>(lane)];
  WriteSet missing;
  for (Record& window : emitted_) {
    if (ordinal_of(window) > logged_ordinal_) missing.records.emplace_back(Lane::window, std::move(window));
  }
  if (!missing.records.empty()) log_.commit(std::move(missing), {});
}

// ---- the daily work

WindowEngine::Clock WindowConsumer::clock() const {
  return engine_.judge(loop_.wall(), options_.clock_vouched());
}

// Of several notes in one group the last one leads it: a step is said until the engine has heard of it.
void WindowConsumer::lead(WriteSet& set) {
  if (!any()) return;
  const WallTime now = loop_.wall();
  const std::int64_t offset = now.us - loop_.now().ns / 1000;
  const std::int64_t moved = offset - clock_offset_us_.value_or(offset);
  if (std::abs(moved) >= step_us) step_us_ += moved;
  clock_offset_us_ = offset;
  const WindowEngine::Clock clock = engine_.judge(now, options_.clock_vouched());
  const bool tells = clock == WindowEngine::Clock::trusted && engine_.undated().any();
  if (step_us_ == 0 && !engine_.needs_note(now, clock) && !tells) return;
  set.leads = clock == WindowEngine::Clock::trusted
                  ? WindowEngine::dating_note(now, loop_.now(), options_.boot_id, step_us_)
                  : WindowEngine::note(now, clock, step_us_);
}

void WindowConsumer::entering(Sequence number, Lane lane, const Record& record, WriteSet& more) {
  emitted_.clear();
  engine_.feed(record, emitted_);
  if (const auto* step = std::get_if<std::int64_t>(&record.value);
      step && *step == step_us_ && WindowEngine::is_note(record))
    step_us_ = 0;
  fed_through_ = number;
  fed_since_tick_ = fed_since_tick_ || record.kind == Kind::reading;
  ++fed_[static_cast<std::size_t>(lane)];
  for (Record& window : emitted_) {
    logged_ordinal_ = std::max(logged_ordinal_, ordinal_of(window));
    more.records.emplace_back(Lane::window, std::move(window));
  }
  if (!emitted_.empty()) {
    Bytes ordinal;
    wire::Writer(ordinal).put_varint(logged_ordinal_);
    std::erase_if(more.states, [](const WriteSet::State& s) { return s.name == ordinal_state; });
    more.states.push_back({std::string(ordinal_state), std::move(ordinal)});
  }
}

void WindowConsumer::tick() {
  tick_timer_ = loop_.after(options_.tick_interval, [this] { tick(); });
  tell();
  if (!engine_.has_open() && !engine_.undated().any() && !std::exchange(fed_since_tick_, false)) return;
  fed_since_tick_ = false;
  WriteSet set;
  lead(set);  // a clock that was set back is believed from a note alone
  const bool waits = engine_.undated().any() && !options_.clock_vouched();
  const bool over = waits && loop_.now() >= options_.dated_until;
  set.records.emplace_back(Lane::held, over ? WindowEngine::last_tick(loop_.wall(), clock())
                                            : WindowEngine::tick(loop_.wall(), clock()));
  log_.commit(std::move(set), {});
}

// ---- snapshots

void WindowConsumer::offer_snapshot() {
  if (!running_) return;
  snapshot_timer_ = loop_.after(options_.snapshot_interval, [this] { offer_snapshot(); });
  const std::uint64_t rows = log_.stats().row_bytes - rows_at_snapshot_;
  if (rows >= WindowPages::changed_bytes(engine_) || loop_.now() - snapshot_at_ >= options_.snapshot_wait_max)
    snapshot();
}

// What changed and the cursor it belongs to move together.
void WindowConsumer::snapshot() {
  // What waits for the clock is no state: it is fed again from the log.
  if (!running_ || engine_.undated().any()) return;
  WriteSet set;
  std::array<std::uint64_t, lane_count> taken{};
  for (const Lane lane : {Lane::raw, Lane::held}) {
    const auto l = static_cast<std::size_t>(lane);
    if (fed_[l] == 0) continue;
    std::vector<Range> parts = log_.unsettled(name, lane);
    if (fed_through_ > log_.last_committed()) parts.push_back({log_.last_committed() + 1, fed_through_});
    if (!parts.empty()) taken[l] = std::exchange(fed_[l], 0);
    std::uint64_t left = taken[l];
    for (const Range& part : parts)
      set.settles.push_back({name, lane, part, std::exchange(left, 0), How::delivered});
  }
  if (set.settles.empty()) return;
  for (WindowPages::Piece& piece : WindowPages::take_changes(engine_))
    set.states.push_back({std::move(piece.name), std::move(piece.bytes)});
  for (const std::string& gone : remove_with_snapshot_) set.states.push_back({gone, {}});
  rows_at_snapshot_ = log_.stats().row_bytes;
  snapshot_at_ = loop_.now();
  log_.commit(std::move(set), [this, taken](const Status& status) {
    if (status.ok()) remove_with_snapshot_.clear();
    if (status.code() != Code::full) return;
    // Nothing of the set was taken. Windows go on in memory, and what is behind the cursor stays in the log.
    LOG_ERROR("windows: their state cannot be stored: ", status.detail(),
              "; a crash would have them fed again from the last that was");
    for (std::size_t lane = 0; lane < lane_count; ++lane) fed_[lane] += taken[lane];
    WindowPages::all_changed(engine_);
  });
}

// ---- what is told

void WindowConsumer::tell() {
  for (std::size_t w = 0; w < engine_.window_count(); ++w) {
    const WindowEngine::Stats& stats = engine_.stats(w);
    for (std::size_t why = 0; why < window_refusal_count; ++why) tell(w, why, stats.refused[why]);
    tell(w, window_refusal_count, stats.future);
  }
}

// At most once in ten minutes of each window and reason; that a bound is reached is an event, too: somebody
// must choose.
void WindowConsumer::tell(std::size_t window, std::size_t what, std::uint64_t readings) {
  Told& told = told_[window][what];
  if (readings == told.readings || (told.at.ns != 0 && loop_.now() - told.at < tell_again)) return;
  const std::string line = text("window \"", engine_.window(window).name, "\": ", readings - told.readings,
                                " readings were not aggregated: ", words(window, what));
  told = {readings, loop_.now()};
  LOG_WARN(line);
  if (what != static_cast<std::size_t>(WindowRefusal::keys) &&
      what != static_cast<std::size_t>(WindowRefusal::bytes))
    return;
  Record event;
  event.kind = Kind::event;
  event.metric = "window_full";
  event.time = loop_.wall();
  event.trust = TimeTrust::gateway;
  event.value = line;
  if (!options_.clock_vouched()) stamp_unsynced(event, options_.boot_id, loop_.now());
  WriteSet set;
  set.records.emplace_back(Lane::alarm, std::move(event));
  log_.commit(std::move(set), {});
}

std::string WindowConsumer::words(std::size_t window, std::size_t what) const {
  const WindowConfig& config = engine_.window(window);
  const WindowEngine::Named& named = engine_.last_refused(window);
  const std::string such = text(" (the last: \"", shown(named.device, name_shown_max), "\", ",
                                shown(named.metric, name_shown_max), ")");
  if (what == window_refusal_count) {
    return text("they lie further ahead of the gateway's clock than future_max (",
                format_duration(config.future_max), ")", such);
  }
  switch (static_cast<WindowRefusal>(what)) {
    case WindowRefusal::keys: return text("keys_max (", config.keys_max, ") is reached", such);
    case WindowRefusal::bytes:
      return text("state_max (", format_size(static_cast<double>(config.state_max)), ") is taken", such);
    case WindowRefusal::panes:
      return text("a device's metric has ", window_panes_max, " windows at once", such);
    case WindowRefusal::name:
      return text("names of device, tags, metric and unit of more than ", window_identity_bytes_max, " bytes",
                  such);
  }
  return such;
}

void WindowConsumer::update_metrics() {
  const auto raise = [](Counter& counter, std::uint64_t value) {
    counter.add(value - std::min(value, counter.value()));
  };
  std::uint64_t keys = 0, too_late = 0;
  for (std::size_t w = 0; w < engine_.window_count(); ++w) {
    const WindowConfig& config = engine_.window(w);
    const WindowEngine::Stats& stats = engine_.stats(w);
    const Labels labels{{"window", config.name}};
    keys += engine_.keys(w);
    too_late += stats.too_late;
    metrics_.gauge("millrace_window_state_bytes", "Bytes the window's state may take in the log", labels)
        .set(static_cast<double>(engine_.bytes(w)));
    metrics_.gauge("millrace_window_state_max_bytes", "What it may take at most: state_max", labels)
        .set(static_cast<double>(config.state_max));
    raise(metrics_.counter("millrace_window_future_total",
                           "Readings not aggregated: further ahead of the gateway's clock than future_max",
                           labels),
          stats.future);
    for (std::size_t why = 0; why < window_refusal_count; ++why) {
      Labels with_reason = labels;
      with_reason.emplace_back("reason", window_refusal_name(static_cast<WindowRefusal>(why)));
      raise(metrics_.counter("millrace_window_refused_total",
                             "Readings not aggregated for want of room, and which", with_reason),
            stats.refused[why]);
    }
  }
  metrics_
      .gauge("millrace_window_undated",
             "Readings that windows keep until it is known what time it was when they came")
      .set(static_cast<double>(engine_.undated().size()));
  raise(metrics_.counter(
            "millrace_window_undated_total",
            "Readings not aggregated: the clock was not trusted when they came, nor soon enough after"),
        engine_.undated().given_up());
  metrics_.gauge("millrace_window_keys", "Device and metric pairs with window state")
      .set(static_cast<double>(keys));
  raise(metrics_.counter("millrace_window_too_late_total", "Readings too late for their window"), too_late);
  raise(metrics_.counter("millrace_window_given_up_total",
                         "Closed windows that were forgotten before allowed_lateness, for want of room"),
        engine_.given_up());
}

}  // namespace millrace
