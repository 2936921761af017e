#include "uplink/shipper.h"

#include <algorithm>
#include <utility>

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
      rate_(options_.drain, log.last_committed()),
      far_(loop, log, options_.name),
      counts_(metrics, options_.name),
      latency_(metrics, options_.name, log.last_committed()),
      isolation_(options_.name, counts_.refused, [this](const std::string& reason) { block(reason, {}); }) {
  for (const Lane lane : all_lanes) {
    if (std::find(options_.drain.lanes.begin(), options_.drain.lanes.end(), lane_name(lane)) ==
        options_.drain.lanes.end())
      continue;
    lane_names_.push_back(lane);
    LaneState& state = lanes_.emplace_back(
        LaneState{LaneRuns(log, options_.name, lane, options_.drain.newest_first), 0, 0, {}});
    for (const auto& [name, priority] : options_.drain.priority) {
      if (name == lane_name(lane)) state.priority = priority;
    }
  }
  std::stable_sort(lanes_.begin(), lanes_.end(),
                   [](const LaneState& a, const LaneState& b) { return a.priority < b.priority; });
  const auto subscription =
      log_.subscribe({options_.name, lane_names_,
                      options_.start_oldest ? Subscription::Start::oldest : Subscription::Start::now});
  subscription_ = Handle{[this, subscription] { log_.unsubscribe(subscription); }};
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
    counts_.size_limit.set(static_cast<double>(isolation_.suspicion().smallest_refused()));
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
  if (!reach.up) latency_.on_trouble();
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
  replan_ = true;  // what waits in memory may be there already
  if (far_.read(uplink_.marker(), lane_names_) == FarMarker::Read::adopt)
    return far_.adopt(uplink_.limits().bytes_max, [this] { go_on(); });
  usurped_ = true;
  needed_person_ = "another gateway sends under the same name: give one of them another, then restart";
  reach_ = {false, needed_person_, true};
  LOG_ERROR("uplink ", options_.name, ": ", needed_person_, " (somebody must act)");
}

// Reached again: the waits were for the connection. A blocked uplink keeps its breaker.
void Shipper::go_on() {
  not_before_ = {};
  pace_.on_connected();
  if (options_.drain.newest_first) {
    for (LaneState& lane : lanes_) lane.runs.on_reconnected();
    replan_ = true;
  }
  pump();
  look_at_latency();
}

// Nothing new goes out; what is in flight may still be acknowledged for a moment. Every outcome comes before
// `done`.
void Shipper::stop(std::function<void()> done) {
  stopping_ = true;
  far_.forget();
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
  for (const Lane lane : lane_names_) sum += log_.ledger(options_.name, lane).unsettled();
  return sum;
}

void Shipper::on_committed() {
  latency_.on_committed(log_.last_group());
  std::uint64_t admitted = 0;
  for (const Lane lane : lane_names_) admitted += log_.ledger(options_.name, lane).admitted;
  // stats() is gathered from all of the log: only where it is needed.
  const double row_bytes = rate_.by_bytes() ? static_cast<double>(log_.stats().row_bytes) : 0;
  rate_.on_committed(log_.last_committed(), static_cast<double>(admitted), row_bytes, loop_.now());
  pump();
}

// ---- what may be sent
// -----------------------------------------------------------------------------------------------

Shipper::LaneState& Shipper::state_of(Lane lane) {
  return *std::find_if(lanes_.begin(), lanes_.end(),
                       [lane](const LaneState& state) { return state.runs.lane() == lane; });
}

void Shipper::pump_after(Duration delay) {
  pump_timer_ = loop_.after(delay, [this] { pump(); });
}

// Sends what may be sent now: everything waits while the uplink is down, after a failure, and while the
// breaker is open.
void Shipper::pump() {
  if (stopping_ || !reach_.up || far_.adopting()) return;
  pump_timer_.reset();
  const Instant now = loop_.now();
  if (now < not_before_) return pump_after(not_before_ - now);
  if (!breaker_.allows(now)) return pump_after(breaker_.wait(now));
  if (replan_ && !flights_.empty()) return;  // their answers bring us back
  for (LaneState& lane : lanes_) {
    if (replan_ || lane.runs.empty()) lane.runs.plan();
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

// The run of a lane whose turn it is, when it has something to send; reading ahead is seen to here. `wait`
// becomes the shortest time until a backlog that is held back by its rate may go on.
Run* Shipper::servable(LaneState& lane, Duration& wait) {
  bool reading_below = false;
  for (std::size_t i = 0; i < lane.runs.size(); ++i) {
    Run& run = lane.runs[i];
    if (options_.drain.max_age.count() > 0) expire(lane.runs.lane(), run);
    if (lane.runs.is_over(run)) {
      const Range rest = lane.runs.end(i);
      if (!rest.empty())
        log_.commit({.settles = {{options_.name, lane.runs.lane(), rest, 0, How::skipped}}}, {});
      if (lane.runs.empty()) lane.runs.plan();
      return servable(lane, wait);
    }
    // one range of the backlog at a time
    if (LaneRuns::is_bounded(run) && std::exchange(reading_below, true)) continue;
    read_more(lane, run);
    if (isolation_.sift(lane.runs.lane(), run, loop_.now())) settle(lane.runs.lane(), run);
    if (run.bytes_waiting == 0) continue;
    const bool flies =
        std::any_of(flights_.begin(), flights_.end(), [&](const auto& f) { return f.second.run == run.id; });
    if (run.rows_max != SIZE_MAX && flies) continue;  // isolating: one batch at a time
    if (const Duration rest = rest_of(run); rest.count() > 0) {
      wait = wait.count() == 0 ? rest : std::min(wait, rest);
      continue;
    }
    const auto first = run.first_waiting();
    if (!rate_.limited() || !rate_.is_replay(first->row, loop_.now())) return &run;
    const Duration held = rate_.held_back(loop_.now());
    if (held.count() == 0) return &run;
    wait = wait.count() == 0 ? held : std::min(wait, held);
  }
  return nullptr;
}

// How long a run is still to wait for more, where requests cost; a full batch goes at once, and so does what
// is being isolated. A link that nobody knows yet makes no batch full.
Duration Shipper::rest_of(const Run& run) const {
  const std::size_t most = uplink_.limits().bytes_max;
  const bool full = run.bytes_waiting >= (pace_.starting(most) ? most : pace_.batch_bytes(most));
  return full || run.rows_max != SIZE_MAX ? Duration{0}
                                          : std::max(run.rests_until - loop_.now(), Duration{0});
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

// A suspect needs a neighbour, also among large ones: then more is read.
void Shipper::read_more(LaneState& lane, Run& run) {
  const std::size_t bytes_max = uplink_.limits().bytes_max;
  const bool seeking = isolation_.suspect_in(lane.runs.lane(), run).has_value();
  const std::size_t held_max = bytes_max * (uplink_.limits().batches_in_flight + 1) * (seeking ? 4 : 1);
  const auto range = lane.runs.to_read(run, bytes_max, held_max, seeking);
  if (!range) return;
  run.reading = true;
  log_.read(lane.runs.lane(), *range, run.up ? Log::Direction::up : Log::Direction::down, bytes_max,
            [this, alive = alive_, which = lane.runs.lane(), id = run.id,
             through = range->last](Result<std::vector<Row>> rows) {
              if (*alive) take_rows(which, id, std::move(rows), through);
            });
}

void Shipper::take_rows(Lane lane, std::uint64_t id, Result<std::vector<Row>> rows, Sequence through) {
  LaneState& state = state_of(lane);
  Run* run = state.runs.find(id);
  if (!run) return;  // the runs began anew meanwhile
  run->reading = false;
  if (!rows.ok()) {
    if (rows.status().code() == Code::closed) return;
    LOG_ERROR("uplink ", options_.name, ": reading the log: ", rows.status().detail());
    not_before_ = loop_.now() + std::chrono::seconds(1);
    return pump_after(std::chrono::seconds(1));
  }
  state.runs.take(*run, std::move(rows).value(), through, options_.drain.max_age.count() > 0);
  isolation_.cut_again(lane, *run);
  pump();
  look_at_latency();
}

// Lanes in which nothing is in the way any more.
void Shipper::look_at_latency() {
  if (!reach_.up) return;
  for (const LaneState& lane : lanes_) {
    if (latency_.behind(lane.runs.lane()) && lane.runs.caught_up()) latency_.on_caught_up(lane.runs.lane());
  }
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
    isolation_.forget(lane, piece.row);
    any = true;
  }
  if (any) settle(lane, run);
}

}  // namespace millrace
