#include "uplink/settling.h"

#include "record/fit_letter.h"
#include "record/unsynced.h"
#include "uplink/shipper_options.h"

namespace millrace {

void Settling::settle(Lane lane, Run& run, bool scattered) {
  WriteSet set = settle_finished(run, lane, {options_.consumer(), options_.name}, loop_.wall(), scattered);
  // What a letter tells beside the record may be what is too much for a row, and that record is settled.
  for (auto& [to, record] : set.records) {
    if (to == Lane::dead) make_fit(record, log_.stats().row_bytes_max);
  }
  if (!options_.clock_trusted()) {
    for (auto& [to, record] : set.records) stamp_unsynced(record, options_.boot_id, loop_.now());
  }
  if (!set.settles.empty()) log_.commit(std::move(set), {});
}

void Settling::expire(Lane lane, Run& run) {
  if (options_.drain.max_age.count() == 0) return;
  const auto now = options_.age_clock();
  if (!now) return;
  const std::int64_t oldest = now->us - to_us(options_.drain.max_age);
  bool any = false;
  for (Piece& piece : run.pieces) {
    if (piece.state != Piece::waiting || piece.newest_us >= oldest) continue;
    piece.state = Piece::expired;
    run.bytes_waiting -= piece.bytes();
    expired_.add(piece.row.count);
    isolation_.forget(lane, piece.row);
    any = true;
  }
  if (any) settle(lane, run);
}

void Settling::leave(LaneTurns& lanes) {
  for (ShippingLane& lane : lanes.all()) {
    for (std::size_t i = 0; i < lane.runs.size(); ++i) settle(lane.runs.lane(), lane.runs[i], true);
    lane.runs.plan();
  }
}

void Settling::skip(Lane lane, Range rest) {
  if (!rest.empty()) log_.commit({.settles = {{options_.consumer(), lane, rest, 0, How::skipped}}}, {});
}

}  // namespace millrace
