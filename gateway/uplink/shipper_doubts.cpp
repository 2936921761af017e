// The shipper's dealings with what the far side does not take: refused in words, by hanging up, by silence
// (uplink/suspicion.h).
#include <algorithm>

#include "base/logger.h"
#include "base/text.h"
#include "uplink/shipper.h"

namespace millrace {

// What is known to be too large is not sent: rows are split, records given up. That happens before anything waits for it.
void Shipper::sift(Lane lane, Run& run) {
  bool any = false;
  for (;;) {
    const auto at = std::find_if(run.pieces.begin(), run.pieces.end(), [](const Piece& piece) { return piece.state == Piece::waiting; });
    if (at == run.pieces.end()) break;
    const Suspicion::Part part = part_of(lane, at->row);
    if (!suspicion_.known_too_large(part, loop_.now()) || suspect_in(lane, run)) break;
    if (!part.single() && run.split_off_largest(at) != 0) continue;
    if (suspicion_.on_too_large(part) != Suspicion::Finding::give_up) break;
    bury(run, at, text("not sent: ", part.bytes, " bytes, ", suspicion_.limit_words()));
    any = true;
  }
  if (any) settle(lane, run);
}

// Of those that need a neighbour the one that waits in this run.
std::optional<Suspicion::Part> Shipper::suspect_in(Lane lane, Run& run) const {
  for (const Suspicion::Part& part : suspicion_.waiting_for_neighbours(lane)) {
    if (run.find_waiting(part.range) != run.pieces.end()) return part;
  }
  return {};
}

// The next piece to go: the first that waits; or, where a suspect needs one, a smaller neighbour of it. end(): there is none.
Run::Pieces::iterator Shipper::pick(Lane lane, Run& run, Flight& flight) {
  flight.stands_for = suspect_in(lane, run);
  if (!flight.stands_for) {
    const auto waits = [](const Piece& piece) { return piece.state == Piece::waiting; };
    return std::find_if(run.pieces.begin(), run.pieces.end(), waits);
  }
  // One that is not nearly as large, if there is one: a lane may be full of what is too large.
  const std::size_t below = suspicion_.neighbour_below(*flight.stands_for);
  for (const std::size_t bytes : {below == SIZE_MAX ? below : below / 2, below, below + 1}) {
    const auto at = run.next_beside(flight.stands_for->range.first, bytes);
    if (at != run.pieces.end()) return at;
  }
  return run.pieces.end();
}

// What went down with a connection is looked at together, once all of it has come back. Where something was
// swallowed, the rest only went down with it.
void Shipper::on_lost(const Flight& flight, const Outcome& outcome) {
  LaneState& lane = state_of(flight.lane);
  Run& run = *find_run(flight.lane, flight.run);
  for (const std::uint32_t index : outcome.open) {
    auto& list = outcome.swallowed ? swallowed_ : lost_;
    list.push_back(part_of(flight.lane, run.find(flight.firsts.at(index))->row));
  }
  if (!flights_.empty()) return;
  const std::vector<Suspicion::Part> with_it = std::exchange(lost_, {});
  const std::vector<Suspicion::Part> unanswered = std::exchange(swallowed_, {});
  const std::vector<Suspicion::Part>& lost = unanswered.empty() ? with_it : unanswered;
  const bool controlled = flight.control.count() > 0;
  if (!outcome.hung_up_after && unanswered.empty()) return suspicion_.on_lost(lost, controlled);
  if (flight.stands_for) return on_neighbour(run, *flight.stands_for, false);
  const Duration after = outcome.hung_up_after.value_or(Duration{0});
  const Suspicion::Loss loss{after, controlled, outcome.said_so, !unanswered.empty()};
  const bool was_alone = suspicion_.alone();
  const Suspicion::Finding finding = suspicion_.on_doubt(lost, loss, loop_.now());
  if (!was_alone && suspicion_.alone()) {
    const char* does = unanswered.empty() ? "hangs up on" : "never answers";
    LOG_WARN("uplink ", options_.name, ": the far side ", does,
             " something that is sent to it; one row at a time from here on, until it is found");
  }
  const auto at = lost.size() == 1 ? run.find_waiting(lost[0].range) : run.pieces.end();
  if (at == run.pieces.end()) return;
  if (finding == Suspicion::Finding::split) {
    if (const Sequence second = run.split_off_largest(at); second != 0) suspicion_.cut_at(flight.lane, second);
  } else if (finding == Suspicion::Finding::give_up) {
    bury(run, at, text(outcome.reason, ": ", lost[0].bytes, " bytes; ", suspicion_.limit_words()));
  }
  settle(lane.lane, run);
}

// Something smaller than a suspect passed, or shared its fate.
void Shipper::on_neighbour(Run& run, const Suspicion::Part& suspect, bool passed) {
  if (!passed) {
    if (suspicion_.on_neighbour_failed(suspect) != Suspicion::Finding::blocked) return;
    return block(text("the far side takes no record of lane ", lane_name(suspect.lane),
                      ", however small: its size limit, or the right to publish (", suspicion_.charge(suspect), ")"),
                 {});
  }
  const auto at = run.find_waiting(suspect.range);
  if (at == run.pieces.end()) return;
  std::string reason = suspicion_.charge(suspect);
  if (suspicion_.on_neighbour_passed(suspect, loop_.now()) != Suspicion::Finding::give_up) return;
  if (const std::string limit = suspicion_.limit_words(); !limit.empty()) reason += "; " + limit;
  bury(run, at, reason);
}

// Halves what was refused: first the number of rows in a batch, then a row, until one record stands alone.
void Shipper::isolate(Lane lane, Run& run, const Flight& flight, const std::vector<Sequence>& refused, const Outcome& outcome) {
  if (refused.size() > 1) {
    run.rows_max = std::max<std::size_t>(1, refused.size() / 2);
    return;
  }
  run.rows_max = 1;
  const auto at = run.find(refused.at(0));
  if (at->row.count > 1) {
    if (run.split(at, at->row.count / 2)) return;
    LOG_ERROR("uplink ", options_.name, ": row ", at->row.first, " cannot be split: it goes to the dead lane whole");
  }
  // Where the far side keeps the cursor nothing can go before the first that is open.
  if ((outcome.too_large || outcome.doubtful) && !uplink_.keeps_marker()) {
    if (flight.stands_for) return on_neighbour(run, *flight.stands_for, false);
    if (suspicion_.on_too_large(part_of(lane, at->row), outcome.doubtful ? outcome.reason : "") != Suspicion::Finding::give_up) return;
  }
  bury(run, at, outcome.reason);
}

void Shipper::bury(Run& run, Run::Pieces::iterator at, const std::string& reason) {
  LOG_WARN("uplink ", options_.name, ": record ", at->row.first, " refused: ", reason, "; kept in the dead lane");
  counts_.refused.add(at->row.count);
  run.bytes_waiting -= at->bytes();
  at->state = Piece::dead;
  at->reason = reason;
}

}  // namespace millrace
