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

bool Shipper::over_rate(std::size_t bytes, double records) const {
  const DrainConfig& drain = options_.drain;
  return (drain.rate_bytes > 0 && static_cast<double>(bytes) > bytes_allowed_.tokens()) || (drain.rate_records > 0 && records > records_allowed_.tokens());
}

// False: nothing was sent; look again at `not_before_`.
bool Shipper::send(LaneState& lane, Run& run) {
  Batch batch;
  Flight flight{lane.lane, run.id, {}, loop_.now()};
  auto at = pick(lane.lane, run, flight);
  if (at == run.pieces.end()) {
    if (suspicion_.no_neighbour(*flight.stands_for)) {
      on_neighbour(run, *flight.stands_for, true);
      settle(lane.lane, run);
      not_before_ = loop_.now();
      return false;
    }
    note_trouble(Verdict::retryable, "a record that the far side does not seem to take stays until something smaller has passed");
    lane.rests_until = loop_.now() + neighbour_wait;
    not_before_ = loop_.now();
    return false;
  }
  const bool alone = suspicion_.alone();
  const std::size_t bytes_max = pace_.batch_bytes(uplink_.limits().bytes_max);
  double records = 0;
  for (; at != run.pieces.end() && at->state == Piece::waiting; ++at) {
    if (alone && !batch.rows.empty()) break;
    const std::size_t size = cut_for(at->bytes(), flight.bytes, bytes_max);
    if (size < at->bytes()) at = run.cut_to(at, size);
    const Piece& piece = *at;
    const std::size_t bytes = flight.bytes + piece.bytes();
    if (!batch.rows.empty() && (bytes > bytes_max || batch.rows.size() >= run.rows_max)) break;
    const bool replay = is_replay(piece.row);
    if (!batch.rows.empty() && (replay != batch.replay || (replay && over_rate(bytes, records + piece.row.count)))) break;
    batch.replay = replay;
    if (alone) batch.control = flight.control = suspicion_.control(part_of(lane.lane, piece.row));
    flight.bytes = bytes;
    records += piece.row.count;
    at->state = Piece::flying;
    flight.firsts.push_back(piece.row.first);
    batch.rows.push_back(piece.row);
  }
  MILLRACE_CHECK(!batch.rows.empty());  // servable() saw waiting bytes
  flight.full = flight.bytes * 2 >= bytes_max;
  if (uplink_.keeps_marker()) batch.marker = marker_after(lane.lane, run, batch);
  run.bytes_waiting -= flight.bytes;
  if (batch.replay) {
    bytes_allowed_.take(static_cast<double>(flight.bytes));
    records_allowed_.take(records);
  }
  const std::uint64_t id = next_flight_++;
  flights_.emplace(id, std::move(flight));
  uplink_.send(std::move(batch), [this, alive = alive_, id](Outcome outcome) {
    if (*alive) on_outcome(id, outcome);
  });
  return true;
}

// What a row of so many bytes is cut to, behind what a batch has already. Where one batch at a time is on a link that
// needs small ones they are filled, whatever the rows' sizes, or it would rest longer than it need; else the parts are
// equal: fewer wrap less.
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
  if (breaker_.state(loop_.now()) == Breaker::State::half_open || pace_.starting(limits.bytes_max) || suspicion_.alone()) {
    return 1;
  }
  return pace_.slow(limits.bytes_max) ? std::min<std::size_t>(limits.batches_in_flight, 2) : limits.batches_in_flight;
}

void Shipper::observe_pace(const Flight& flight, const Outcome& outcome, Instant now) {
  if (flight.control.count() > 0 || outcome.swallowed) return;
  const Uplink::Limits limits = uplink_.limits();
  const Duration took = now - std::max(flight.sent, std::exchange(answered_, now));
  const bool alone = limits.batches_in_flight == 1;
  if (outcome.verdict == Verdict::acknowledged) pace_.on_acknowledged(flight.bytes, took, alone, limits.patience);
  else if (outcome.late) pace_.on_late(flight.bytes);
}

void Shipper::send_again(Row row, std::function<void(Outcome)> done) {
  if (!reach_.up || stopping_ || flights_.size() >= uplink_.limits().batches_in_flight) {
    return loop_.post([done = std::move(done), reason = reach_.up ? "busy" : reach_.reason] {
      done({Verdict::retryable, {0}, {}, reason});
    });
  }
  const std::uint64_t id = next_flight_++;
  flights_.emplace(id, Flight{row.lane, 0, {}, loop_.now(), row.columns->size()});
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
  const bool had_limit = suspicion_.smallest_refused() > 0;
  for (std::size_t i = 0; i < flight.firsts.size(); ++i) {
    const auto piece = run.find(flight.firsts[i]);
    MILLRACE_CHECK(piece->state == Piece::flying);
    if (is_open[i]) {
      open.push_back(flight.firsts[i]);
      piece->state = Piece::waiting;
      run.bytes_waiting += piece->bytes();
    } else {
      suspicion_.on_passed(part_of(flight.lane, piece->row), loop_.now());
      piece->state = Piece::safe;
      counts_.records_sent.add(piece->row.count);
      counts_.bytes_sent.add(piece->bytes());
    }
  }
  if (had_limit && suspicion_.smallest_refused() == 0) LOG_INFO("uplink ", options_.name, ": what was refused for its size passes; the limit is forgotten");
  const Instant now = loop_.now();
  observe_pace(flight, outcome, now);
  records_leaving_.observe(static_cast<double>(counts_.records_sent.value()), now);
  switch (outcome.verdict) {
    case Verdict::acknowledged:
      marked_ = uplink_.keeps_marker();
      breaker_.on_success();
      backoff_.on_success(now);
      if (!flight.full) run.rests_until = now + outcome.rest;
      trouble_.clear();
      counts_.round_trip.observe(to_seconds(now - flight.sent));
      if (run.rows_max != SIZE_MAX) run.rows_max = run.rows_max > 1024 ? SIZE_MAX : run.rows_max * 2;
      break;
    case Verdict::retryable:
      counts_.retries.add();
      note_trouble(outcome.verdict, outcome.reason);
      on_lost(flight, outcome);
      if (reach_.up && !stopping_) {
        // Who looks for a record that cannot pass loses connections on purpose.
        if (!suspicion_.alone()) breaker_.on_failure(now);
        not_before_ = std::max(not_before_, now + std::max(outcome.retry_after, backoff_.next(rng_)));
      }
      break;
    case Verdict::refused:
      breaker_.on_success();  // the far side works, it is the data
      isolate(flight.lane, run, flight, open, outcome);
      break;
    case Verdict::blocked:
      block(outcome.reason, outcome.retry_after);
      break;
  }
  const bool passed = outcome.verdict == Verdict::acknowledged;
  if (flight.stands_for && passed) on_neighbour(run, *flight.stands_for, true);
  settle(lane.lane, run);
  pump();
}

void Shipper::block(const std::string& reason, Duration retry_after) {
  note_trouble(Verdict::blocked, reason);
  breaker_.open(loop_.now(), std::max(retry_after, blocked_for));
}

void Shipper::note_trouble(Verdict verdict, const std::string& reason) {
  const std::string now = text(verdict_name(verdict), ": ", reason);
  if (now == trouble_) return;
  // What needs a person stays until something passes, whatever else happens in between.
  if (verdict != Verdict::blocked && trouble_.starts_with(verdict_name(Verdict::blocked))) return;
  trouble_ = now;
  if (verdict == Verdict::blocked) LOG_ERROR("uplink ", options_.name, ": ", reason, "; somebody must act, nothing is lost meanwhile");
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
