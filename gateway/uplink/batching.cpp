#include "uplink/batching.h"

#include <algorithm>
#include <utility>

namespace millrace {

std::size_t Batching::flights_max(const Uplink::Limits& limits, bool careful) const {
  if (careful || pace_.starting(limits.bytes_max) || isolation_.suspicion().alone()) return 1;
  return pace_.slow(limits.bytes_max) ? std::min<std::size_t>(limits.batches_in_flight, 2)
                                      : limits.batches_in_flight;
}

Duration Batching::rest_of(const Run& run, const Uplink::Limits& limits, Instant now) const {
  const std::size_t most = limits.bytes_max;
  const bool full = run.bytes_waiting >= (pace_.starting(most) ? most : pace_.batch_bytes(most));
  return full || run.rows_max != SIZE_MAX ? Duration{0} : std::max(run.rests_until - now, Duration{0});
}

Batch Batching::fill(Run& run, Run::Pieces::iterator at, const Uplink::Limits& limits, Flight& flight) {
  Batch batch;
  const bool alone = isolation_.suspicion().alone();
  const std::size_t bytes_max = pace_.batch_bytes(limits.bytes_max);
  double records = 0;
  const bool undated = at != run.pieces.end() && at->undated;
  for (; at != run.pieces.end() && at->state == Piece::waiting; ++at) {
    if (alone && !batch.rows.empty()) break;
    const std::size_t size = cut_for(at->bytes(), flight.bytes, bytes_max, limits);
    if (size < at->bytes()) at = run.cut_to(at, size);
    const Piece& piece = *at;
    if (piece.undated != undated) break;  // it may have to wait (dating.h)
    const std::size_t bytes = flight.bytes + piece.bytes();
    if (!batch.rows.empty() && (bytes > bytes_max || batch.rows.size() >= run.rows_max)) break;
    const bool replay = rate_.is_replay(piece.row, flight.sent);
    if (!batch.rows.empty() &&
        (replay != batch.replay || (replay && rate_.over(bytes, records + piece.row.count))))
      break;
    batch.replay = replay;
    if (alone)
      batch.control = flight.control = isolation_.suspicion().control(part_of(flight.lane, piece.row));
    flight.bytes = bytes;
    records += piece.row.count;
    at->state = Piece::flying;
    flight.firsts.push_back(piece.row.first);
    batch.rows.push_back(piece.row);
  }
  flight.full = flight.bytes * 2 >= bytes_max;
  if (batch.replay) rate_.take(flight.bytes, records);
  run.bytes_waiting -= flight.bytes;
  return batch;
}

// What a row of so many bytes is cut to, behind what a batch has already. Where one batch at a time is on a
// link that needs small ones they are filled, whatever the rows' sizes, or it would rest longer than it need;
// else the parts are equal: fewer wrap less.
std::size_t Batching::cut_for(std::size_t row, std::size_t in_it, std::size_t bytes_max,
                              const Uplink::Limits& limits) const {
  const std::size_t most = pace_.row_bytes();
  if (limits.batches_in_flight > 1 || !pace_.slow(limits.bytes_max)) {
    return in_it == 0 && row > most ? row / (row / most + 1) : row;
  }
  if (in_it == 0) return most;
  const std::size_t left = bytes_max - std::min(bytes_max, in_it);
  return left >= bytes_max / 8 ? left - left / 8 : row;  // small parts wrap more
}

void Batching::on_back(const Flight& flight, const Outcome& outcome, const Uplink::Limits& limits,
                       Instant now) {
  if (flight.control.count() > 0 || outcome.swallowed || outcome.unasked) return;
  const Instant before = std::exchange(answered_, now);
  const Duration took = now - (limits.apart ? flight.sent : std::max(flight.sent, before));
  const bool alone = limits.batches_in_flight == 1;
  if (outcome.verdict == Verdict::acknowledged || (outcome.some && !outcome.late))
    pace_.on_acknowledged(flight.bytes, took, alone, limits.patience);
  else if (outcome.late && (!limits.apart || flight.sent >= late_)) pace_.on_late(flight.bytes);
  if (outcome.late) late_ = now;
}

}  // namespace millrace
