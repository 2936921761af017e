#include "uplink/shipper.h"

#include <algorithm>
#include <limits>

#include "base/logger.h"
#include "base/utf8.h"
#include "record/batch.h"
#include "record/record_proto.h"

namespace millrace {
namespace {

constexpr int passed_over_max = 9;  // a waiting lane gets one batch in ten at least
constexpr Duration last_answers = std::chrono::seconds(2);
constexpr Duration blocked_for = std::chrono::seconds(30);
constexpr std::size_t first_batch_bytes = 16 << 10;  // after a reconnect
constexpr Duration after_step = std::chrono::hours(1);
constexpr std::int64_t step_us = 10'000'000;

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
      slow_start_(first_batch_bytes),
      instance_(random_from_kernel()),
      found_through_(log.last_committed()),
      records_sent_(metrics.counter("millrace_uplink_records_total", "Records acknowledged by the far side", {{"uplink", options_.name}})),
      bytes_sent_(metrics.counter("millrace_uplink_bytes_total", "Payload bytes acknowledged by the far side", {{"uplink", options_.name}})),
      retries_(metrics.counter("millrace_uplink_retries_total", "Batches that must be sent again", {{"uplink", options_.name}})),
      refused_(metrics.counter("millrace_uplink_refused_records_total", "Records the far side will never take, kept in the dead lane", {{"uplink", options_.name}})),
      expired_(metrics.counter("millrace_uplink_expired_records_total", "Records older than max_age, not sent", {{"uplink", options_.name}})),
      up_gauge_(metrics.gauge("millrace_uplink_up", "Whether the far side can be reached", {{"uplink", options_.name}})),
      backlog_gauge_(metrics.gauge("millrace_uplink_backlog_records", "Records not yet acknowledged", {{"uplink", options_.name}})),
      eta_gauge_(metrics.gauge("millrace_uplink_drain_eta_seconds", "Until the backlog is gone at the present rates; +Inf when it grows", {{"uplink", options_.name}})),
      breaker_gauge_(metrics.gauge("millrace_uplink_breaker_open", "Whether the circuit breaker holds sending back", {{"uplink", options_.name}})),
      blocked_gauge_(metrics.gauge("millrace_uplink_blocked", "Whether somebody must act: credentials, a missing topic", {{"uplink", options_.name}})),
      round_trip_(metrics.histogram("millrace_uplink_round_trip_seconds", "From sending a batch to its acknowledgement", {{"uplink", options_.name}})) {
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
  clock_offset_us_ = loop_.wall().us - loop_.now().ns / 1000;
  Log::Listener listener;
  listener.committed = [this] { on_committed(); };
  const auto listening = log_.listen(std::move(listener));
  listening_ = Handle{[this, listening] { log_.unlisten(listening); }};
}

// From here on the gauges of this name are ours: until then they may be those of one who drains another log.
Status Shipper::start() {
  scrape_ = metrics_.before_scrape([this] {
    up_gauge_.set(up_ ? 1 : 0);
    backlog_gauge_.set(static_cast<double>(backlog()));
    eta_gauge_.set(eta_seconds());
    breaker_gauge_.set(breaker_.allows(loop_.now()) ? 0 : 1);
  });
  return uplink_.start([this, alive = alive_](bool up, const std::string& reason) {
    if (!*alive || stopping_) return;
    if (up && !up_) LOG_INFO("uplink ", options_.name, ": connected");
    if (!up && (up_ || reason != down_reason_)) LOG_WARN("uplink ", options_.name, ": ", reason, "; records wait in the log");
    up_ = up && !usurped_;
    if (!usurped_) down_reason_ = reason;
    if (!up_) return;
    if (!uplink_.keeps_marker()) return go_on();
    adopting_.clear();
    if (read_marker()) adopt_next();
  });
}

// Reached again: the waits were for the connection. A blocked uplink keeps its breaker.
void Shipper::go_on() {
  not_before_ = {};
  slow_start_ = first_batch_bytes;
  if (options_.drain.newest_first) {
    for (LaneState& lane : lanes_) lane.reconnected_at = log_.last_committed();
    replan_ = true;
  }
  pump();
}

// ---- the far side's marker --------------------------------------------------------------------------------------------

// What of it is not settled here goes to `adopting_`. False when nothing may be sent.
bool Shipper::read_marker() {
  replan_ = true;  // what waits in memory may be there already
  const Bytes bytes = uplink_.marker();
  if (bytes.empty()) return true;
  const auto decoded = decode_marker(bytes);
  if (!decoded.ok()) {
    LOG_ERROR("uplink ", options_.name, ": the far side's marker: ", decoded.status().detail(), "; going on from our own cursor, records may come twice");
    return true;
  }
  const Marker& marker = decoded.value();
  if (marked_ && marker.instance != instance_) {
    usurped_ = true;
    up_ = false;
    down_reason_ = "another gateway sends under the same name: give one of them another, then restart (somebody must act)";
    LOG_ERROR("uplink ", options_.name, ": ", down_reason_);
    return false;
  }
  if (marker.epoch != log_.epoch()) {
    LOG_WARN("uplink ", options_.name, ": the far side last heard from another log (epoch ", marker.epoch, ", this one has ", log_.epoch(),
             "): this log was replaced, copied or restored; what is not settled here is sent, with its own identity");
    return true;
  }
  const Sequence through = marker.instance == instance_ ? UINT64_MAX : found_through_;
  Sequence highest = 0;
  for (const auto& [lane, settled] : marker.lanes) highest = std::max(highest, settled.ranges().empty() ? settled.low() : settled.ranges().back().last);
  if (highest > log_.last_committed()) log_.number_behind(highest);
  for (const LaneState& lane : lanes_) {
    const auto settled = marker.lanes.find(lane.lane);
    if (settled == marker.lanes.end()) continue;
    std::vector<Range> there{{1, settled->second.low()}};
    there.insert(there.end(), settled->second.ranges().begin(), settled->second.ranges().end());
    for (const Range& open : log_.unsettled(options_.name, lane.lane)) {
      for (const Range& range : there) {
        const Range both{std::max(open.first, range.first), std::min({open.last, range.last, through})};
        if (!both.empty()) adopting_.emplace_back(lane.lane, both);
      }
    }
  }
  return true;
}

// Settles what the far side has, counted by the log's own rows.
void Shipper::adopt_next() {
  if (adopting_.empty()) return go_on();
  const Lane lane = adopting_.front().first;
  const Range range = adopting_.front().second;
  log_.read(lane, range, Log::Direction::up, uplink_.limits().bytes_max, [this, alive = alive_, lane, range](const Result<std::vector<Row>>& rows) {
    if (!*alive || adopting_.empty() || adopting_.front() != std::pair(lane, range)) return;
    if (!rows.ok()) {
      if (rows.status().code() == Code::closed) return;
      LOG_ERROR("uplink ", options_.name, ": reading the log: ", rows.status().detail());
      pump_timer_ = loop_.after(std::chrono::seconds(1), [this] { adopt_next(); });
      return;
    }
    std::uint64_t records = 0;
    Sequence through = range.last;
    for (const Row& row : rows.value()) {
      records += std::min(row.last(), range.last) - std::max(row.first, range.first) + 1;
      through = std::min(row.last(), range.last);
    }
    log_.commit({.settles = {{options_.name, lane, {range.first, through}, records, How::delivered}}}, {});
    LOG_INFO("uplink ", options_.name, ": the far side has ", records, " records of lane ", lane_name(lane), " that were not settled here");
    adopting_.pop_front();
    if (through < range.last) adopting_.emplace_front(lane, Range{through + 1, range.last});
    adopt_next();
  });
}

// With one batch in flight everything before it in its run is settled. The parts of a row that was split on the way down
// are settled by themselves: what lies between them and the edge is still to come.
Bytes Shipper::marker_after(const LaneState& lane, const Run& run, const Batch& batch, const std::vector<Sequence>& row_firsts) const {
  Marker marker{log_.epoch(), instance_, {}};
  for (const LaneState& state : lanes_) marker.lanes.emplace(state.lane, log_.settled(options_.name, state.lane));
  SettledSet& settled = marker.lanes.at(lane.lane);
  std::vector<Range> ranges;
  if (run.up) {
    ranges.push_back({run.edge + 1, batch.rows.back().last()});
  } else {
    for (const Piece& piece : run.pieces) {
      if (piece.state == Piece::safe) ranges.push_back({piece.row.first, piece.row.last()});  // its row is not complete yet
    }
    Sequence edge = run.edge;
    for (std::size_t i = 0; i < batch.rows.size(); ++i) {
      const bool whole = std::count_if(run.pieces.begin(), run.pieces.end(), [&](const Piece& piece) { return piece.row_first == row_firsts[i]; }) == 1;
      ranges.push_back(whole ? Range{batch.rows[i].first, edge - 1} : Range{batch.rows[i].first, batch.rows[i].last()});
      if (whole) edge = batch.rows[i].first;
    }
  }
  for (const Range& range : ranges) {
    for (const Range& part : settled.unsettled_in(range)) {
      if (settled.can_settle(part)) settled.settle(part);
    }
  }
  return encode_marker(marker);
}

// Nothing new goes out; what is in flight may still be acknowledged for a moment. Every outcome comes before `done`.
void Shipper::stop(std::function<void()> done) {
  stopping_ = true;
  if (stop_deadline_.ns == 0) stop_deadline_ = loop_.now() + last_answers;
  if (!flights_.empty() && up_ && loop_.now() < stop_deadline_) {
    pump_timer_ = loop_.after(std::chrono::milliseconds(20), [this, done = std::move(done)] { stop(done); });
    return;
  }
  pump_timer_.reset();
  uplink_.stop(std::move(done));
}

std::string Shipper::health() const {
  if (!up_) return down_reason_;
  return trouble_.empty() ? "up" : trouble_;
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

Shipper::Run Shipper::make_run(bool up, Sequence from, Sequence end) {
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
    lane.runs.push_back(make_run(true, open.empty() ? committed + 1 : open.front().first, UINT64_MAX));
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

Shipper::Run* Shipper::find_run(Lane lane, std::uint64_t id) {
  for (Run& run : state_of(lane).runs) {
    if (run.id == id) return &run;
  }
  return nullptr;
}

// What flies is always among the pieces. Downwards rows descend, but the parts of a row ascend.
std::deque<Shipper::Piece>::iterator Shipper::find_piece(Run& run, Sequence first) {
  auto at = std::partition_point(run.pieces.begin(), run.pieces.end(),
                                 [&](const Piece& piece) { return run.up ? piece.row.first < first : piece.row_first > first; });
  while (at != run.pieces.end() && at->row.first != first) ++at;
  MILLRACE_CHECK(at != run.pieces.end());
  return at;
}

void Shipper::pump_after(Duration delay) {
  pump_timer_ = loop_.after(delay, [this] { pump(); });
}

// Sends what may be sent now: everything waits while the uplink is down, after a failure, and while the breaker is open.
void Shipper::pump() {
  if (stopping_ || !up_ || !adopting_.empty()) return;
  pump_timer_.reset();
  const Instant now = loop_.now();
  if (now < not_before_) return pump_after(not_before_ - now);
  if (!breaker_.allows(now)) return pump_after(breaker_.wait(now));
  if (replan_ && !flights_.empty()) return;  // their answers bring us back
  for (LaneState& lane : lanes_) {
    if (replan_ || lane.runs.empty()) plan_runs(lane);
  }
  replan_ = false;
  const bool careful = breaker_.state(now) == Breaker::State::half_open || slow_start_ < uplink_.limits().bytes_max;
  const std::size_t flights_max = careful ? 1 : uplink_.limits().batches_in_flight;
  for (;;) {
    Duration wait{0};
    const auto [lane, run] = choose(wait);
    if (flights_.size() >= flights_max) return;
    if (!run) {
      if (wait.count() > 0) pump_after(wait);
      return;
    }
    send(*lane, *run);
  }
}

// The run of a lane whose turn it is, when it has something to send; reading ahead is seen to here. `wait` becomes the
// shortest time until a backlog that is held back by its rate may go on.
Shipper::Run* Shipper::servable(LaneState& lane, Duration& wait) {
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
    if (run.bytes_waiting == 0) continue;
    if (run.rows_max != SIZE_MAX && std::any_of(flights_.begin(), flights_.end(), [&](const auto& f) { return f.second.run == run.id; })) {
      continue;  // isolating: one batch at a time
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

// The most urgent lane that has something, unless a lesser one was passed over too often.
std::pair<Shipper::LaneState*, Shipper::Run*> Shipper::choose(Duration& wait) {
  std::pair<LaneState*, Run*> chosen{nullptr, nullptr};
  for (LaneState& lane : lanes_) {
    Run* run = servable(lane, wait);
    if (!run) continue;
    if (!chosen.first || ++lane.passed_over > passed_over_max) chosen = {&lane, run};
  }
  if (chosen.first) chosen.first->passed_over = 0;
  return chosen;
}

void Shipper::read_more(LaneState& lane, Run& run) {
  const std::size_t bytes_max = uplink_.limits().bytes_max;
  const Sequence committed = log_.last_committed();
  if (run.reading || run.bytes_waiting >= bytes_max || run.exhausted(committed)) return;
  // What flies is held in memory too: together they are the bound.
  if (run.bytes_held >= bytes_max * (uplink_.limits().batches_in_flight + 1)) return;
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
  for (Row& row : rows.value()) add_row(*run, std::move(row));
  if (rows.value().empty()) run->next = run->up ? std::max(run->next, through + 1) : run->end - 1;
  pump();
}

// A row may stand across the edge of the run: it was split before a restart, or by the reconnect.
void Shipper::add_row(Run& run, Row row) {
  const Sequence low = std::max(row.first, run.up ? run.next : run.end);
  const Sequence high = std::min(row.last(), run.up ? run.end : run.next);
  if (low > high) return;
  Piece piece;
  piece.row_first = row.first;
  if (low != row.first || high != row.last()) {
    auto part = slice_batch(*row.columns, row.zstd, static_cast<std::size_t>(low - row.first), static_cast<std::size_t>(high - low + 1));
    if (!part.ok()) {
      LOG_ERROR("uplink ", options_.name, ": row ", row.first, ": ", part.status().detail());
    } else {
      row.first = low;
      row.count = static_cast<std::uint32_t>(high - low + 1);
      row.zstd = part.value().zstd;
      row.columns = std::make_shared<const Bytes>(std::move(part.value().bytes));
    }
  }
  if (options_.drain.max_age.count() > 0) {
    std::vector<Record> records;
    std::int64_t newest = INT64_MIN;
    const bool whole = decode_batch(*row.columns, row.zstd, records).ok();
    for (const Record& record : records) newest = std::max(newest, record.trust == TimeTrust::unsynced ? INT64_MAX : record.time.us);
    if (whole && !records.empty()) piece.newest_us = newest;
  }
  run.next = run.up ? high + 1 : low - 1;
  run.bytes_waiting += row.columns->size();
  run.bytes_held += row.columns->size();
  piece.row = std::move(row);
  run.pieces.push_back(std::move(piece));
}

// Nothing expires by a clock that nobody has set, nor soon after it was stepped.
void Shipper::expire(Lane lane, Run& run) {
  const std::int64_t offset = loop_.wall().us - loop_.now().ns / 1000;
  if (std::abs(offset - clock_offset_us_) > step_us) clock_stepped_ = loop_.now();
  clock_offset_us_ = offset;
  if (!options_.clock_trusted() || (clock_stepped_.ns != 0 && loop_.now() - clock_stepped_ < after_step)) return;
  const std::int64_t oldest = loop_.wall().us - to_us(options_.drain.max_age);
  bool any = false;
  for (Piece& piece : run.pieces) {
    if (piece.state != Piece::waiting || piece.newest_us >= oldest) continue;
    piece.state = Piece::expired;
    run.bytes_waiting -= piece.row.columns->size();
    expired_.add(piece.row.count);
    any = true;
  }
  if (any) settle_finished(state_of(lane), run);
}

// ---- sending --------------------------------------------------------------------------------------------------------

bool Shipper::over_rate(std::size_t bytes, double records) const {
  const DrainConfig& drain = options_.drain;
  return (drain.rate_bytes > 0 && static_cast<double>(bytes) > bytes_allowed_.tokens()) || (drain.rate_records > 0 && records > records_allowed_.tokens());
}

void Shipper::send(LaneState& lane, Run& run) {
  Batch batch;
  std::vector<Sequence> row_firsts;
  Flight flight{lane.lane, run.id, {}, loop_.now()};
  std::size_t bytes = 0;
  double records = 0;
  for (Piece& piece : run.pieces) {
    if (piece.state != Piece::waiting) {
      if (!batch.rows.empty()) break;
      continue;
    }
    const std::size_t size = piece.row.columns->size();
    if (!batch.rows.empty() && (bytes + size > batch_bytes_max() || batch.rows.size() >= run.rows_max)) break;
    const bool replay = is_replay(piece.row);
    if (!batch.rows.empty() && (replay != batch.replay || (replay && over_rate(bytes + size, records + piece.row.count)))) break;
    batch.replay = replay;
    bytes += size;
    records += piece.row.count;
    piece.state = Piece::flying;
    flight.firsts.push_back(piece.row.first);
    row_firsts.push_back(piece.row_first);
    batch.rows.push_back(piece.row);
  }
  MILLRACE_CHECK(!batch.rows.empty());  // servable() saw waiting bytes
  if (uplink_.keeps_marker()) batch.marker = marker_after(lane, run, batch, row_firsts);
  run.bytes_waiting -= bytes;
  if (batch.replay) {
    bytes_allowed_.take(static_cast<double>(bytes));
    records_allowed_.take(records);
  }
  const std::uint64_t id = next_flight_++;
  flights_.emplace(id, std::move(flight));
  uplink_.send(std::move(batch), [this, alive = alive_, id](Outcome outcome) {
    if (*alive) on_outcome(id, outcome);
  });
}

void Shipper::send_again(Row row, std::function<void(Outcome)> done) {
  if (!up_ || stopping_ || flights_.size() >= uplink_.limits().batches_in_flight) {
    return loop_.post([done = std::move(done), reason = up_ ? "busy" : down_reason_] { done({Verdict::retryable, {0}, {}, reason}); });
  }
  const std::uint64_t id = next_flight_++;
  flights_.emplace(id, Flight{row.lane, 0, {}, loop_.now()});
  uplink_.send({{std::move(row)}, true, {}}, [this, alive = alive_, id, done = std::move(done)](const Outcome& outcome) {
    if (!*alive) return;
    flights_.erase(id);
    done(outcome);
    pump();
  });
}

void Shipper::on_outcome(std::uint64_t id, const Outcome& outcome) {
  const Flight flight = std::move(flights_.at(id));
  flights_.erase(id);
  LaneState& lane = state_of(flight.lane);
  Run& run = *find_run(flight.lane, flight.run);  // runs do not begin anew while anything flies
  std::vector<bool> is_open(flight.firsts.size());
  if (outcome.verdict != Verdict::acknowledged) {
    for (const std::uint32_t index : outcome.open) is_open.at(index) = true;
  }
  std::vector<Sequence> open;
  for (std::size_t i = 0; i < flight.firsts.size(); ++i) {
    const auto piece = find_piece(run, flight.firsts[i]);
    MILLRACE_CHECK(piece->state == Piece::flying);
    if (is_open[i]) {
      open.push_back(flight.firsts[i]);
      piece->state = Piece::waiting;
      run.bytes_waiting += piece->row.columns->size();
    } else {
      piece->state = Piece::safe;
      records_sent_.add(piece->row.count);
      bytes_sent_.add(piece->row.columns->size());
    }
  }
  const Instant now = loop_.now();
  records_leaving_.observe(static_cast<double>(records_sent_.value()), now);
  switch (outcome.verdict) {
    case Verdict::acknowledged:
      marked_ = uplink_.keeps_marker();
      breaker_.on_success();
      slow_start_ = std::min(slow_start_ * 2, uplink_.limits().bytes_max);
      backoff_.on_success(now);
      blocked_gauge_.set(0);
      trouble_.clear();
      round_trip_.observe(to_seconds(now - flight.sent));
      if (run.rows_max != SIZE_MAX) run.rows_max = run.rows_max > 1024 ? SIZE_MAX : run.rows_max * 2;
      break;
    case Verdict::retryable:
      retries_.add();
      note_trouble(outcome.verdict, outcome.reason);
      if (up_ && !stopping_) {
        breaker_.on_failure(now);
        not_before_ = std::max(not_before_, now + std::max(outcome.retry_after, backoff_.next(rng_)));
      }
      break;
    case Verdict::refused:
      breaker_.on_success();  // the far side works, it is the data
      isolate(run, open, outcome.reason);
      break;
    case Verdict::blocked:
      note_trouble(outcome.verdict, outcome.reason);
      blocked_gauge_.set(1);
      breaker_.open(now, std::max(outcome.retry_after, blocked_for));
      break;
  }
  settle_finished(lane, run);
  pump();
}

void Shipper::note_trouble(Verdict verdict, const std::string& reason) {
  const std::string now = text(verdict_name(verdict), ": ", reason);
  if (now == trouble_) return;
  trouble_ = now;
  if (verdict == Verdict::blocked) LOG_ERROR("uplink ", options_.name, ": ", reason, "; somebody must act, nothing is lost meanwhile");
  else LOG_WARN("uplink ", options_.name, ": ", reason, "; will be sent again");
}

// Halves what was refused: first the number of rows in a batch, then a row, until one record stands alone.
void Shipper::isolate(Run& run, const std::vector<Sequence>& refused, const std::string& reason) {
  if (refused.size() > 1) {
    run.rows_max = std::max<std::size_t>(1, refused.size() / 2);
    return;
  }
  run.rows_max = 1;
  const auto at = find_piece(run, refused.at(0));
  const std::size_t size = at->row.columns->size();
  if (at->row.count > 1) {
    const std::uint32_t half = at->row.count / 2;
    auto low = slice_batch(*at->row.columns, at->row.zstd, 0, half);
    auto high = slice_batch(*at->row.columns, at->row.zstd, half, at->row.count - half);
    if (low.ok() && high.ok()) {
      run.bytes_waiting -= size;
      Piece second = *at;
      at->row.count = half;
      at->row.zstd = low.value().zstd;
      at->row.columns = std::make_shared<const Bytes>(std::move(low.value().bytes));
      second.row.first += half;
      second.row.count -= half;
      second.row.zstd = high.value().zstd;
      second.row.columns = std::make_shared<const Bytes>(std::move(high.value().bytes));
      const std::size_t halves = at->row.columns->size() + second.row.columns->size();
      run.bytes_waiting += halves;
      run.bytes_held += halves - size;
      run.pieces.insert(at + 1, std::move(second));
      return;
    }
    LOG_ERROR("uplink ", options_.name, ": row ", at->row.first, " cannot be split: it goes to the dead lane whole");
  }
  LOG_WARN("uplink ", options_.name, ": record ", at->row.first, " refused: ", reason, "; kept in the dead lane");
  refused_.add(at->row.count);
  run.bytes_waiting -= size;
  at->state = Piece::dead;
  at->reason = reason;
}

Record Shipper::dead_letter(Lane lane, const Piece& piece) const {
  std::vector<Record> records;
  auto detail = std::make_shared<Detail>();
  DeadDetail dead;
  dead.consumer = options_.name;
  dead.reason = shown(piece.reason, 1000);
  dead.channel = lane_name(lane);
  dead.number = piece.row.first;
  dead.source = DeadDetail::Source::uplink;
  Record letter;
  letter.kind = Kind::dead;
  letter.time = loop_.wall();
  letter.trust = TimeTrust::gateway;
  if (decode_batch(*piece.row.columns, piece.row.zstd, records).ok() && records.size() == 1) {
    letter.device = records[0].device;
    letter.metric = records[0].metric;
    dead.payload = encode_record(records[0]);
  } else {
    dead.payload = *piece.row.columns;
    dead.channel += "/batch";
  }
  detail->body = std::move(dead);
  letter.detail = std::move(detail);
  return letter;
}

// Finished rows leave from the front of the run, in one WriteSet: the cursor, the dead letters and the losses move together.
// Downwards the parts of a row leave together, so that the run stays one range.
void Shipper::settle_finished(LaneState& lane, Run& run) {
  WriteSet set;
  LossDetail refused{options_.name, "refused", 0, 0, 0, {}, 0}, expired{options_.name, "expired", 0, 0, 0, {}, 0};
  const auto settle = [&](Range range, std::uint64_t records, How how) {
    WriteSet::Settle* last = set.settles.empty() ? nullptr : &set.settles.back();
    if (!last || last->how != how) {
      set.settles.push_back({options_.name, lane.lane, range, records, how});
      return;
    }
    (run.up ? last->range.last : last->range.first) = run.up ? range.last : range.first;
    last->records += records;
  };
  const auto lose = [](LossDetail& loss, const Row& row) {
    loss.count += row.count;
    loss.first = loss.first ? std::min(loss.first, row.first) : row.first;
    loss.last = std::max(loss.last, row.last());
    if (!add_devices(*row.columns, row.zstd, 0, row.count, loss).ok()) loss.other_devices += row.count;
  };
  while (!run.pieces.empty()) {
    std::size_t together = 1;
    if (!run.up) {
      while (together < run.pieces.size() && run.pieces[together].row_first == run.pieces.front().row_first) ++together;
    }
    const auto end = run.pieces.begin() + static_cast<std::ptrdiff_t>(together);
    if (!std::all_of(run.pieces.begin(), end, [](const Piece& piece) { return piece.finished(); })) break;
    for (std::size_t i = 0; i < together; ++i) {
      const Piece& piece = run.pieces[run.up ? i : together - 1 - i];
      const How how = piece.state == Piece::safe ? How::delivered : piece.state == Piece::dead ? How::dead : How::expired;
      if (how == How::dead) {
        set.records.emplace_back(Lane::dead, dead_letter(lane.lane, piece));
        // A report that is refused is not reported again: that one would be refused too, and so on for ever.
        if (lane.lane != Lane::alarm) lose(refused, piece.row);
      }
      if (how == How::expired) lose(expired, piece.row);
      settle(run.up ? Range{run.edge + 1, piece.row.last()} : Range{piece.row.first, run.edge - 1}, piece.row.count, how);
      run.edge = run.up ? piece.row.last() : piece.row.first;
      run.bytes_held -= piece.row.columns->size();
    }
    run.pieces.erase(run.pieces.begin(), end);
  }
  for (LossDetail* loss : {&refused, &expired}) {
    if (loss->count > 0) set.records.emplace_back(Lane::alarm, loss_record(lane.lane, std::move(*loss), loop_.wall()));
  }
  if (!set.settles.empty()) log_.commit(std::move(set), {});
}

}  // namespace millrace
