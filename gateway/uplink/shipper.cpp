#include "uplink/shipper.h"

#include <algorithm>

#include "base/logger.h"
#include "record/batch.h"
#include "record/record_proto.h"

namespace millrace {
namespace {

constexpr int passed_over_max = 9;  // a waiting lane gets one batch in ten at least
constexpr Duration last_answers = std::chrono::seconds(2);
constexpr Duration blocked_for = std::chrono::seconds(30);

}  // namespace

const char* verdict_name(Verdict verdict) {
  static constexpr const char* names[] = {"acknowledged", "retryable", "refused", "blocked"};
  return names[static_cast<int>(verdict)];
}

Shipper::Shipper(Loop& loop, Log& log, Uplink& uplink, Metrics& metrics, Rng& rng, ShipperOptions options)
    : loop_(loop),
      log_(log),
      uplink_(uplink),
      rng_(rng),
      options_(std::move(options)),
      backoff_(options_.initial_interval, options_.max_interval),
      breaker_(options_.breaker),
      records_sent_(metrics.counter("millrace_uplink_records_total", "Records acknowledged by the far side", {{"uplink", options_.name}})),
      bytes_sent_(metrics.counter("millrace_uplink_bytes_total", "Payload bytes acknowledged by the far side", {{"uplink", options_.name}})),
      retries_(metrics.counter("millrace_uplink_retries_total", "Batches that must be sent again", {{"uplink", options_.name}})),
      refused_(metrics.counter("millrace_uplink_refused_records_total", "Records the far side will never take, kept in the dead lane", {{"uplink", options_.name}})),
      up_gauge_(metrics.gauge("millrace_uplink_up", "Whether the far side can be reached", {{"uplink", options_.name}})),
      backlog_gauge_(metrics.gauge("millrace_uplink_backlog_records", "Records not yet acknowledged", {{"uplink", options_.name}})),
      breaker_gauge_(metrics.gauge("millrace_uplink_breaker_open", "Whether the circuit breaker holds sending back", {{"uplink", options_.name}})),
      blocked_gauge_(metrics.gauge("millrace_uplink_blocked", "Whether somebody must act: credentials, a missing topic", {{"uplink", options_.name}})),
      round_trip_(metrics.histogram("millrace_uplink_round_trip_seconds", "From sending a batch to its acknowledgement", {{"uplink", options_.name}})) {
  std::sort(options_.lanes.begin(), options_.lanes.end());
  log_.subscribe({options_.name, options_.lanes, options_.start_oldest ? Subscription::Start::oldest : Subscription::Start::now});
  for (const Lane lane : options_.lanes) {
    LaneState state;
    state.lane = lane;
    const auto ranges = log_.unsettled(options_.name, lane);
    state.next = ranges.empty() ? log_.last_committed() + 1 : ranges.front().first;
    state.settled_through = state.next - 1;
    lanes_.push_back(std::move(state));
  }
  old_through_ = log_.last_committed();
  Log::Listener listener;
  listener.committed = [this, alive = alive_] {
    if (!*alive) return;
    commits_.emplace_back(log_.last_committed(), loop_.now());
    age_commits();
    pump();
  };
  log_.listen(std::move(listener));
  scrape_ = metrics.before_scrape([this] {
    up_gauge_.set(up_ ? 1 : 0);
    backlog_gauge_.set(static_cast<double>(backlog()));
    breaker_gauge_.set(breaker_.allows(loop_.now()) ? 0 : 1);
  });
}

Status Shipper::start() {
  return uplink_.start([this, alive = alive_](bool up, const std::string& reason) {
    if (!*alive || stopping_) return;
    if (up && !up_) LOG_INFO("uplink ", options_.name, ": connected");
    if (!up && (up_ || reason != down_reason_)) LOG_WARN("uplink ", options_.name, ": ", reason, "; records wait in the log");
    up_ = up;
    down_reason_ = reason;
    if (!up) return;
    // Reached again: the waits were for the connection. A blocked uplink keeps its breaker.
    not_before_ = {};
    pump();
  });
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
  for (const Lane lane : options_.lanes) sum += log_.ledger(options_.name, lane).unsettled();
  return sum;
}

// At each commit, too: in an outage nothing is sent, and what is remembered of commits must not grow with it.
void Shipper::age_commits() {
  while (!commits_.empty() && loop_.now() - commits_.front().second > options_.replay_after) {
    old_through_ = commits_.front().first;
    commits_.pop_front();
  }
}

bool Shipper::is_replay(const Row& row) {
  age_commits();
  return row.last() <= old_through_;
}

Shipper::LaneState& Shipper::state_of(Lane lane) {
  return *std::find_if(lanes_.begin(), lanes_.end(), [lane](const LaneState& state) { return state.lane == lane; });
}

// Pieces lie in number order, and what flies is always among them.
std::deque<Shipper::Piece>::iterator Shipper::find_piece(LaneState& lane, Sequence first) {
  const auto at = std::lower_bound(lane.pieces.begin(), lane.pieces.end(), first, [](const Piece& p, Sequence s) { return p.row.first < s; });
  MILLRACE_CHECK(at != lane.pieces.end() && at->row.first == first);
  return at;
}

void Shipper::pump_after(Duration delay) {
  pump_timer_ = loop_.after(delay, [this] { pump(); });
}

// Sends what may be sent now: everything waits while the uplink is down, after a failure, and while the breaker is open.
void Shipper::pump() {
  if (stopping_ || !up_) return;
  pump_timer_.reset();
  const Instant now = loop_.now();
  if (now < not_before_) return pump_after(not_before_ - now);
  if (!breaker_.allows(now)) return pump_after(breaker_.wait(now));
  const std::size_t flights_max = breaker_.state(now) == Breaker::State::half_open ? 1 : uplink_.limits().batches_in_flight;
  for (LaneState& lane : lanes_) read_more(lane);
  while (flights_.size() < flights_max) {
    LaneState* lane = choose();
    if (!lane) return;
    send(*lane);
    read_more(*lane);
  }
}

// The most urgent lane that has something, unless a lesser one was passed over too often.
Shipper::LaneState* Shipper::choose() {
  LaneState* chosen = nullptr;
  for (LaneState& lane : lanes_) {
    if (lane.bytes_waiting == 0) continue;
    if (lane.rows_max != SIZE_MAX && std::any_of(flights_.begin(), flights_.end(), [&](const auto& f) { return f.second.lane == lane.lane; })) {
      continue;  // isolating: one batch at a time
    }
    if (!chosen) chosen = &lane;
    else if (++lane.passed_over > passed_over_max) chosen = &lane;
  }
  if (chosen) chosen->passed_over = 0;
  return chosen;
}

void Shipper::read_more(LaneState& lane) {
  const std::size_t bytes_max = uplink_.limits().bytes_max;
  if (lane.reading || lane.bytes_waiting >= bytes_max || lane.next > log_.last_committed()) return;
  // What flies is held in memory too: together they are the bound.
  if (lane.bytes_held >= bytes_max * (uplink_.limits().batches_in_flight + 1)) return;
  lane.reading = true;
  const Sequence through = log_.last_committed();
  log_.read(lane.lane, {lane.next, through}, Log::Direction::up, bytes_max,
            [this, alive = alive_, which = lane.lane, through](Result<std::vector<Row>> rows) {
              if (*alive) take_rows(state_of(which), std::move(rows), through);
            });
}

void Shipper::take_rows(LaneState& lane, Result<std::vector<Row>> rows, Sequence through) {
  lane.reading = false;
  if (!rows.ok()) {
    LOG_ERROR("uplink ", options_.name, ": reading the log: ", rows.status().detail());
    not_before_ = loop_.now() + std::chrono::seconds(1);
    if (rows.status().code() == Code::corrupt) {
      // The log has settled what it cannot give: go on behind it.
      const auto ranges = log_.unsettled(options_.name, lane.lane);
      lane.next = std::max(lane.next, ranges.empty() ? through + 1 : ranges.front().first);
    }
    return pump_after(std::chrono::seconds(1));
  }
  for (Row& row : rows.value()) {
    if (row.last() < lane.next) continue;
    if (row.first < lane.next) {  // the cursor stands inside this row: it was split before a restart
      const auto skip = static_cast<std::size_t>(lane.next - row.first);
      auto rest = slice_batch(*row.columns, row.zstd, skip, row.count - skip);
      if (!rest.ok()) {
        LOG_ERROR("uplink ", options_.name, ": row ", row.first, ": ", rest.status().detail());
      } else {
        row.first = lane.next;
        row.count -= static_cast<std::uint32_t>(skip);
        row.zstd = rest.value().zstd;
        row.columns = std::make_shared<const Bytes>(std::move(rest.value().bytes));
      }
    }
    lane.next = row.last() + 1;
    lane.bytes_waiting += row.columns->size();
    lane.bytes_held += row.columns->size();
    Piece piece;
    piece.row = std::move(row);
    lane.pieces.push_back(std::move(piece));
  }
  if (rows.value().empty()) lane.next = std::max(lane.next, through + 1);
  pump();
}

void Shipper::send(LaneState& lane) {
  Batch batch;
  Flight flight{lane.lane, {}, loop_.now()};
  std::size_t bytes = 0;
  for (Piece& piece : lane.pieces) {
    if (piece.state != Piece::waiting) {
      if (!batch.rows.empty()) break;
      continue;
    }
    const std::size_t size = piece.row.columns->size();
    if (!batch.rows.empty() && (bytes + size > uplink_.limits().bytes_max || batch.rows.size() >= lane.rows_max)) break;
    const bool replay = is_replay(piece.row);
    if (!batch.rows.empty() && replay != batch.replay) break;
    batch.replay = replay;
    bytes += size;
    piece.state = Piece::flying;
    flight.firsts.push_back(piece.row.first);
    batch.rows.push_back(piece.row);
  }
  MILLRACE_CHECK(!batch.rows.empty());  // choose() saw waiting bytes
  lane.bytes_waiting -= bytes;
  const std::uint64_t id = next_flight_++;
  flights_.emplace(id, std::move(flight));
  uplink_.send(std::move(batch), [this, alive = alive_, id](Outcome outcome) {
    if (*alive) on_outcome(id, outcome);
  });
}

void Shipper::on_outcome(std::uint64_t id, const Outcome& outcome) {
  const Flight flight = std::move(flights_.at(id));
  flights_.erase(id);
  LaneState& lane = state_of(flight.lane);
  std::vector<bool> is_open(flight.firsts.size());
  if (outcome.verdict != Verdict::acknowledged) {
    for (const std::uint32_t index : outcome.open) is_open.at(index) = true;
  }
  std::vector<Sequence> open;
  for (std::size_t i = 0; i < flight.firsts.size(); ++i) {
    const auto piece = find_piece(lane, flight.firsts[i]);
    MILLRACE_CHECK(piece->state == Piece::flying);
    if (is_open[i]) {
      open.push_back(flight.firsts[i]);
      piece->state = Piece::waiting;
      lane.bytes_waiting += piece->row.columns->size();
    } else {
      piece->state = Piece::safe;
      records_sent_.add(piece->row.count);
      bytes_sent_.add(piece->row.columns->size());
    }
  }
  const Instant now = loop_.now();
  switch (outcome.verdict) {
    case Verdict::acknowledged:
      breaker_.on_success();
      backoff_.on_success(now);
      blocked_gauge_.set(0);
      trouble_.clear();
      round_trip_.observe(to_seconds(now - flight.sent));
      if (lane.rows_max != SIZE_MAX) lane.rows_max = lane.rows_max > 1024 ? SIZE_MAX : lane.rows_max * 2;
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
      isolate(lane, open, outcome.reason);
      break;
    case Verdict::blocked:
      note_trouble(outcome.verdict, outcome.reason);
      blocked_gauge_.set(1);
      breaker_.open(now, std::max(outcome.retry_after, blocked_for));
      break;
  }
  settle_finished(lane);
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
void Shipper::isolate(LaneState& lane, const std::vector<Sequence>& refused, const std::string& reason) {
  if (refused.size() > 1) {
    lane.rows_max = std::max<std::size_t>(1, refused.size() / 2);
    return;
  }
  lane.rows_max = 1;
  const auto at = find_piece(lane, refused.at(0));
  const std::size_t size = at->row.columns->size();
  if (at->row.count > 1) {
    const std::uint32_t half = at->row.count / 2;
    auto low = slice_batch(*at->row.columns, at->row.zstd, 0, half);
    auto high = slice_batch(*at->row.columns, at->row.zstd, half, at->row.count - half);
    if (low.ok() && high.ok()) {
      lane.bytes_waiting -= size;
      Piece second = *at;
      at->row.count = half;
      at->row.zstd = low.value().zstd;
      at->row.columns = std::make_shared<const Bytes>(std::move(low.value().bytes));
      second.row.first += half;
      second.row.count -= half;
      second.row.zstd = high.value().zstd;
      second.row.columns = std::make_shared<const Bytes>(std::move(high.value().bytes));
      const std::size_t halves = at->row.columns->size() + second.row.columns->size();
      lane.bytes_waiting += halves;
      lane.bytes_held += halves - size;
      lane.pieces.insert(at + 1, std::move(second));
      return;
    }
    LOG_ERROR("uplink ", options_.name, ": row ", at->row.first, " cannot be split: it goes to the dead lane whole");
  }
  LOG_WARN("uplink ", options_.name, ": record ", at->row.first, " refused: ", reason, "; kept in the dead lane");
  refused_.add(at->row.count);
  lane.bytes_waiting -= size;
  at->state = Piece::dead;
  at->reason = reason;
}

Record Shipper::dead_letter(const Piece& piece) const {
  std::vector<Record> records;
  auto detail = std::make_shared<Detail>();
  DeadDetail dead{options_.name, piece.reason, lane_name(piece.row.lane), {}, piece.row.first};
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

// Finished rows leave from the front, in one WriteSet: the cursor and the dead letters move together.
void Shipper::settle_finished(LaneState& lane) {
  WriteSet set;
  while (!lane.pieces.empty() && (lane.pieces.front().state == Piece::safe || lane.pieces.front().state == Piece::dead)) {
    Piece& piece = lane.pieces.front();
    const How how = piece.state == Piece::safe ? How::delivered : How::dead;
    if (how == How::dead) set.records.emplace_back(Lane::dead, dead_letter(piece));
    const Range range{lane.settled_through + 1, piece.row.last()};
    lane.settled_through = piece.row.last();
    if (!set.settles.empty() && set.settles.back().how == how) {
      set.settles.back().range.last = range.last;
      set.settles.back().records += piece.row.count;
    } else {
      set.settles.push_back({options_.name, lane.lane, range, piece.row.count, how});
    }
    lane.bytes_held -= piece.row.columns->size();
    lane.pieces.pop_front();
  }
  if (!set.settles.empty()) log_.commit(std::move(set), {});
}

}  // namespace millrace
