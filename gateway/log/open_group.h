// The group that fills: what waits in its lanes, what it will change on disk, and who waits for it. Numbers
// its records when it closes. A room of the log (log_parts.h); on the loop.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "log/log.h"
#include "log/open_lane.h"
#include "log/segment.h"

namespace millrace {

struct LogParts;

class OpenGroup {
 public:
  explicit OpenGroup(LogParts& parts) : p_(parts) {}

  void apply(WriteSet& set);
  void append(Lane lane, const Record& record) {
    std::optional<std::int64_t> unread;
    append(lane, record, unread, Letters::asked_for);
  }
  void settle(const WriteSet::Settle& settle);
  void strike(const std::vector<Range>& struck);
  // Joins what is to be told of the same consumer, lane and reason.
  void add_loss(Lane lane, const LossDetail& more);
  void append_losses();
  // What a process that was killed had not told yet.
  void restore_untold(const Bytes& bytes);
  // Gives the lane's records their numbers and makes the rows; `announce`: to who listens, whose answer goes
  // to `more`.
  void number(Lane lane, std::vector<Row>& rows, bool announce, WriteSet& more);
  std::size_t waiting() const;  // bytes
  bool accepting() const;
  // Why a record of this size is not taken now (Log::why_not). What is offered in a set is asked for no more:
  // its letters have the room that is kept for what they are of.
  enum class Letters : std::uint8_t { asked_for, of_payloads, of_records };
  const char* why_not(Lane lane, std::size_t bytes, Letters letters = Letters::asked_for) const;
  std::size_t room() const;

  OpenLane lanes[lane_count];
  std::optional<Record> leads;
  std::vector<Log::Done> dones;
  bool dirty = false, urgent = false, seal_next = false;
  std::optional<Instant> received;  // when the oldest of its records came
  bool coming = false;              // it brings records, not only settles and losses
  std::optional<Instant> due;       // somebody waits for it to be on flash
  std::vector<GroupWrite::Copy> copies;
  std::vector<std::string> removals;
  std::vector<GroupWrite::Replacement> replacements;
  std::map<std::tuple<std::string, Lane, std::string>, LossDetail> losses;
  // What uplinks settled and nothing else hangs on, with that of what is withheld; and how much that was in
  // all.
  std::vector<WriteSet::Settle> settles;
  std::uint64_t settles_seen = 0;

 private:
  void refuse(Lane lane, const Record& record, const char* reason);
  bool has_room_beside() const;
  bool has_room_for_letter(std::size_t bytes, Letters letters) const;
  bool add_loss(const Record& record);
  void note_untold();
  Row row_of(Lane lane, BatchBuilder& builder, std::int64_t clock_offset_us);
  void append(Lane lane, const Record& record, std::optional<std::int64_t>& clock_offset_us, Letters letters);

  LogParts& p_;
  Instant refusal_told_;
};

}  // namespace millrace
