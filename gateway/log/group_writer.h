// When a group closes, how it is written, and what follows its commit: heads that are sealed, marks, who is
// told. An alarm closes the group that it is in; of a storm of alarms (a device that connects again and again
// has two each time) the first `alarm_closes_at_once` do, and then one group in each `alarm_closes_every`:
// what a commit costs of flash is not a device's to say. One group is written at a time, by the HeadWriter on
// the log worker: while it is being synced the next one fills. A room of the log (log_parts.h); on the loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "log/log.h"
#include "log/segment.h"
#include "loop/loop.h"

namespace millrace {

struct LogParts;

class GroupWriter {
 public:
  using Done = Log::Done;
  static constexpr int alarm_closes_at_once = 20;
  static constexpr Duration alarm_closes_every = std::chrono::milliseconds(100);
  explicit GroupWriter(LogParts& parts) : p_(parts) {}

  void commit(WriteSet set, Done done);
  void seal(Done done);
  void stop(std::function<void()> done);
  // Closes the open group now or soon, whichever it wants.
  void schedule_close();
  void write();
  // Cursors and the inbox position, as they stand in memory, into the state table.
  void refresh_state();
  void tell_room();
  // To who listens: the group that was closed last can be read.
  void tell_shown();
  // A peer asks for an earlier close.
  void close_sooner() { close_timer_.reset(); }
  void begin_marks_after(std::uint64_t serial) { mark_serial_ = serial; }

  std::shared_ptr<GroupWrite> writing;
  std::vector<Done> writing_dones;
  std::vector<WriteSet::Settle> settles;  // of uplinks, in the group that is being written
  bool coming = false;                    // the last one brought records, not only settles and losses
  bool full = false;                      // inputs are to pause
  std::unique_ptr<Timer> retry_timer;
  std::function<void()> stopped;

 private:
  Status fit_states(WriteSet& set);
  Duration alarm_wait();
  void close();
  bool state_is_in_the_way() const;
  Log::GroupTimes times_of(const GroupWrite& group);
  void number_all(GroupWrite& group);
  void note_numbers(GroupWrite& group);
  void seal_head();
  void fill(GroupWrite& group, bool seal);
  void on_written(const GroupResult& result);
  void onto_fresh_head();
  void on_committed(const GroupResult& result);
  void replace_rebuilt();
  void keep_segment(std::uint32_t id, const Status& fault);
  void amend(const std::string& key);
  Mark mark();
  void mark_soon();
  void on_mark(const Status& status);

  LogParts& p_;
  std::unique_ptr<Timer> close_timer_;
  std::optional<Instant> alarm_due_;  // the open group has an alarm: when that closes it
  Instant alarms_paid_;               // through when closes by alarms are taken already, one in each while
  Log::GroupTimes times_;             // of the group that is being written
  Sequence through_ = 0;              // of the group that is being written
  std::uint64_t records_ = 0;         // over all lives of this log, with it
  Instant state_told_;
  bool left_out_told_ = false;
  // segments that could not be given up, because rows of theirs could not be carried forward
  std::set<std::uint32_t> kept_;
  std::uint64_t mark_serial_ = 0;
  Sequence marked_ = 0;  // what the mark says is durable
  Instant marked_at_;
  std::unique_ptr<Timer> mark_timer_;
};

}  // namespace millrace
