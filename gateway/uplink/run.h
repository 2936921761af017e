// A way through a lane, and the rows held on it: which wait, which are on their way, which are finished.
// Upwards from `next`, or downwards to `end`; what is finished leaves from the front, in the order of the
// run. Pure: knows no log and no far side.
#pragma once

#include <deque>
#include <string>

#include "log/log.h"
#include "uplink/uplink.h"

namespace millrace {

// A row on its way, or a part of one that was split.
struct Piece {
  enum State : std::uint8_t { waiting, flying, safe, dead, expired } state = waiting;
  Row row;
  std::int64_t newest_us = INT64_MAX;  // of its trusted times, when records may expire
  std::string reason;                  // why it is dead
  std::uint32_t skipped = 0;           // of a safe one: records that were passed over
  bool undated = false;                // it has stamps that may still be corrected (dating.h)
  bool finished() const { return state == safe || state == dead || state == expired; }
  std::size_t bytes() const { return row.columns->size(); }
};

struct Run {
  using Pieces = std::deque<Piece>;

  std::uint64_t id = 0;
  bool up = true;
  Sequence next = 1;          // the first number not yet read
  Sequence end = UINT64_MAX;  // the last one of the run
  Sequence edge = 0;  // settled up to here (upwards: included; downwards: this is the lowest settled one)
  Pieces pieces;      // in the order of the run, the parts of a row too
  std::size_t bytes_waiting = 0, bytes_held = 0;  // not yet sent; in memory altogether
  std::size_t rows_max = SIZE_MAX;  // of one batch; smaller while a poison record is being isolated
  bool reading = false;
  Instant rests_until;  // less than a full batch waits until then
  Duration rest{};      // from one such batch to the next, as the far side asked for last

  bool exhausted(Sequence committed) const {
    return up ? next > std::min(end, committed) : next < end || next == 0;
  }
  // The piece that begins with this number, which is there.
  Pieces::iterator find(Sequence first);
  // Takes in a row as the log gave it, or the part of it that is still to be sent: it may stand across the
  // edge of the run, because it was split before a restart or by the reconnect. Not ok: its bytes cannot be
  // read, it is taken in whole.
  Status add(Row row, bool look_at_times, bool undated = false);
  // Cuts a waiting piece in two, the lower with `low` of its records. False, and nothing changed: its bytes
  // cannot be read.
  bool split(Pieces::iterator at, std::uint32_t low);
  // Cuts a waiting piece so that what stands in its place now has about so many bytes, one record at least;
  // where it cannot be cut nothing changes.
  Pieces::iterator cut_to(Pieces::iterator at, std::size_t bytes);
  // The same, so that the largest of its records soon stands alone: beside it where it is most of the piece,
  // else in the middle. Returns the number the upper one begins with; 0: it cannot be cut.
  Sequence split_off_largest(Pieces::iterator at);
  // Makes a waiting piece begin with this number, where one holds it.
  void cut_at(Sequence first);
  // The first piece that waits; or end().
  Pieces::iterator first_waiting();
  // A waiting piece that is exactly this; or end().
  Pieces::iterator find_waiting(Range range);
  // The next waiting piece beside the one that begins with `other`, split until it has less than `bytes`; or
  // end().
  Pieces::iterator next_beside(Sequence other, std::size_t bytes);
  // What is settled above or below the edge once `batch`, the first that is open, is acknowledged.
  Range settled_with(const Batch& batch) const;
};

// Out of whose cursor something went, and who sent it: for a standby not the same.
struct Sender {
  std::string consumer, uplink;
};
// Takes the finished pieces from the front of the run: what the log is to be told of them, in one WriteSet:
// the cursor, the dead letters and the losses move together. `scattered`: also those behind something open,
// which leave no gap in the run: it is not to be used any more.
WriteSet settle_finished(Run& run, Lane lane, const Sender& sender, WallTime wall, bool scattered = false);

}  // namespace millrace
