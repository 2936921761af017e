#include "uplink/shipper.h"

#include <algorithm>
#include <limits>

#include "base/logger.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr int passed_over_max = 9;  // a waiting lane gets one batch in ten at least
constexpr Duration last_answers = std::chrono::seconds(2);

}  // namespace

const char* verdict_name(Verdict verdict) {
  static constexpr const char* names[] = {"acknowledged", "retryable", "refused", "blocked"};
  return names[static_cast<int>(verdict)];
}

bool outweighs(Verdict verdict, Verdict other) {
  static constexpr int weight[] = {0, 2, 1, 3};
  return weight[static_cast<int>(verdict)] > weight[static_cast<int>(other)];
}

Shipper::Shipper(Loop& loop, Log& log, Uplink& uplink, Metrics& metrics, Rng& rng, ShipperOptions options)
    : loop_(loop),
      log_(log),
      uplink_(uplink),
      metrics_(metrics),
      rng_(rng),
      options_(std::move(options)),
      backoff_(options_.initial_interval, options_.max_interval),
      breaker_(options_.breaker),
      instance_(random_from_kernel()),
      found_through_(log.last_committed()),
      counts_(metrics, options_.name) {
  std::vector<Lane> lanes;
  for (const Lane lane : all_lanes) {
    if (std::find(options_.drain.lanes.begin(), options_.drain.lanes.end(), lane_name(lane)) == options_.drain.lanes.end()) continue;
    lanes.push_back(lane);
    LaneState& state = lanes_.emplace_back();
    state.lane = lane;
    for (const auto& [name, priority] : options_.drain.priority) {
      if (name == lane_name(lane)) state.priority = priority;
    }
  }
  std::stable_sort(lanes_.begin(), lanes_.end(), [](const LaneState& a, const LaneState& b) { return a.priority < b.priority; });
  const auto subscription = log_.subscribe({options_.name, lanes, options_.start_oldest ? Subscription::Start::oldest : Subscription::Start::now});
  subscription_ = Handle{[this, subscription] { log_.unsubscribe(subscription); }};
  old_through_ = log_.last_committed();
  Log::Listener listener;
  listener.committed = [this] { on_committed(); };
  const auto listening = log_.listen(std::move(listener));
  listening_ = Handle{[this, listening] { log_.unlisten(listening); }};
}

// From here on the gauges of this name are ours: until then they may be those of one who drains another log.
Status Shipper::start() {
  scrape_ = metrics_.before_scrape([this] {
    counts_.up.set(reach_.up ? 1 : 0);
    counts_.backlog.set(static_cast<double>(backlog()));
    counts_.eta.set(eta_seconds());
    counts_.size_limit.set(static_cast<double>(suspicion_.smallest_refused()));
    const bool blocked = trouble_.starts_with(verdict_name(Verdict::blocked));
    counts_.blocked.set(blocked || !needed_person_.empty() ? 1 : 0);
    counts_.breaker.set(breaker_.allows(loop_.now()) ? 0 : 1);
  });
  return uplink_.start([this, alive = alive_](const Uplink::Reach& reach) {
    if (*alive && !stopping_) on_reach(reach);
  });
}

// Why somebody must act is remembered until the far side is reached, whatever else goes wrong in between.
void Shipper::on_reach(const Uplink::Reach& reach) {
  if (reach.up && !reach_.up) LOG_INFO("uplink ", options_.name, ": connected");
  const bool told = !reach_.up && reach.reason == reach_.reason;
  if (!reach.up && !told) {
    const std::string words = text("uplink ", options_.name, ": ", reach.reason);
    if (reach.needs_person) LOG_ERROR(words, " (somebody must act); records wait in the log");
    else LOG_WARN(words, "; records wait in the log");
  }
  if (usurped_) return;
  reach_ = reach;
  if (reach_.up) needed_person_.clear();
  else if (reach.needs_person) needed_person_ = reach.reason;
  if (!reach_.up) return;
  if (!uplink_.keeps_marker()) return go_on();
  adopting_.clear();
  if (read_marker()) adopt_next();
}

// Reached again: the waits were for the connection. A blocked uplink keeps its breaker.
void Shipper::go_on() {
  not_before_ = {};
  pace_.on_connected();
  if (options_.drain.newest_first) {
    for (LaneState& lane : lanes_) lane.reconnected_at = log_.last_committed();
    replan_ = true;
  }
  pump();
}

// Nothing new goes out; what is in flight may still be acknowledged for a moment. Every outcome comes before `done`.
void Shipper::stop(std::function<void()> done) {
  stopping_ = true;
  if (stop_deadline_.ns == 0) stop_deadline_ = loop_.now() + last_answers;
  if (!flights_.empty() && reach_.up && loop_.now() < stop_deadline_) {
    pump_timer_ = loop_.after(std::chrono::milliseconds(20), [this, done = std::move(done)] { stop(done); });
    return;
  }
  pump_timer_.reset();
  uplink_.stop(std::move(done));
}

std::string Shipper::health() const {
  if (reach_.up) return trouble_.empty() ? "up" : trouble_;
  if (needed_person_.empty()) return reach_.reason;
  if (reach_.needs_person) return reach_.reason + " (somebody must act)";
  return text(reach_.reason, "; before that: ", needed_person_, " (somebody must act)");
}

std::uint64_t Shipper::backlog() const {
  std::uint64_t sum = 0;
  for (const LaneState& lane : lanes_) sum += log_.ledger(options_.name, lane.lane).unsettled();
  return sum;
}

double Shipper::eta_seconds() const {
  const auto left = static_cast<double>(backlog());
  if (left == 0) return 0;
  const double net = records_leaving_.per_second() - records_arriving_.per_second();
  return net > 0 ? left / net : std::numeric_limits<double>::infinity();
}

void Shipper::on_committed() {
  commits_.emplace_back(log_.last_committed(), loop_.now());
  age_commits();
  std::uint64_t admitted = 0;
  for (const LaneState& lane : lanes_) admitted += log_.ledger(options_.name, lane.lane).admitted;
  records_arriving_.observe(static_cast<double>(admitted), loop_.now());
  if (options_.drain.rate_bytes > 0) bytes_arriving_.observe(static_cast<double>(log_.stats().row_bytes), loop_.now());
  pump();
}

// At each commit, too: in an outage nothing is sent, and what is remembered of commits must not grow with it.
void Shipper::age_commits() {
  while (!commits_.empty() && loop_.now() - commits_.front().second > options_.drain.replay_after) {
    old_through_ = commits_.front().first;
    commits_.pop_front();
  }
}

bool Shipper::is_replay(const Row& row) {
  age_commits();
  return row.last() <= old_through_;
}

// ---- runs: in which order a lane is read ----------------------------------------------------------------------------

Run Shipper::make_run(bool up, Sequence from, Sequence end) {
  Run run;
  run.id = next_run_++;
  run.up = up;
  run.next = from;
  run.end = end;
  run.edge = up ? from - 1 : from + 1;
  return run;
}

void Shipper::plan_runs(LaneState& lane) {
  lane.runs.clear();
  const Sequence committed = log_.last_committed();
  const std::vector<Range> open = log_.unsettled(options_.name, lane.lane);
  if (!options_.drain.newest_first) {
    // What newest first had settled above a gap, before it was configured otherwise, is not sent again.
    const Range lowest = open.empty() ? Range{committed + 1, committed} : open.front();
    lane.runs.push_back(make_run(true, lowest.first, lowest.last < committed ? lowest.last : UINT64_MAX));
    return;
  }
  const Sequence at = lane.reconnected_at;
  Sequence live = std::max(at, committed) + 1;
  for (const Range& range : open) {
    if (range.last > at) {
      live = std::max(at + 1, range.first);
      break;
    }
  }
  // What would open a ninth settled range waits: the lowest gap is filled first.
  if (!open.empty() && !log_.can_settle(options_.name, lane.lane, {live, live})) {
    lane.runs.push_back(make_run(true, open.front().first, open.front().last));
    return;
  }
  lane.runs.push_back(make_run(true, live, UINT64_MAX));
  for (auto range = open.rbegin(); range != open.rend(); ++range) {
    if (range->first <= at) lane.runs.push_back(make_run(false, std::min(range->last, at), range->first));
  }
}

Shipper::LaneState& Shipper::state_of(Lane lane) {
  return *std::find_if(lanes_.begin(), lanes_.end(), [lane](const LaneState& state) { return state.lane == lane; });
}

Run* Shipper::find_run(Lane lane, std::uint64_t id) {
  for (Run& run : state_of(lane).runs) {
    if (run.id == id) return &run;
  }
  return nullptr;
}

void Shipper::pump_after(Duration delay) {
  pump_timer_ = loop_.after(delay, [this] { pump(); });
}

// Sends what may be sent now: everything waits while the uplink is down, after a failure, and while the breaker is open.
void Shipper::pump() {
  if (stopping_ || !reach_.up || !adopting_.empty()) return;
  pump_timer_.reset();
  const Instant now = loop_.now();
  if (now < not_before_) return pump_after(not_before_ - now);
  if (!breaker_.allows(now)) return pump_after(breaker_.wait(now));
  if (replan_ && !flights_.empty()) return;  // their answers bring us back
  for (LaneState& lane : lanes_) {
    if (replan_ || lane.runs.empty()) plan_runs(lane);
  }
  replan_ = false;
  for (;;) {
    Duration wait{0};
    const auto [lane, run] = choose(wait);
    if (flights_.size() >= flights_max()) return;
    if (!run) {
      if (wait.count() > 0) pump_after(wait);
      return;
    }
    if (!send(*lane, *run)) return pump_after(not_before_ - now);
  }
}

// The run of a lane whose turn it is, when it has something to send; reading ahead is seen to here. `wait` becomes the
// shortest time until a backlog that is held back by its rate may go on.
Run* Shipper::servable(LaneState& lane, Duration& wait) {
  const Sequence committed = log_.last_committed();
  bool reading_below = false;
  for (std::size_t i = 0; i < lane.runs.size(); ++i) {
    Run& run = lane.runs[i];
    if (options_.drain.max_age.count() > 0) expire(lane.lane, run);
    if (run.end != UINT64_MAX || !run.up) {
      if (run.pieces.empty() && !run.reading && run.exhausted(committed)) {
        // All of it is settled but numbers that are not of this lane: they join the ranges to both sides.
        const Range rest = run.up ? Range{run.edge + 1, run.end} : Range{run.end, run.edge - 1};
        if (!rest.empty()) log_.commit({.settles = {{options_.name, lane.lane, rest, 0, How::skipped}}}, {});
        const bool was_all = lane.runs.size() == 1;
        lane.runs.erase(lane.runs.begin() + static_cast<std::ptrdiff_t>(i));
        if (was_all) plan_runs(lane);
        return servable(lane, wait);
      }
      if (reading_below) continue;  // one range of the backlog at a time
      reading_below = true;
    }
    read_more(lane, run);
    sift(lane.lane, run);
    if (run.bytes_waiting == 0) continue;
    if (run.rows_max != SIZE_MAX && std::any_of(flights_.begin(), flights_.end(), [&](const auto& f) { return f.second.run == run.id; })) {
      continue;  // isolating: one batch at a time
    }
    if (const Duration rest = rest_of(run); rest.count() > 0) {
      wait = wait.count() == 0 ? rest : std::min(wait, rest);
      continue;
    }
    const auto first = std::find_if(run.pieces.begin(), run.pieces.end(), [](const Piece& piece) { return piece.state == Piece::waiting; });
    const DrainConfig& drain = options_.drain;
    if ((drain.rate_bytes > 0 || drain.rate_records > 0) && is_replay(first->row)) {
      // In one queue live readings stand behind the backlog: what arrives is let through on top, or it would only grow.
      const double more_bytes = drain.newest_first ? 0 : bytes_arriving_.per_second();
      const double more_records = drain.newest_first ? 0 : records_arriving_.per_second();
      if (drain.rate_bytes > 0) bytes_allowed_.refill(drain.rate_bytes + more_bytes, loop_.now());
      if (drain.rate_records > 0) records_allowed_.refill(drain.rate_records + more_records, loop_.now());
      Duration held{0};
      if (drain.rate_bytes > 0) held = std::max(held, bytes_allowed_.wait());
      if (drain.rate_records > 0) held = std::max(held, records_allowed_.wait());
      if (held.count() > 0) {
        wait = wait.count() == 0 ? held : std::min(wait, held);
        continue;
      }
    }
    return &run;
  }
  return nullptr;
}

// How long a run is still to wait for more, where requests cost; a full batch goes at once, and so does what is being
// isolated. A link that nobody knows yet makes no batch full.
Duration Shipper::rest_of(const Run& run) const {
  const std::size_t most = uplink_.limits().bytes_max;
  const bool full = run.bytes_waiting >= (pace_.starting(most) ? most : pace_.batch_bytes(most));
  return full || run.rows_max != SIZE_MAX ? Duration{0} : std::max(run.rests_until - loop_.now(), Duration{0});
}

// The most urgent lane that has something, unless a lesser one was passed over too often.
std::pair<Shipper::LaneState*, Run*> Shipper::choose(Duration& wait) {
  std::pair<LaneState*, Run*> chosen{nullptr, nullptr};
  for (LaneState& lane : lanes_) {
    Run* run = servable(lane, wait);
    if (!run) continue;
    if (const Duration left = lane.rests_until - loop_.now(); left.count() > 0) {
      wait = wait.count() > 0 ? std::min(wait, left) : left;
      continue;
    }
    if (!chosen.first || ++lane.passed_over > passed_over_max) chosen = {&lane, run};
  }
  if (chosen.first) chosen.first->passed_over = 0;
  return chosen;
}

void Shipper::read_more(LaneState& lane, Run& run) {
  const std::size_t bytes_max = uplink_.limits().bytes_max;
  const Sequence committed = log_.last_committed();
  if (run.reading || run.exhausted(committed)) return;
  // What flies is held in memory too: together they are the bound. A suspect needs a neighbour, also among large ones.
  const bool seeking = suspect_in(lane.lane, run).has_value();
  const std::size_t held_max = bytes_max * (uplink_.limits().batches_in_flight + 1) * (seeking ? 4 : 1);
  if (run.bytes_held >= held_max || (run.bytes_waiting >= bytes_max && !seeking)) return;
  run.reading = true;
  const Range range = run.up ? Range{run.next, std::min(run.end, committed)} : Range{run.end, run.next};
  log_.read(lane.lane, range, run.up ? Log::Direction::up : Log::Direction::down, bytes_max,
            [this, alive = alive_, which = lane.lane, id = run.id, through = range.last](Result<std::vector<Row>> rows) {
              if (*alive) take_rows(which, id, std::move(rows), through);
            });
}

void Shipper::take_rows(Lane lane, std::uint64_t id, Result<std::vector<Row>> rows, Sequence through) {
  Run* run = find_run(lane, id);
  if (!run) return;  // the runs began anew meanwhile
  run->reading = false;
  if (!rows.ok()) {
    if (rows.status().code() == Code::closed) return;
    LOG_ERROR("uplink ", options_.name, ": reading the log: ", rows.status().detail());
    not_before_ = loop_.now() + std::chrono::seconds(1);
    return pump_after(std::chrono::seconds(1));
  }
  for (Row& row : rows.value()) {
    const Sequence first = row.first;
    const Status status = run->add(std::move(row), options_.drain.max_age.count() > 0);
    if (!status.ok()) LOG_ERROR("uplink ", options_.name, ": row ", first, ": ", status.detail());
  }
  for (const auto& [of, first] : suspicion_.cuts()) {
    if (of == lane) run->cut_at(first);
  }
  if (rows.value().empty()) run->next = run->up ? std::max(run->next, through + 1) : run->end - 1;
  pump();
}

void Shipper::expire(Lane lane, Run& run) {
  const auto now = options_.age_clock();
  if (!now) return;
  const std::int64_t oldest = now->us - to_us(options_.drain.max_age);
  bool any = false;
  for (Piece& piece : run.pieces) {
    if (piece.state != Piece::waiting || piece.newest_us >= oldest) continue;
    piece.state = Piece::expired;
    run.bytes_waiting -= piece.bytes();
    counts_.expired.add(piece.row.count);
    suspicion_.forget(part_of(lane, piece.row));
    any = true;
  }
  if (any) settle(lane, run);
}

}  // namespace millrace
