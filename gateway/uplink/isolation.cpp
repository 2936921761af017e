#include "uplink/isolation.h"

#include <algorithm>
#include <utility>

#include "base/logger.h"
#include "base/text.h"

namespace millrace {
void Isolation::on_passed(Lane lane, const Row& row, Instant now) {
  const bool had_limit = suspicion_.smallest_refused() > 0;
  suspicion_.on_passed(part_of(lane, row), now);
  if (had_limit && suspicion_.smallest_refused() == 0)
    LOG_INFO("uplink ", uplink_, ": what was refused for its size passes; the limit is forgotten");
}

void Isolation::cut_again(Lane lane, Run& run) const {
  for (const auto& [of, first] : suspicion_.cuts()) {
    if (of == lane) run.cut_at(first);
  }
}

// ---- before something is sent

bool Isolation::sift(Lane lane, Run& run, Instant now) {
  bool any = false;
  for (;;) {
    const auto at = run.first_waiting();
    if (at == run.pieces.end()) break;
    const Suspicion::Part part = part_of(lane, at->row);
    if (!suspicion_.known_too_large(part, now) || suspect_in(lane, run)) break;
    if (!part.single() && run.split_off_largest(at) != 0) continue;
    if (suspicion_.on_too_large(part) != Suspicion::Finding::give_up) break;
    bury(run, at, text("not sent: ", part.bytes, " bytes, ", suspicion_.limit_words()));
    any = true;
  }
  return any;
}

std::optional<Suspicion::Part> Isolation::suspect_in(Lane lane, Run& run) const {
  for (const Suspicion::Part& part : suspicion_.waiting_for_neighbours(lane)) {
    if (run.find_waiting(part.range) != run.pieces.end()) return part;
  }
  return {};
}

Run::Pieces::iterator Isolation::pick(Run& run, Trip& trip) const {
  trip.stands_for = suspect_in(trip.lane, run);
  if (!trip.stands_for) return run.first_waiting();
  // One that is not nearly as large, if there is one: a lane may be full of what is too large.
  const std::size_t below = suspicion_.neighbour_below(*trip.stands_for);
  for (const std::size_t bytes : {below == SIZE_MAX ? below : below / 2, below, below + 1}) {
    const auto at = run.next_beside(trip.stands_for->range.first, bytes);
    if (at != run.pieces.end()) return at;
  }
  return run.pieces.end();
}

bool Isolation::without_neighbour(Run& run, const Suspicion::Part& suspect, Instant now) {
  if (!suspicion_.no_neighbour(suspect)) return false;
  on_neighbour(run, suspect, true, now);
  return true;
}

// ---- when it came back

// What went down with a connection is looked at together. Where something was swallowed, the rest only went
// down with it.
void Isolation::on_lost(Run& run, const Trip& trip, const Outcome& outcome, bool all_back, bool apart,
                        Instant now) {
  for (const std::uint32_t index : outcome.open) {
    auto& list = outcome.swallowed ? swallowed_ : lost_;
    list.push_back(part_of(trip.lane, run.find(trip.firsts.at(index))->row));
  }
  if (!all_back && !apart) return;
  const std::vector<Suspicion::Part> with_it = std::exchange(lost_, {});
  const std::vector<Suspicion::Part> unanswered = std::exchange(swallowed_, {});
  const std::vector<Suspicion::Part>& lost = unanswered.empty() ? with_it : unanswered;
  const bool controlled = trip.control.count() > 0;
  if (!outcome.hung_up_after && unanswered.empty()) return suspicion_.on_lost(lost, controlled, apart);
  if (trip.stands_for) return on_neighbour(run, *trip.stands_for, false, now);
  const Suspicion::Loss loss{outcome.hung_up_after.value_or(Duration{0}), controlled, outcome.said_so,
                             !unanswered.empty(), apart};
  const bool was_alone = suspicion_.alone();
  const Suspicion::Finding finding = suspicion_.on_doubt(lost, loss, now);
  if (!was_alone && suspicion_.alone()) {
    const char* does = unanswered.empty() ? "hangs up on" : "never answers";
    LOG_WARN("uplink ", uplink_, ": the far side ", does,
             " something that is sent to it; one row at a time from here on, until it is found");
  }
  const auto at = lost.size() == 1 ? run.find_waiting(lost[0].range) : run.pieces.end();
  if (at == run.pieces.end()) return;
  if (finding == Suspicion::Finding::split) {
    if (const Sequence second = run.split_off_largest(at); second != 0) suspicion_.cut_at(trip.lane, second);
  } else if (finding == Suspicion::Finding::give_up) {
    bury(run, at, text(outcome.reason, ": ", lost[0].bytes, " bytes; ", suspicion_.limit_words()));
  }
}

void Isolation::on_neighbour(Run& run, const Suspicion::Part& suspect, bool passed, Instant now) {
  if (!passed) {
    if (suspicion_.on_neighbour_failed(suspect) != Suspicion::Finding::blocked) return;
    return blocked_(text("the far side takes no record of lane ", lane_name(suspect.lane),
                         ", however small: its size limit, or the right to publish (",
                         suspicion_.charge(suspect), ")"));
  }
  const auto at = run.find_waiting(suspect.range);
  if (at == run.pieces.end()) return;
  std::string reason = suspicion_.charge(suspect);
  if (suspicion_.on_neighbour_passed(suspect, now) != Suspicion::Finding::give_up) return;
  if (const std::string limit = suspicion_.limit_words(); !limit.empty()) reason += "; " + limit;
  bury(run, at, reason);
}

void Isolation::on_refused(Run& run, const Trip& trip, const std::vector<Sequence>& refused,
                           const Outcome& outcome, bool in_order) {
  if (refused.size() > 1) {
    // Another that was on its way beside it may have been refused before.
    run.rows_max = std::min(run.rows_max, std::max<std::size_t>(1, refused.size() / 2));
    return;
  }
  run.rows_max = 1;
  const auto at = run.find(refused.at(0));
  if (at->row.count > 1) {
    if (run.split(at, at->row.count / 2)) return;
    LOG_ERROR("uplink ", uplink_, ": row ", at->row.first,
              " cannot be split: it goes to the dead lane whole");
  }
  if ((outcome.too_large || outcome.doubtful) && !in_order) {
    if (trip.stands_for) return on_neighbour(run, *trip.stands_for, false, {});
    if (suspicion_.on_too_large(part_of(trip.lane, at->row), outcome.doubtful ? outcome.reason : "") !=
        Suspicion::Finding::give_up)
      return;
  }
  bury(run, at, outcome.reason);
}

void Isolation::bury(Run& run, Run::Pieces::iterator at, const std::string& reason) {
  LOG_WARN("uplink ", uplink_, ": record ", at->row.first, " refused: ", reason,
           "; it goes to the dead lane");
  refused_.add(at->row.count);
  run.bytes_waiting -= at->bytes();
  at->state = Piece::dead;
  at->reason = reason;
}

}  // namespace millrace
