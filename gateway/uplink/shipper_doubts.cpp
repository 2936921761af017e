// The shipper's dealings with what the far side does not take: refused in words, or by hanging up (uplink/suspicion.h).
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
    if (!suspicion_.known_too_large(part, loop_.now()) || suspicion_.needs_neighbour(lane)) break;
    if (!part.single() && run.split_off_largest(at) != 0) continue;
    if (suspicion_.on_too_large(part) != Suspicion::Finding::give_up) break;
    bury(run, at, text("not sent: ", part.bytes, " bytes, ", suspicion_.limit_words()));
    any = true;
  }
  if (any) settle(lane, run);
}

// The next piece to go: the first that waits; or, where a suspect needs one, a smaller neighbour of it. end(): there is none.
Run::Pieces::iterator Shipper::pick(Lane lane, Run& run, Flight& flight) {
  const auto suspect = suspicion_.needs_neighbour(lane);
  const auto held = suspect ? run.find_waiting(suspect->range) : run.pieces.end();
  if (held == run.pieces.end()) {
    return std::find_if(run.pieces.begin(), run.pieces.end(), [](const Piece& piece) { return piece.state == Piece::waiting; });
  }
  flight.neighbour = true;
  // One that is not nearly as large, if there is one: a lane may be full of what is too large.
  const std::size_t below = suspicion_.neighbour_below(lane);
  for (const std::size_t bytes : {below == SIZE_MAX ? below : below / 2, below, below + 1}) {
    const auto at = run.next_beside(suspect->range.first, bytes);
    if (at != run.pieces.end()) return at;
  }
  return run.pieces.end();
}

// What went down with a connection is looked at together, once all of it has come back.
void Shipper::on_lost(const Flight& flight, const Outcome& outcome) {
  LaneState& lane = state_of(flight.lane);
  Run& run = *find_run(flight.lane, flight.run);
  for (const std::uint32_t index : outcome.open) lost_.push_back(part_of(flight.lane, run.find(flight.firsts.at(index))->row));
  if (!flights_.empty()) return;
  const std::vector<Suspicion::Part> lost = std::exchange(lost_, {});
  if (!outcome.hung_up_after) return suspicion_.on_lost(lost, flight.control.count() > 0);
  if (flight.neighbour) return on_neighbour(flight.lane, run, false);
  const Suspicion::Loss loss{*outcome.hung_up_after, flight.control.count() > 0, outcome.said_so};
  const bool was_alone = suspicion_.alone();
  const Suspicion::Finding finding = suspicion_.on_hang_up(lost, loss, loop_.now());
  if (!was_alone && suspicion_.alone()) {
    LOG_WARN("uplink ", options_.name, ": the far side hangs up on something that is sent to it; one row at a time from here on, until it is found");
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
void Shipper::on_neighbour(Lane lane, Run& run, bool passed) {
  if (!passed) {
    if (suspicion_.on_neighbour_failed(lane) != Suspicion::Finding::blocked) return;
    return block(text("the far side takes no record of lane ", lane_name(lane), ", however small: its size limit, or the right to publish"), {});
  }
  const auto suspect = suspicion_.needs_neighbour(lane);
  const auto at = suspect ? run.find_waiting(suspect->range) : run.pieces.end();
  if (at == run.pieces.end()) return;
  const int losses = suspicion_.losses_of(*suspect);
  (void)suspicion_.on_neighbour_passed(lane, loop_.now());
  std::string reason = losses == 0 ? text("refused for its size: ", suspect->bytes, " bytes")
                                   : text("refused by hanging up: ", suspect->bytes, " bytes ended ", losses, " good connections, and smaller ones pass");
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
  if (outcome.too_large && !uplink_.keeps_marker()) {
    if (flight.neighbour) return on_neighbour(lane, run, false);
    if (suspicion_.on_too_large(part_of(lane, at->row)) != Suspicion::Finding::give_up) return;
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
