// The shipper's sending: what goes into a batch, how many are on their way, what becomes of them.
#include <algorithm>

#include "base/logger.h"
#include "base/text.h"
#include "record/unsynced.h"
#include "uplink/shipper.h"

namespace millrace {
namespace {

constexpr Duration blocked_for = std::chrono::seconds(30);
constexpr Duration neighbour_wait = std::chrono::seconds(5);

}  // namespace

// False: nothing was sent; look again at `not_before_`.
bool Shipper::send(LaneState& lane, Run& run) {
  Flight flight;
  flight.lane = lane.runs.lane();
  flight.run = run.id;
  flight.sent = loop_.now();
  const auto from = isolation_.pick(run, flight);
  if (from == run.pieces.end()) return send_nothing(lane, run, *flight.stands_for);
  Batch batch = fill(lane, run, from, flight);
  MILLRACE_CHECK(!batch.rows.empty());  // servable() saw waiting bytes
  if (uplink_.keeps_marker()) batch.marker = far_.after(lane_names_, flight.lane, run, batch);
  run.bytes_waiting -= flight.bytes;
  const std::uint64_t id = next_flight_++;
  flights_.emplace(id, std::move(flight));
  uplink_.send(std::move(batch), [this, alive = alive_, id](Outcome outcome) {
    if (*alive) on_outcome(id, outcome);
  });
  return true;
}

// What is in question needs a neighbour, and there is none.
bool Shipper::send_nothing(LaneState& lane, Run& run, const Suspicion::Part& suspect) {
  not_before_ = loop_.now();
  if (isolation_.without_neighbour(run, suspect, loop_.now())) {
    settle(lane.runs.lane(), run);
    return false;
  }
  note_trouble(Verdict::retryable,
               "a record that the far side does not seem to take stays until something smaller has passed");
  lane.rests_until = loop_.now() + neighbour_wait;
  return false;
}

// As many of the waiting rows from here on as a batch takes: live ones and backlog never in one.
Batch Shipper::fill(LaneState& lane, Run& run, Run::Pieces::iterator at, Flight& flight) {
  Batch batch;
  const bool alone = isolation_.suspicion().alone();
  const std::size_t bytes_max = pace_.batch_bytes(uplink_.limits().bytes_max);
  double records = 0;
  for (; at != run.pieces.end() && at->state == Piece::waiting; ++at) {
    if (alone && !batch.rows.empty()) break;
    const std::size_t size = cut_for(at->bytes(), flight.bytes, bytes_max);
    if (size < at->bytes()) at = run.cut_to(at, size);
    const Piece& piece = *at;
    const std::size_t bytes = flight.bytes + piece.bytes();
    if (!batch.rows.empty() && (bytes > bytes_max || batch.rows.size() >= run.rows_max)) break;
    const bool replay = rate_.is_replay(piece.row, loop_.now());
    if (!batch.rows.empty() &&
        (replay != batch.replay || (replay && rate_.over(bytes, records + piece.row.count))))
      break;
    batch.replay = replay;
    if (alone)
      batch.control = flight.control = isolation_.suspicion().control(part_of(lane.runs.lane(), piece.row));
    flight.bytes = bytes;
    records += piece.row.count;
    at->state = Piece::flying;
    flight.firsts.push_back(piece.row.first);
    batch.rows.push_back(piece.row);
  }
  flight.full = flight.bytes * 2 >= bytes_max;
  if (batch.replay) rate_.take(flight.bytes, records);
  return batch;
}

// What a row of so many bytes is cut to, behind what a batch has already. Where one batch at a time is on a
// link that needs small ones they are filled, whatever the rows' sizes, or it would rest longer than it need;
// else the parts are equal: fewer wrap less.
std::size_t Shipper::cut_for(std::size_t row, std::size_t in_it, std::size_t bytes_max) const {
  const Uplink::Limits limits = uplink_.limits();
  const std::size_t most = pace_.row_bytes();
  if (limits.batches_in_flight > 1 || !pace_.slow(limits.bytes_max)) {
    return in_it == 0 && row > most ? row / (row / most + 1) : row;
  }
  if (in_it == 0) return most;
  const std::size_t left = bytes_max - std::min(bytes_max, in_it);
  return left >= bytes_max / 8 ? left - left / 8 : row;  // small parts wrap more
}

// One batch at a time after failures and until the link is known; two where the link is what bounds them.
std::size_t Shipper::flights_max() const {
  const Uplink::Limits limits = uplink_.limits();
  if (breaker_.state(loop_.now()) == Breaker::State::half_open || pace_.starting(limits.bytes_max) ||
      isolation_.suspicion().alone()) {
    return 1;
  }
  return pace_.slow(limits.bytes_max) ? std::min<std::size_t>(limits.batches_in_flight, 2)
                                      : limits.batches_in_flight;
}

void Shipper::observe_pace(const Flight& flight, const Outcome& outcome, Instant now) {
  if (flight.control.count() > 0 || outcome.swallowed) return;
  const Uplink::Limits limits = uplink_.limits();
  const Duration took = now - std::max(flight.sent, std::exchange(answered_, now));
  const bool alone = limits.batches_in_flight == 1;
  if (outcome.verdict == Verdict::acknowledged)
    pace_.on_acknowledged(flight.bytes, took, alone, limits.patience);
  else if (outcome.late) pace_.on_late(flight.bytes);
}

void Shipper::send_again(Row row, std::function<void(Outcome)> done) {
  if (!reach_.up || stopping_ || flights_.size() >= uplink_.limits().batches_in_flight) {
    return loop_.post([done = std::move(done), reason = reach_.up ? "busy" : reach_.reason] {
      done({Verdict::retryable, {0}, {}, reason});
    });
  }
  const std::uint64_t id = next_flight_++;
  Flight& flight = flights_[id];
  flight.lane = row.lane;
  flight.sent = loop_.now();
  flight.bytes = row.columns->size();
  uplink_.send({{std::move(row)}, true, {}},
               [this, alive = alive_, id, done = std::move(done)](const Outcome& outcome) {
                 if (!*alive) return;
                 flights_.erase(id);
                 done(outcome);
                 pump();
               });
}

// ---- what becomes of it
// ---------------------------------------------------------------------------------------------

// What is open waits again, the rest is safe. The numbers that open rows begin with.
std::vector<Sequence> Shipper::take_back(const Flight& flight, const Outcome& outcome, Run& run) {
  std::vector<bool> is_open(flight.firsts.size());
  if (outcome.verdict != Verdict::acknowledged) {
    for (const std::uint32_t index : outcome.open) is_open.at(index) = true;
  }
  std::vector<Sequence> open;
  for (std::size_t i = 0; i < flight.firsts.size(); ++i) {
    const auto piece = run.find(flight.firsts[i]);
    MILLRACE_CHECK(piece->state == Piece::flying);
    if (is_open[i]) {
      open.push_back(flight.firsts[i]);
      piece->state = Piece::waiting;
      run.bytes_waiting += piece->bytes();
      continue;
    }
    isolation_.on_passed(flight.lane, piece->row, loop_.now());
    piece->state = Piece::safe;
    latency_.on_acknowledged(flight.lane, piece->row, flight.sent, loop_.now());
    counts_.records_sent.add(piece->row.count);
    counts_.bytes_sent.add(piece->bytes());
  }
  return open;
}

void Shipper::on_outcome(std::uint64_t id, const Outcome& outcome) {
  const Flight flight = std::move(flights_.at(id));
  flights_.erase(id);
  Run& run = *state_of(flight.lane).runs.find(flight.run);  // runs do not begin anew while anything flies
  const std::vector<Sequence> open = take_back(flight, outcome, run);
  const Instant now = loop_.now();
  observe_pace(flight, outcome, now);
  rate_.on_sent(static_cast<double>(counts_.records_sent.value()), now);
  switch (outcome.verdict) {
    case Verdict::acknowledged:
      if (uplink_.keeps_marker()) far_.on_acknowledged();
      breaker_.on_success();
      backoff_.on_success(now);
      if (!flight.full) run.rests_until = now + outcome.rest;
      trouble_.clear();
      counts_.round_trip.observe(to_seconds(now - flight.sent));
      if (run.rows_max != SIZE_MAX) run.rows_max = run.rows_max > 1024 ? SIZE_MAX : run.rows_max * 2;
      if (flight.stands_for) isolation_.on_neighbour(run, *flight.stands_for, true, now);
      break;
    case Verdict::retryable:
      counts_.retries.add();
      latency_.on_trouble();
      note_trouble(outcome.verdict, outcome.reason);
      isolation_.on_lost(run, flight, outcome, flights_.empty(), now);
      if (reach_.up && !stopping_) {
        // Who looks for a record that cannot pass loses connections on purpose.
        if (!isolation_.suspicion().alone()) breaker_.on_failure(now);
        not_before_ = std::max(not_before_, now + std::max(outcome.retry_after, backoff_.next(rng_)));
      }
      break;
    case Verdict::refused:
      breaker_.on_success();  // the far side works, it is the data
      // Where the far side keeps the cursor nothing can go before the first that is open.
      isolation_.on_refused(run, flight, open, outcome, uplink_.keeps_marker());
      break;
    case Verdict::blocked: block(outcome.reason, outcome.retry_after); break;
  }
  settle(flight.lane, run);
  pump();
  look_at_latency();
}

void Shipper::block(const std::string& reason, Duration retry_after) {
  latency_.on_trouble();
  note_trouble(Verdict::blocked, reason);
  breaker_.open(loop_.now(), std::max(retry_after, blocked_for));
}

void Shipper::note_trouble(Verdict verdict, const std::string& reason) {
  const std::string now = text(verdict_name(verdict), ": ", reason);
  if (now == trouble_) return;
  // What needs a person stays until something passes, whatever else happens in between.
  if (verdict != Verdict::blocked && trouble_.starts_with(verdict_name(Verdict::blocked))) return;
  trouble_ = now;
  if (verdict == Verdict::blocked)
    LOG_ERROR("uplink ", options_.name, ": ", reason, "; somebody must act, nothing is lost meanwhile");
  else LOG_WARN("uplink ", options_.name, ": ", reason, "; will be sent again");
}

void Shipper::settle(Lane lane, Run& run) {
  WriteSet set = settle_finished(run, lane, options_.name, loop_.wall());
  if (!options_.clock_trusted()) {
    for (auto& [to, record] : set.records) stamp_unsynced(record, options_.boot_id, loop_.now());
  }
  if (!set.settles.empty()) log_.commit(std::move(set), {});
}

}  // namespace millrace
