// The Log on SQLite segments: what the rest of the gateway sees of it. The work is done by rooms that share
// its parts (log_parts.h): how it begins (log_start.h), the group that fills (open_group.h), how groups are
// written (group_writer.h), withheld (withheld_groups.h) and what is done while they cannot be (unwritten.h),
// reading and space (log_space.h), loss and mending (mending.h); pure are cursors and ledger (cursors.h),
// state (log_state.h), newest rows and struck letters. All of it lives on the loop; files and SQL are in
// segment.{h,cpp}, on workers. It has more methods than a class should: those of the interface, most of them
// a line that names the room.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "log/log.h"
#include "log/log_options.h"
#include "log/log_parts.h"

namespace millrace {

class SqliteLog final : public Log {
 public:
  // Opens the newest segment of `folder` or starts a new log. What is damaged is salvaged, never an error:
  // fails only when the folder itself cannot be used, or with `newer` when a later version wrote it (nothing
  // was touched then). `seed` draws the epoch of a new log. Runs SQL on this thread, once.
  static Result<std::unique_ptr<SqliteLog>> open(Loop& loop, Folder& folder, const LogOptions& options,
                                                 std::uint64_t seed);

  void commit(WriteSet set, Done done) override { p_.groups.commit(std::move(set), std::move(done)); }
  bool accepting() const override { return p_.open.accepting(); }
  const char* why_not(Lane lane, std::size_t bytes) const override { return p_.open.why_not(lane, bytes); }
  void read(Lane lane, Range range, Direction direction, std::size_t bytes_max,
            std::function<void(Result<std::vector<Row>>)> done) override {
    p_.space.read(lane, range, direction, bytes_max, std::move(done));
  }
  SubscriptionId subscribe(const Subscription& subscription) override;
  void unsubscribe(SubscriptionId subscription) override { p_.cursors.unsubscribe(subscription); }
  void forget(std::string_view consumer) override;
  std::vector<std::string> absent_consumers() const override { return p_.cursors.absent(); }
  std::vector<Range> unsettled(std::string_view consumer, Lane lane) const override {
    return p_.cursors.unsettled({std::string(consumer), lane}, p_.committed);
  }
  SettledSet settled(std::string_view consumer, Lane lane) const override;
  void number_behind(Sequence number) override;
  LaneLedger ledger(std::string_view consumer, Lane lane) const override {
    return p_.cursors.ledger({std::string(consumer), lane});
  }
  Status fits(const std::vector<WriteSet::State>& states) const override { return p_.state.fits(states); }
  std::optional<Bytes> state(std::string_view name) const override;
  std::vector<std::string> states(std::string_view prefix) const override {
    return p_.state.user_names(prefix);
  }
  std::size_t room() const override { return p_.open.room(); }
  std::optional<InboxPosition> inbox_position() const override { return p_.inbox; }
  std::uint64_t epoch() const override { return p_.epoch; }
  Sequence last_committed() const override { return p_.committed; }
  const GroupTimes& last_group() const override { return p_.shown; }
  LogStats stats() const override;
  StartReport start_report() const override { return p_.start_report; }
  bool is_struck(Sequence number) const override { return p_.struck.has(number); }
  // Whether what is remembered of struck letters has room for these, too.
  bool can_strike(Range range) const { return p_.struck.has_room_for(range); }
  bool can_settle(std::string_view consumer, Lane lane, Range range) const override {
    return p_.cursors.can_settle({std::string(consumer), lane}, range);
  }
  ListenerId listen(Listener listener) override {
    p_.listeners.emplace(next_id_, std::move(listener));
    return next_id_++;
  }
  void unlisten(ListenerId listener) override { p_.listeners.erase(listener); }
  void on_durable_inbox(std::function<void(InboxPosition)> hook) override {
    p_.durable_hook = std::move(hook);
  }
  void stop(std::function<void()> done) override { p_.groups.stop(std::move(done)); }

  // The newest commit under a settled clock, of any process: it was this late once. 0: there was none.
  WallTime last_settled() const { return p_.last_settled; }

  // ---- for `millrace log`
  const Folder& folder() const { return p_.folder; }
  std::vector<SegmentInfo> segments() const { return p_.segments(); }  // ascending, the head last
  std::vector<std::string> consumers() const { return p_.cursors.consumers(); }
  bool takes(const std::string& consumer, Lane lane) const {
    return p_.cursors.find({consumer, lane}) != nullptr;
  }
  // Seals the head, with what is open; `done` once it stands alone: from then on its file never changes, it
  // only goes one day.
  void seal(Done done) { p_.groups.seal(std::move(done)); }
  // Takes the records of a device (those before `before`, when one is given) out of every segment. Numbers
  // stay, what was not delivered of them is settled as forgotten, and noted. `done` says how many records
  // went; late while the disk takes nothing, and `closed` where the log is stopped first.
  void forget_device(const std::string& device, std::optional<WallTime> before,
                     std::function<void(Result<std::uint64_t>)> done) {
    p_.mending.forget_device(device, before, std::move(done));
  }
  // Segments are being rewritten: a device goes, or damage is mended.
  bool mending() const { return p_.mending.busy(); }

 private:
  SqliteLog(Loop& loop, Folder& folder, const LogOptions& options) : p_(loop, folder, options) {}

  LogParts p_;
  std::uint64_t next_id_ = 1;    // of subscriptions and listeners
  std::set<Cursors::Key> left_;  // given up by this process: not lost with the state
};

}  // namespace millrace
