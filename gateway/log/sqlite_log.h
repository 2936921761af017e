// The Log on SQLite segments. This half lives on the loop: it holds cursors, the segment table and the open group in
// memory, decides when a group closes, and hands complete groups to the HeadWriter on the log worker, one at a time:
// while one is being synced the next one fills. Files and SQL are in segment.{h,cpp}. Seven sources: the life of a
// group (sqlite_log.cpp), the start (.._start), reading and space (.._space), loss and mending (.._loss), holding back (.._hold),
// what is done while nothing can be written (.._trouble), what people ask for (.._care).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "loop/loop.h"
#include "log/held_journal.h"
#include "log/log.h"
#include "log/open_lane.h"
#include "log/segment.h"
#include "log/settle_note.h"
#include "log/state_file.h"

namespace millrace {

constexpr std::uint64_t reserve_block = 1 << 20;  // numbers are reserved in blocks of this

constexpr int read_failures_max = 5;            // of one file, before what cannot be read of it is given up

enum class WhenFull : std::uint8_t { evict, block };

struct LogOptions {
  std::uint64_t bytes_max = 512 << 20;
  std::uint64_t segment_bytes = 0;        // 0: a sixteenth of bytes_max, 64 KiB to 16 MiB
  std::uint64_t state_bytes_max = UINT64_MAX;  // what pipeline and inputs may keep under names, all together
  std::uint64_t inbox_bytes = 4 << 20;    // what must still fit when inputs have been told to pause
  Duration commit_interval = std::chrono::seconds(1);
  std::size_t group_bytes = 64 << 10;
  std::size_t open_bytes_max = 1 << 20;   // what may wait while a group is being synced
  // A row before compression, and so the largest record: an eighth of bytes_max where that is less. Readers take 16 MiB.
  std::size_t row_bytes_max = 4 << 20;
  std::size_t cache_bytes = 1 << 20;      // newest rows kept in memory for the shippers
  WhenFull when_full = WhenFull::evict;
  // commit = "when-unsent": groups are held back while the uplinks keep up, at most `unsent_max`, in a journal in this
  // folder (on tmpfs). What a killed process held there is taken over, whether or not this one holds anything back.
  bool hold_back = false;
  Folder* held_folder = nullptr;
  Duration unsent_max = std::chrono::seconds(10);
  Duration mark_interval = std::chrono::seconds(10);  // at most this old is the high-water mark; each costs a page of flash
  Duration retry_min = std::chrono::milliseconds(200), retry_max = std::chrono::seconds(10);
  std::uint64_t boot_id = 0;
  std::function<bool()> clock_trusted = [] { return true; };   // whether stamps of ours can be believed
  std::function<bool()> clock_settled = [] { return false; };  // and could be for a while: later starts go by what it says
  std::string vfs;                        // SQLite's default when empty
};

class SqliteLog final : public Log {
 public:
  // Opens the newest segment of `folder` or starts a new log. What is damaged is salvaged, never an error: fails only when
  // the folder itself cannot be used, or with `newer` when a later version wrote it (nothing was touched then). `seed`
  // draws the epoch of a new log. Runs SQL on this thread, once.
  static Result<std::unique_ptr<SqliteLog>> open(Loop& loop, Folder& folder, const LogOptions& options, std::uint64_t seed);
  ~SqliteLog() override;

  void commit(WriteSet set, Done done) override;
  bool accepting() const override;
  void read(Lane lane, Range range, Direction direction, std::size_t bytes_max,
            std::function<void(Result<std::vector<Row>>)> done) override;
  SubscriptionId subscribe(const Subscription& subscription) override;
  void unsubscribe(SubscriptionId subscription) override;
  void forget(std::string_view consumer) override;
  std::vector<std::string> absent_consumers() const override;
  std::vector<Range> unsettled(std::string_view consumer, Lane lane) const override;
  SettledSet settled(std::string_view consumer, Lane lane) const override;
  void number_behind(Sequence number) override;
  LaneLedger ledger(std::string_view consumer, Lane lane) const override;
  Status fits(const std::vector<WriteSet::State>& states) const override;
  std::optional<Bytes> state(std::string_view name) const override;
  std::vector<std::string> states(std::string_view prefix) const override;
  std::size_t room() const override;
  std::optional<InboxPosition> inbox_position() const override { return inbox_; }
  std::uint64_t epoch() const override { return epoch_; }
  Sequence last_committed() const override { return committed_; }
  LogStats stats() const override;
  StartReport start_report() const override { return start_report_; }
  bool is_struck(Sequence number) const override;
  bool can_settle(std::string_view consumer, Lane lane, Range range) const override;
  ListenerId listen(Listener listener) override {
    listeners_.emplace(next_id_, std::move(listener));
    return next_id_++;
  }
  void unlisten(ListenerId listener) override { listeners_.erase(listener); }
  void on_durable_inbox(std::function<void(InboxPosition)> hook) override { durable_hook_ = std::move(hook); }
  void stop(std::function<void()> done) override;

  // The newest commit under a settled clock, of any process: it was this late once. 0: there was none.
  WallTime last_settled() const { return last_settled_; }

  // ---- for `millrace log`
  std::vector<SegmentInfo> segments() const;  // ascending, the head last
  std::vector<std::string> consumers() const;
  // Seals the head; `done` once it stands alone: from then on its file never changes, it only goes one day.
  void seal(Done done);
  // Takes the records of a device (those before `before`, when it is not 0) out of every segment. Numbers stay, what was not
  // delivered of them is settled as forgotten, and noted. `done` says how many records went.
  void forget_device(const std::string& device, WallTime before, std::function<void(Result<std::uint64_t>)> done);

 private:
  struct Cursor {
    SettledSet settled;
    LaneLedger ledger;
    Sequence admitted_through = 0;
    SubscriptionId subscription = 0;  // 0: of nobody that is here
    bool subscribed() const { return subscription != 0; }
  };
  using CursorKey = std::pair<std::string, Lane>;

  SqliteLog(Loop& loop, Folder& folder, const LogOptions& options);

  // ---- start
  std::shared_ptr<HeadWriter> make_writer() const;
  Status load(std::uint64_t seed);
  Status restore(std::uint32_t head, const HeadContents& contents);
  Status restore_state(const HeadContents& contents);
  Status mend_state(std::uint32_t head, const std::vector<std::uint32_t>& ids, HeadContents& contents);
  Status adopt_unnamed(const std::vector<std::uint32_t>& ids);
  Status check_cursors(const HeadContents& head);
  void note_state_files(const std::vector<std::string>& names);
  void begin_new(std::uint64_t seed);
  void balance_ledgers();
  void take_over_rows(const std::vector<Row>& rows);
  Status adopt_above(const std::vector<std::uint32_t>& ids, std::vector<Row>& rows);
  Status finish_replacements(const std::vector<std::string>& names);
  void settle_numbers(const std::optional<Mark>& mark, bool head_lost, const std::vector<Row>& rows_beyond, std::uint64_t seed);
  Status lose_missing();
  Result<bool> gone(std::uint32_t id) const;

  // ---- the open group
  void apply(WriteSet& set);
  void settle(const WriteSet::Settle& settle);
  void append(Lane lane, const Record& record);
  void refuse(Lane lane, const Record& record, const char* reason);
  bool has_room_beside() const;
  std::size_t waiting() const;  // bytes in the open group
  void schedule_close();
  void close_group();
  void number(Lane lane, std::vector<Row>& rows, bool announce, WriteSet& more);
  Row row_of(Lane lane, BatchBuilder& builder, std::int64_t clock_offset_us);
  std::int64_t clock_offset_us() const { return loop_.wall().us - loop_.now().ns / 1000; }
  void refresh_state();
  void append_losses();
  Mark mark();
  void mark_soon();
  void on_mark(const Status& status);
  void put_state(const std::string& key, Bytes bytes);
  void drop_state(const std::string& key);
  void note_overlay();
  void spill_state(GroupWrite& group);
  StateTable head_table() const;
  void list_changes(GroupWrite& group);
  void count_entries(GroupWrite& group) const;

  // ---- held back from flash
  bool may_hold(const GroupWrite& group, bool must_write) const;
  bool hold(GroupWrite& group);
  void let_go_of_settled();
  bool row_settled(const Row& row) const;
  void flush_held();
  void take_held(GroupWrite& group);
  Status recover_held(HeadContents& contents);

  // ---- the group being written
  void write_group();
  void on_written(const GroupResult& result);
  void on_committed(const GroupResult& result);
  void keep_segment(std::uint32_t id, const Status& fault);

  // ---- while nothing can be written
  void tell_trouble(const Status& fault, const std::optional<DiskSpace>& disk);
  void tell_end_of_trouble();
  void note_settled(std::function<void()> then);
  std::vector<std::uint32_t> settled_on_flash(const std::vector<WriteSet::Settle>& noted) const;
  void give_back(std::uint32_t id);
  void try_again();
  void end_unwritten();
  void take_note_space();
  Status take_over_note();

  // ---- space
  std::uint64_t bytes_used() const;
  std::uint64_t bytes_coming() const;
  bool over(std::uint64_t margin) const;
  void make_room();
  bool settled_by_all(const SegmentInfo& segment, Lane lane) const;
  void reclaim(const SegmentInfo& segment, const std::vector<ListedRow>& rows, bool evict);
  void drop_segment(std::uint32_t id);

  // ---- loss
  void lose(const CursorKey& who, const std::vector<Range>& ranges, std::uint64_t records, How how, const char* reason,
            const LossDetail* devices = nullptr);
  void lose_row(const ListedRow& row, Sequence from, How how, const char* reason);
  void lose_segment(std::uint32_t id, const char* reason);
  void lose_missing_rows(const SegmentInfo& before, const std::array<LaneSpan, lane_count>& now, const std::vector<Row>& rows, How how,
                         const char* reason);
  void on_read_fault(std::uint32_t segment, const Status& fault, std::function<void(Status)> again);
  void mend(std::uint32_t id, std::function<void(Status)> then);
  void on_rebuilt(std::uint32_t id, const Rebuilt& rebuilt, How how = How::unreadable);
  void strike(const std::vector<Range>& struck);
  void cache(const Row& row);
  void tell_room();

  Loop& loop_;
  Folder& folder_;
  LogOptions options_;
  std::shared_ptr<HeadWriter> writer_;
  std::shared_ptr<RowReader> reader_;
  std::map<ListenerId, Listener> listeners_;  // in the order they came
  std::uint64_t next_id_ = 1;                 // of subscriptions and listeners
  std::function<void(InboxPosition)> durable_hook_;

  std::uint64_t epoch_ = 0;
  Sequence next_ = 1, committed_ = 0, durable_ = 0, reserved_ = 0;  // committed: can be read; durable: on flash
  std::uint64_t records_ever_ = 0, writing_records_ = 0, committed_records_ = 0;  // over all lives of this log
  std::map<CursorKey, Cursor> cursors_;
  std::map<std::uint32_t, SegmentInfo> sealed_;
  SegmentInfo head_;
  std::uint32_t highest_id_ = 0;  // of any segment there is or was: the next head takes the one above
  std::uint64_t aside_bytes_ = 0;  // of the damaged file that is kept to be looked at
  StateTable state_;
  std::set<std::string> changed_;
  std::uint64_t state_bytes_ = 0;  // of what pipeline and inputs keep, names included
  // Which of it lies in the head's table (removed names too), and what that takes; the rest is in files.
  std::map<std::string, std::uint64_t> overlay_;
  std::uint64_t overlay_bytes_ = 0;
  std::vector<StateFile> state_files_;
  std::uint32_t highest_state_file_ = 0;
  // Files that the head before this one may still name: kept until there is another head.
  std::vector<StateFile> retired_state_files_;
  StateTable written_;  // as of the last group on flash: with a group's changes, what a fresh head begins with
  std::optional<InboxPosition> inbox_;
  std::vector<Range> struck_;  // ascending, disjoint

  OpenLane open_[lane_count];
  std::optional<Record> open_leads_;
  std::vector<Done> open_dones_;
  bool open_dirty_ = false, open_urgent_ = false;
  std::optional<Instant> open_due_;  // somebody waits for the open group to be on flash
  std::unique_ptr<Timer> close_timer_;
  std::vector<GroupWrite::Copy> open_copies_;
  std::vector<std::string> open_removals_;
  std::vector<GroupWrite::Replacement> open_replacements_;
  std::map<std::tuple<std::string, Lane, std::string>, LossDetail> open_losses_;
  // Damaged segments on their way to be replaced, and who waits for that.
  std::map<std::uint32_t, std::vector<std::function<void(Status)>>> mending_;
  std::map<std::uint32_t, int> read_failures_;
  std::string read_trouble_;

  std::unique_ptr<HeldJournal> journal_;
  std::uint64_t journal_serial_ = 0;
  std::vector<Row> held_rows_;
  std::set<std::string> held_changed_;
  std::vector<Done> held_dones_;
  std::optional<InboxPosition> inbox_held_;
  std::size_t held_bytes_ = 0;
  Instant held_since_;
  std::unique_ptr<Timer> hold_timer_;
  bool flush_next_ = false;

  std::shared_ptr<GroupWrite> writing_;
  std::vector<Done> writing_dones_;
  Sequence writing_through_ = 0;
  std::unique_ptr<Timer> retry_timer_;
  Code trouble_code_ = Code::ok;
  Instant trouble_at_;
  WallTime trouble_since_;

  // What uplinks settled and nothing else hangs on: in the open group (with what is held back), in the one being written.
  std::vector<WriteSet::Settle> settles_open_, settles_writing_;
  std::vector<std::uint32_t> given_back_;  // segments that went on the word of the note; the head's table still names them
  std::shared_ptr<SettleNote> note_;
  std::uint64_t note_serial_ = 0, settles_seen_ = 0, settles_noted_ = 0;
  bool note_has_space_ = false, note_refused_ = false;
  Duration retry_ = Duration{0};
  bool seal_next_ = false, blocked_ = false, reclaiming_ = false;
  bool open_coming_ = false, coming_ = false;  // the open group, the last one: brings records, not only settles and losses
  Instant refusal_told_, state_told_;
  std::set<std::uint32_t> kept_;  // segments that could not be given up, because rows of theirs could not be carried forward

  std::deque<Row> cache_;
  std::size_t cache_bytes_ = 0;
  Sequence cached_from_ = 0;  // every committed row that ends at or after this number is in the cache

  std::string folder_identity_;
  std::uint64_t mark_serial_ = 0;
  Sequence marked_ = 0;  // what the mark says is durable
  Instant marked_at_;
  std::unique_ptr<Timer> mark_timer_;
  bool starting_ = true;
  bool state_doubtful_ = false;  // entries of it were damaged: cursors and segments may be missing
  std::set<CursorKey> doubtful_cursors_;
  bool state_lost_ = false;  // cursors are gone: who subscribes begins with the oldest
  StartReport start_report_;
  WallTime last_settled_;

  LogStats stats_;
  bool stopping_ = false;
  std::function<void()> stopped_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
