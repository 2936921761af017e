// The log: the only truth. Records enter the open group, the group is committed as one transaction, and
// consumers settle what they have dealt with; nothing changes on disk but through a WriteSet. What it
// promises is in FORMAT.md. Everything here is called, and calls back, on the loop, unless it says otherwise.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "log/settled.h"
#include "record/record.h"

namespace millrace {

// Why a record is settled for a consumer. Each is a column of the ledger.
enum class How : std::uint8_t { delivered, dead, expired, skipped, forgotten, evicted, unreadable };
constexpr std::size_t how_count = 7;
const char* how_name(How how);

struct Row {  // as it lies in the file: checksum checked, not decoded
  Lane lane = Lane::raw;
  Sequence first = 0;
  std::uint32_t count = 0;
  bool zstd = false;
  std::shared_ptr<const Bytes> columns;  // a Batch, proto/record.proto
  Sequence last() const { return first + count - 1; }
};

// Where the inbox stood: `inbox` names the file, so that a fresh one is not mistaken for it.
struct InboxPosition {
  std::uint64_t inbox = 0;
  std::uint64_t position = 0;
};

// Everything that changes on disk changes through one WriteSet: all of it, or none.
struct WriteSet {
  struct Settle {
    std::string consumer;
    Lane lane;
    Range range;            // may span numbers of other lanes
    std::uint64_t records;  // of this lane, in the range
    How how;
  };
  struct State {  // a small durable value under a name; empty bytes remove it
    // Where it finds no room: its set is refused; it becomes a removal; or it leaves the set, and what was
    // saved before stays.
    enum class NoRoom : std::uint8_t { refuses, removed, left_out };
    std::string name;
    Bytes bytes;
    NoRoom no_room = NoRoom::refuses;
  };
  std::vector<std::pair<Lane, Record>> records;  // numbered when the group closes
  std::optional<Record> leads;  // of lane held; numbered before all else in the group, of several the last
  std::vector<Settle> settles;
  std::vector<State> states;
  std::vector<Range> struck;  // dead letters that were dealt with: they are not kept any longer
  std::optional<InboxPosition> inbox_position;
  std::optional<Instant> received;  // when the oldest of the records came; nothing: just now
  bool urgent = false;              // a peer waits for this commit and can send nothing before it
  // A peer waits for this commit to be fsynced: the group closes this soon, and is not withheld from flash.
  std::optional<Duration> within;
};

// A consumer's share. Lanes it does not name are never unsettled for it.
struct Subscription {
  std::string consumer;
  std::vector<Lane> lanes;
  enum class Start { now, oldest } start = Start::now;  // only where no cursor of this name exists
};

struct LaneLedger {
  std::uint64_t admitted = 0;
  std::array<std::uint64_t, how_count> settled{};
  std::uint64_t unsettled() const {
    std::uint64_t sum = 0;
    for (const std::uint64_t n : settled) sum += n;
    return admitted > sum ? admitted - sum : 0;
  }
};

// Dead letters take at most this part of the log: a tenth.
constexpr std::uint64_t dead_share = 10;

struct LogStats {
  std::uint64_t bytes_used = 0, bytes_max = 0;  // -wal included
  std::uint64_t commits = 0, commit_failures = 0;
  std::uint64_t records = 0, row_bytes = 0;  // appended since start
  std::uint64_t withheld_groups = 0,
                unwritten_records = 0;  // commit = "when-unsent": what never touched flash
  std::uint64_t unreadable_rows = 0, evicted_records = 0, files_set_aside = 0;
  std::uint64_t segments = 0;
  std::uint64_t dead_bytes = 0;        // of dead letters that were not dealt with, about
  std::uint64_t number_jumps = 0;      // unclean starts that skipped reserved numbers
  std::uint64_t vanished_records = 0;  // committed, acknowledged by the storage, and gone at start
  std::uint64_t state_bytes = 0, state_bytes_max = 0;  // what pipeline and inputs keep under names
  std::uint64_t refused_states = 0;   // sets that were refused because their states did not fit
  std::uint64_t left_out_states = 0;  // that left their sets for want of room
  std::uint64_t damaged_states = 0;   // entries of the state table that failed their checksum at start
  // too large for a row, or events beyond what the open group or the log holds
  std::uint64_t refused_records = 0;
  std::uint64_t lost_records = 0;         // settled as unreadable, over all consumers
  std::uint64_t row_bytes_max = 4 << 20;  // the largest record that is stored, about
  bool blocked = false;                   // inputs should pause
  std::string trouble;                    // why commits fail; empty when they do not
};

// How the log was found at start.
struct StartReport {
  bool fresh = false;    // there was none
  bool clean = true;     // the last process stopped it
  WallTime last_commit;  // of that process; 0 when not known
};

class Log {
 public:
  using Done = std::function<void(Status)>;
  enum class Direction { up, down };

  virtual ~Log() = default;

  // Joins the open group. `done` runs once the group is fsynced; a group that cannot be written waits and is
  // tried again (stats().trouble says why), so `done` comes late rather than with an error; `closed` only
  // after stop(). Whether its states fit is asked here, and once: nobody need ask before. Those that find no
  // room go as they say themselves (state_room.h); where one of them says so, or the rest is still too much,
  // the set is refused whole: `full`, and nothing of it is taken.
  virtual void commit(WriteSet set, Done done) = 0;
  // Whether records may be added now. When not, `on_room` says when. Settles are always taken.
  virtual bool accepting() const = 0;
  // Why a record of this lane that takes so many bytes (stored_bytes_max) would be refused now, counted and
  // told, as a loss; null: it would be taken. For who can wait with what nobody else asks for: alarms and
  // dead letters (of these the log takes more from whoever does not ask: he has taken what they are of).
  virtual const char* why_not(Lane lane, std::size_t bytes) const = 0;

  // Rows of `lane` that touch `range`, at most about `bytes_max` but at least one if there is one. A damaged
  // segment is salvaged first: what is whole comes, the rest is settled as unreadable and entered in the
  // ledger.
  virtual void read(Lane lane, Range range, Direction direction, std::size_t bytes_max,
                    std::function<void(Result<std::vector<Row>>)> done) = 0;

  // Consumers subscribe before anything is committed. A name that is no longer subscribed keeps its cursor
  // and its data until forget(). Who unsubscribes late takes nothing from a successor of the same name. A
  // lane that the successor does not take is given up, settled as forgotten; one that is new to a name that
  // was there begins with what comes, whatever `start` says.
  using SubscriptionId = std::uint64_t;
  virtual SubscriptionId subscribe(const Subscription& subscription) = 0;
  virtual void unsubscribe(SubscriptionId subscription) = 0;
  virtual void forget(std::string_view consumer) = 0;
  virtual std::vector<std::string> absent_consumers() const = 0;
  // Committed numbers not yet settled, ascending; at most 9 ranges.
  virtual std::vector<Range> unsettled(std::string_view consumer, Lane lane) const = 0;
  // The cursor as it stands, with what is settled but not yet committed.
  virtual SettledSet settled(std::string_view consumer, Lane lane) const = 0;
  // Somebody knows this number already: what comes is numbered behind it.
  virtual void number_behind(Sequence number) = 0;
  // Whether settling this keeps the cursor to its eight ranges. Always so for what begins at the lowest gap.
  virtual bool can_settle(std::string_view consumer, Lane lane, Range range) const = 0;
  virtual LaneLedger ledger(std::string_view consumer, Lane lane) const = 0;

  // All state together takes at most a quarter of the log, for the records' sake; of that a part may be kept
  // free for names of one beginning (LogOptions::state_kept). `full` when these, on top of what there is,
  // would be more; what makes it no larger always fits. For who must know before it
  // commits.
  virtual Status fits(const std::vector<WriteSet::State>& states) const = 0;
  // A durable value as of the last WriteSet that named it; nothing when it was found damaged at start (that
  // is told by name).
  virtual std::optional<Bytes> state(std::string_view name) const = 0;
  virtual std::vector<std::string> states(std::string_view prefix) const = 0;
  // Bytes of records that may be added before accepting() says no, about.
  virtual std::size_t room() const = 0;
  virtual std::optional<InboxPosition> inbox_position() const = 0;

  // Whether the dead letter of this number was struck.
  virtual bool is_struck(Sequence number) const = 0;

  virtual std::uint64_t epoch() const = 0;
  virtual Sequence last_committed() const = 0;
  // Of the group with records that can be read since last: for who hears `committed`.
  struct GroupTimes {
    Sequence through = 0;
    Instant received, committed;  // its oldest record came then; it could be read then
    std::array<std::uint64_t, lane_count> records{};
  };
  virtual const GroupTimes& last_group() const = 0;
  virtual LogStats stats() const = 0;
  virtual StartReport start_report() const = 0;

  struct Listener {
    // The group is about to close: every record of lanes raw and held, in number order. What is added to
    // `more` joins the same group. Records and states only; `more` must not settle.
    std::function<void(Sequence, Lane, const Record&, WriteSet& more)> entering;
    std::function<void()> committed;  // new rows can be read
    std::function<void()> room;       // accepting() became true, or blocked false
    std::function<void()> sealed;     // a segment was sealed: a good moment for snapshots
  };
  using ListenerId = std::uint64_t;
  virtual ListenerId listen(Listener listener) = 0;
  virtual void unlisten(ListenerId listener) = 0;  // not from inside a listener's call
  // Runs on the writer's thread after each fsync: wakes foreign threads that wait for it.
  virtual void on_durable_inbox(std::function<void(InboxPosition)> hook) = 0;

  // Commits what is open, checkpoints, marks the log as cleanly closed. `done` once; nothing may be committed
  // after.
  virtual void stop(std::function<void()> done) = 0;
};

}  // namespace millrace
