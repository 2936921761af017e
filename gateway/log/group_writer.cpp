#include "log/group_writer.h"

#include <algorithm>
#include <utility>

#include "base/logger.h"
#include "base/text.h"
#include "log/log_parts.h"
#include "log/state_room.h"
#include "log/state_table.h"

namespace millrace {
namespace {

constexpr Duration refusal_silence = std::chrono::minutes(1);
constexpr std::uint64_t state_in_table_min = 32 << 10;

// Of what pipeline and inputs keep, so much may lie in the head.
std::uint64_t state_table_bytes(const LogOptions& options) {
  return std::max(options.segment_bytes / 4, state_in_table_min);
}

// What a head holds once `rows` are in it. It is noted in the head itself: should rows be missing, that can
// be told.
Bytes account_of(SegmentInfo head, const std::vector<Row>& rows) {
  for (const Row& row : rows)
    head.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count, row.columns->size());
  return encode_segment(head);
}

}  // namespace

void GroupWriter::commit(WriteSet set, Done done) {
  if (p_.stopping) {
    if (done) p_.loop.post([done = std::move(done)] { done({Code::closed, "the log is closed"}); });
    return;
  }
  if (Status status = fit_states(set); !status.ok()) {
    if (done) p_.loop.post([done = std::move(done), status] { done(status); });
    return;
  }
  p_.open.apply(set);
  p_.open.dirty = true;
  if (done) p_.open.dones.push_back(std::move(done));
  if (!set.settles.empty()) p_.withheld.let_go();
  schedule_close();
}

// Not ok: the set is refused.
Status GroupWriter::fit_states(WriteSet& set) {
  if (set.states.empty()) return {};
  const RoomMade made = make_room(set.states, [this](const auto& states) { return p_.state.fits(states); });
  if (!made.status.ok()) {
    if (p_.stats.refused_states++ == 0 || p_.loop.now() - state_told_ > refusal_silence)
      LOG_ERROR("log: ", made.status.detail());
    state_told_ = p_.loop.now();
    return made.status;
  }
  p_.stats.left_out_states += made.gone.size();
  if (!made.gone.empty() && !std::exchange(left_out_told_, true)) {
    LOG_WARN(
        "what is remembered of inputs finds no room in the log's state (a quarter of log.max_size): after a restart ",
        made.gone.front(), made.gone.size() > 1 ? text(" and ", made.gone.size() - 1, " more are") : " is",
        " not known as of now (said once)");
  }
  return {};
}

void GroupWriter::schedule_close() {
  if (writing || !p_.open.dirty || p_.starting) return;
  const bool alarm = !p_.open.lanes[0].empty();
  const bool overdue = p_.open.due && p_.loop.now() >= *p_.open.due;
  if (p_.open.urgent || p_.withheld.flush_next || overdue || p_.open.waiting() >= p_.options.group_bytes ||
      p_.stopping || (alarm && alarm_wait().count() == 0)) {
    close();
    return;
  }
  if (close_timer_) return;
  Duration wait = p_.open.due
                      ? std::clamp(*p_.open.due - p_.loop.now(), Duration{0}, p_.options.commit_interval)
                      : p_.options.commit_interval;
  if (alarm) wait = std::min(wait, alarm_wait());
  close_timer_ = p_.loop.after(wait, [this] {
    close_timer_.reset();
    if (!writing && p_.open.dirty) close();
  });
}

// How long the open group, which has an alarm, waits for others: 0 but in a storm.
Duration GroupWriter::alarm_wait() {
  const Instant now = p_.loop.now();
  if (!alarm_due_) {
    // Groups that others close sooner are paid, too, but nobody waits longer for that.
    constexpr Duration at_once = alarm_closes_at_once * alarm_closes_every;
    const Duration ahead = std::min(std::max(Duration{0}, alarms_paid_ - now), at_once) + alarm_closes_every;
    alarms_paid_ = now + ahead;
    alarm_due_ = now + std::max(Duration{0}, ahead - at_once);
    close_timer_.reset();  // it may be a later one
  }
  return std::max(Duration{0}, *alarm_due_ - now);
}

void GroupWriter::close() {
  MILLRACE_CHECK(!writing);
  close_timer_.reset();
  alarm_due_.reset();
  auto group = std::make_shared<GroupWrite>();
  number_all(*group);
  note_numbers(*group);
  times_ = times_of(*group);
  const bool seal = p_.open.seal_next || p_.head.row_bytes() >= p_.options.segment_bytes / 2;
  refresh_state();
  if (p_.withheld.may_hold(*group, seal) && p_.withheld.hold(*group)) return;
  p_.withheld.take(*group);
  fill(*group, seal);
  writing = std::move(group);
  writing_dones = std::exchange(p_.open.dones, {});
  through_ = p_.next - 1;
  records_ = p_.records_ever;
  p_.open.dirty = false;
  p_.open.urgent = false;
  p_.open.due.reset();
  coming = std::exchange(p_.open.coming, false);
  write();
}

// Losses of the log's own come with the moment.
Log::GroupTimes GroupWriter::times_of(const GroupWrite& group) {
  Log::GroupTimes times;
  times.through = p_.next - 1;
  times.received = std::exchange(p_.open.received, std::nullopt).value_or(p_.loop.now());
  for (const Row& row : group.rows) times.records[static_cast<std::size_t>(row.lane)] += row.count;
  return times;
}

// The group that was closed last can be read now.
void GroupWriter::tell_shown() {
  p_.shown = times_;
  p_.shown.committed = p_.loop.now();
  for (const auto& [id, listener] : p_.listeners) {
    if (listener.committed) listener.committed();
  }
}

void GroupWriter::number_all(GroupWrite& group) {
  WriteSet more;
  if (p_.open.leads) {
    OpenLane behind = std::exchange(p_.open.lanes[static_cast<std::size_t>(Lane::held)], {});
    p_.open.append(Lane::held, *std::exchange(p_.open.leads, std::nullopt));
    p_.open.number(Lane::held, group.rows, true, more);
    p_.open.lanes[static_cast<std::size_t>(Lane::held)] = std::move(behind);
  }
  // Readings first: what windows and alarms make of them joins the same group behind them.
  p_.open.number(Lane::raw, group.rows, true, more);
  p_.open.number(Lane::held, group.rows, true, more);
  p_.open.apply(more);
  p_.open.number(Lane::dead, group.rows, false, more);
  p_.open.number(Lane::window, group.rows, false, more);
  p_.open.append_losses();
  p_.open.number(Lane::alarm, group.rows, false, more);
}

// Numbers are reserved before use, in the transaction that uses the first of them: none has left the process
// then. In the mark too, and there first: a head that loses its last commits must not take the reservation
// with it.
void GroupWriter::note_numbers(GroupWrite& group) {
  if (p_.next > p_.reserved) {
    p_.reserved = p_.next + reserve_block;
    p_.state.put("reserved", varints({p_.reserved}));
    group.mark_before = mark();
  }
  // what was reserved is given back: a mark that says more than the head belongs to a life the head forgot
  if (p_.stopping) {
    p_.reserved = p_.next - 1;
    p_.state.put("reserved", varints({p_.reserved}));
    p_.state.put("clean", varints({1}));
  }
  if (p_.unwritten.note_serial() > 0) p_.state.put("noted", varints({p_.unwritten.note_serial()}));
  for (const Row& row : group.rows) p_.records_ever += row.count;
  if (p_.options.clock_settled()) p_.last_settled = p_.loop.wall();
  p_.state.put("last", varints({p_.next - 1, static_cast<std::uint64_t>(p_.loop.wall().us), p_.records_ever,
                                static_cast<std::uint64_t>(p_.last_settled.us)}));
}

// The head's account as it is sealed, for the table.
void GroupWriter::seal_head() {
  if (p_.head.id == 0 || p_.sealed.contains(p_.head.id)) return;
  SegmentInfo sealing = p_.head;
  sealing.valid_through = p_.durable;
  p_.sealed[p_.head.id] = sealing;
  p_.state.put(segment_key(p_.head.id), encode_segment(sealing));
}

// Files of state grow to twice of what it needs before they are written anew, and where the log is small that
// is a quarter of it: inputs would wait for room that never comes.
bool GroupWriter::state_is_in_the_way() const {
  return !p_.stopping && p_.space.full() && p_.state.wasteful(state_table_bytes(p_.options));
}

void GroupWriter::fill(GroupWrite& group, bool seal) {
  for (const WriteSet::Settle& s : std::exchange(p_.open.settles, {})) add_settle(settles, s);
  if (seal) {
    seal_head();
    group.fresh_head = p_.highest_id + 1;
  }
  p_.state.put("head", account_of(seal ? SegmentInfo{} : p_.head, group.rows));
  if (seal || p_.stopping || marked_at_.ns == 0 || p_.loop.now() - marked_at_ >= p_.options.mark_interval) {
    group.mark_after = mark();
    group.mark_after->durable = p_.next - 1;
    group.mark_after->records = p_.records_ever;
    marked_ = p_.next - 1;
    marked_at_ = p_.loop.now();
  }
  group.folder_identity = p_.folder_identity;
  p_.state.give(group, state_table_bytes(p_.options), state_is_in_the_way());
  group.copies = std::exchange(p_.open.copies, {});
  std::vector<std::string> removals = std::exchange(p_.open.removals, {});
  group.remove_after.insert(group.remove_after.begin(), removals.begin(), removals.end());
  group.replace_after = std::exchange(p_.open.replacements, {});
  group.inbox_position = p_.inbox;
}

// Cursors, segments and the inbox position, as they stand in memory, into the state table.
void GroupWriter::refresh_state() {
  for (const auto& [key, cursor] : p_.cursors)
    p_.state.put(cursor_key(key.first, key.second), Cursors::encode(cursor));
  if (p_.inbox) p_.state.put("inbox", varints({p_.inbox->inbox, p_.inbox->position}));
}

Mark GroupWriter::mark() { return {p_.epoch, p_.durable, p_.reserved, p_.committed_records, ++mark_serial_}; }

// The last commits before a quiet time are marked, too.
void GroupWriter::mark_soon() {
  if (marked_ >= p_.durable || mark_timer_ || p_.stopping) return;
  mark_timer_ = p_.loop.after(p_.options.mark_interval, [this] {
    mark_timer_.reset();
    if (marked_ >= p_.durable || writing || p_.stopping) return;
    marked_ = p_.durable;
    marked_at_ = p_.loop.now();
    auto status = std::make_shared<Status>();
    p_.loop.run_blocking(
        "log",
        [writer = p_.writer, mark = mark(), identity = p_.folder_identity, status] {
          *status = writer->write_mark(mark, identity);
        },
        [this, alive = p_.alive, status] {
          if (*alive) on_mark(*status);
        });
  });
}

// A mark that cannot be written says that the disk is not what it was: a fresh head must prove it, or show
// the trouble.
void GroupWriter::on_mark(const Status& status) {
  if (status.ok() || p_.stopping) return;
  LOG_WARN("log: ", status.detail());
  p_.open.seal_next = p_.open.dirty = true;
  schedule_close();
}

void GroupWriter::write() {
  p_.state.count_entries(*writing);
  auto result = std::make_shared<GroupResult>();
  p_.loop.run_blocking(
      "log",
      [writer = p_.writer, group = writing, result, hook = p_.durable_hook] {
        *result = writer->write(*group);
        if (!result->status.ok()) result->disk = writer->look_at_disk();
        if (result->status.ok() && hook && group->inbox_position) hook(*group->inbox_position);
      },
      [this, alive = p_.alive, result] {
        if (*alive) on_written(*result);
      });
}

void GroupWriter::on_written(const GroupResult& result) {
  if (result.on_fresh_head) {
    const std::uint32_t old = p_.head.id;
    if (auto found = p_.sealed.find(old); found != p_.sealed.end() && result.sealed_bytes > 0)
      found->second.file_bytes = result.sealed_bytes;
    p_.loop.run_blocking(
        "read", [reader = p_.reader, old] { reader->forget(old); }, [] {});
    p_.head = SegmentInfo{};
    p_.head.id = p_.highest_id = *writing->fresh_head;
    p_.open.seal_next = false;
  }
  if (result.status.ok()) {
    p_.unwritten.tell_end_of_trouble();
    on_committed(result);
    return;
  }
  if (result.copy_fault) return keep_segment(*result.copy_fault, result.status);
  ++p_.stats.commit_failures;
  p_.unwritten.tell_trouble(result.status, result.disk);
  // The file is dead until proven alive, unless room was all it lacked: the same group, unchanged, goes to a
  // fresh one. Nothing is acknowledged meanwhile.
  if (!writing->fresh_head && !result.head_stands) onto_fresh_head();
  p_.unwritten.try_again_later();
}

void GroupWriter::onto_fresh_head() {
  writing->state = p_.state.written_with(*writing);
  if (p_.head.id != 0 && !p_.sealed.contains(p_.head.id)) {
    seal_head();
    writing->state[segment_key(p_.head.id)] = p_.state.get(segment_key(p_.head.id));
  }
  writing->fresh_head = p_.highest_id + 1;
  writing->state["head"] = std::make_shared<const Bytes>(account_of({}, writing->rows));
}

// Rows of `id` could not be carried forward: the segment stays, in the table and on disk, and the group goes
// without it. What was settled as evicted of it is told all the same; the rows that were to stay are read
// where they are.
void GroupWriter::keep_segment(std::uint32_t id, const Status& fault) {
  ++p_.stats.commit_failures;
  if (kept_.insert(id).second)
    LOG_WARN("log: ", segment_name(id), " cannot be given up yet: ", fault.detail());
  const auto copy = std::find_if(writing->copies.begin(), writing->copies.end(),
                                 [id](const GroupWrite::Copy& c) { return c.segment.id == id; });
  MILLRACE_CHECK(copy != writing->copies.end());  // the writer names one that the group asked for
  p_.sealed[id] = copy->segment;
  p_.state.put(segment_key(id), encode_segment(p_.sealed[id]));
  amend(segment_key(id));
  if (!copy->lost.empty()) {  // nobody has a cursor on letters: these would be told again when it goes
    p_.open.strike(copy->lost);
    amend("struck");
  }
  writing->copies.erase(copy);
  std::erase(writing->remove_after, segment_name(id));
  write();
  // whoever reads it next is told how that went
  if (fault.code() == Code::corrupt) p_.mending.mend(id, [](const Status&) {});
}

// What the state says now goes with the group that is on its way.
void GroupWriter::amend(const std::string& key) {
  std::erase_if(writing->changed, [&](const auto& change) { return change.first == key; });
  writing->changed.emplace_back(key, p_.state.get(key));
  if (writing->fresh_head) writing->state[key] = p_.state.get(key);
}

void GroupWriter::on_committed(const GroupResult& result) {
  p_.head.file_bytes = result.head_bytes;
  ++p_.stats.commits;
  for (const ListedRow& copied : result.copied) {
    p_.head.lanes[static_cast<std::size_t>(copied.row.lane)].add(copied.row.first, copied.row.last(),
                                                                 copied.row.count, copied.bytes);
  }
  for (const GroupWrite::Copy& copy : writing->copies) {
    kept_.erase(copy.segment.id);
    p_.loop.run_blocking(  // it may have been read until now
        "read", [reader = p_.reader, id = copy.segment.id] { reader->forget(id); }, [] {});
  }
  for (const Row& row : writing->rows) {
    p_.head.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count,
                                                          row.columns->size());
    p_.cache.add(row);  // those that were withheld are there already
  }
  p_.state.on_committed(*writing);
  p_.committed = p_.durable = through_;
  p_.committed_records = records_;
  settles.clear();
  p_.unwritten.on_committed();
  mark_soon();
  replace_rebuilt();
  const bool new_rows = !writing->rows.empty();
  const bool sealed = writing->fresh_head.has_value();
  writing.reset();
  const auto dones = std::exchange(writing_dones, {});
  if (new_rows) tell_shown();  // before: whoever is done may close the next group, whose times are others
  for (const Done& done : dones) done({});
  if (sealed) {
    for (const auto& [id, listener] : p_.listeners) {
      if (listener.sealed) listener.sealed();
    }
  }
  on_mark(result.mark_status);
  p_.space.make_room();
  if (state_is_in_the_way()) p_.open.dirty = p_.open.urgent = true;  // now, also where groups are held back
  tell_room();
  if (p_.stopping && !p_.open.dirty) {
    // a failed checkpoint leaves a WAL that the next start reads
    p_.loop.run_blocking(
        "log", [writer = p_.writer] { (void)writer->close(); },
        [this] { p_.loop.post(std::exchange(stopped, nullptr)); });
    return;
  }
  schedule_close();
}

// Rebuilt files stand in the place of damaged ones: who waited for that goes on.
void GroupWriter::replace_rebuilt() {
  for (const GroupWrite::Replacement& replaced : writing->replace_after) {
    p_.aside_bytes = p_.folder.size_of("aside-" + segment_name(replaced.id));
    p_.mending.on_replaced(replaced.id);
  }
}

void GroupWriter::tell_room() {
  const bool blocked = p_.space.full();
  if (blocked && !full)
    LOG_WARN("log: full (", format_size(static_cast<double>(p_.space.bytes_used())),
             "); inputs pause until uplinks have taken more");
  if (!blocked && full) LOG_INFO("log: room again");
  full = blocked;
  // While a group was away somebody may have waited for room in the open one: say so after each commit.
  for (const auto& [id, listener] : p_.listeners) {
    if (listener.room) listener.room();
  }
}

void GroupWriter::stop(std::function<void()> done) {
  MILLRACE_CHECK(!p_.stopping);
  p_.stopping = true;
  stopped = std::move(done);
  p_.open.dirty = true;
  if (!writing) {
    close();
  } else if (!p_.stats.trouble.empty() && retry_timer) {
    retry_timer.reset();
    write();  // one last try
  }
}

// The group that seals a head begins the next one: what is open or withheld now must be in the head before.
void GroupWriter::seal(Done done) {
  commit({.urgent = true}, [this, alive = p_.alive, done = std::move(done)](const Status& status) {
    if (!status.ok() || !*alive || p_.stopping)
      return done(status.ok() ? Status{Code::closed, "the log is closed"} : status);
    p_.open.seal_next = p_.open.dirty = p_.open.urgent = true;
    p_.open.dones.push_back(done);
    schedule_close();
  });
}

}  // namespace millrace
