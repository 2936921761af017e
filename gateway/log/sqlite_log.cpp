// The life of a group: opened, filled, numbered, written, committed. How the log starts is in sqlite_log_start.cpp, how rows
// are read and space is given back in sqlite_log_space.cpp.
#include "log/sqlite_log.h"

#include <algorithm>

#include "base/logger.h"
#include "log/state_table.h"
#include "record/unsynced.h"
#include "record/varint.h"

namespace millrace {
namespace {

// What a head holds once `rows` are in it. It is noted in the head itself: should rows be missing, that can be told.
Bytes account_of(SegmentInfo head, const std::vector<Row>& rows) {
  for (const Row& row : rows) head.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count, row.columns->size());
  return encode_segment(head);
}

void apply_changes(const std::vector<std::pair<std::string, std::shared_ptr<const Bytes>>>& changed, StateTable& table) {
  for (const auto& [key, value] : changed) {
    if (value) table[key] = value;
    else table.erase(key);
  }
}

}  // namespace

namespace {

constexpr Duration refusal_silence = std::chrono::minutes(1);
constexpr std::size_t waiters_max = 1 << 16;  // commits in the open group that somebody hears of
constexpr std::size_t noted_settles_max = 256;  // what is settled beyond it comes again after a kill, where nothing could be written
}

const char* how_name(How how) {
  static constexpr const char* names[] = {"delivered", "dead", "expired", "skipped", "forgotten", "evicted", "unreadable"};
  return names[static_cast<int>(how)];
}

// ---- the open group -------------------------------------------------------------------------------------------------

void SqliteLog::put_state(const std::string& key, Bytes bytes) {
  auto& slot = state_[key];
  if (slot && *slot == bytes) return;
  if (is_user_key(key)) state_bytes_ += state_cost(key, bytes.size()) - (slot ? state_cost(key, slot->size()) : 0);
  slot = std::make_shared<const Bytes>(std::move(bytes));
  changed_.insert(key);
}

void SqliteLog::drop_state(const std::string& key) {
  const auto found = state_.find(key);
  if (found == state_.end()) return;
  if (is_user_key(key)) state_bytes_ -= state_cost(key, found->second->size());
  state_.erase(found);
  changed_.insert(key);
}

Status SqliteLog::fits(const std::vector<WriteSet::State>& states) const {
  std::uint64_t now = state_bytes_, before = state_bytes_;
  for (const WriteSet::State& state : states) {
    const std::string key = user_key(state.name);
    const auto found = state_.find(key);
    if (found != state_.end()) now -= std::min(now, state_cost(key, found->second->size()));
    if (!state.bytes.empty()) now += state_cost(key, state.bytes.size());
  }
  if (now <= before || now <= options_.state_bytes_max) return {};
  return {Code::full, text("state of ", format_size(static_cast<double>(now)), " does not fit: its share of log.max_size, ",
                           format_size(static_cast<double>(options_.state_bytes_max)), ", is all it may take")};
}

// Events and dead letters ask nobody before they come: in a storm of them, or while nothing can be written, the open group
// takes only so many, and a full log none. Those that went are counted and told.
bool SqliteLog::has_room_beside() const {
  if (options_.when_full == WhenFull::block) return !over(options_.inbox_bytes / 2);
  return bytes_used() + bytes_coming() + 2 * options_.segment_bytes <= options_.bytes_max;
}

void SqliteLog::append(Lane lane, const Record& record) {
  OpenLane& open = open_[static_cast<std::size_t>(lane)];
  const std::size_t bytes = stored_bytes_max(record);
  if (bytes > options_.row_bytes_max) return refuse(lane, record, "too_large");
  const bool unasked = lane == Lane::alarm || lane == Lane::dead;
  if (unasked && !open.empty() && open.bytes_waiting() + bytes > options_.open_bytes_max) return refuse(lane, record, "too_many");
  if (unasked && !has_room_beside()) return refuse(lane, record, "log_full");
  open.add(record, bytes, options_.row_bytes_max, record.trust == TimeTrust::unsynced ? std::optional(clock_offset_us()) : std::nullopt);
}

// It never gets a number: no cursor moves, and nobody waits for it.
void SqliteLog::refuse(Lane lane, const Record& record, const char* reason) {
  if (stats_.refused_records++ == 0 || loop_.now() - refusal_told_ > refusal_silence) {
    LOG_WARN("log: a record of lane ", lane_name(lane), record.device.empty() ? "" : " from ", record.device, " was not taken (", reason, "); ",
             stats_.refused_records, " so far");
    refusal_told_ = loop_.now();
  }
  LossDetail& loss = open_losses_[{"", lane, reason}];
  loss.reason = reason;
  loss.count += 1;
  loss.add_device(record.device, 1);
  open_dirty_ = true;
}

void SqliteLog::settle(const WriteSet::Settle& settle) {
  const auto found = cursors_.find({settle.consumer, settle.lane});
  if (found == cursors_.end()) return;  // forgotten meanwhile
  Cursor& cursor = found->second;
  // What was evicted or found unreadable while it was on its way is settled already, and in the ledger.
  std::uint64_t numbers = 0;
  for (const Range& part : cursor.settled.unsettled_in(settle.range)) {
    if (!cursor.settled.can_settle(part)) {  // losses opened ranges meanwhile: left open, it is sent once more
      LOG_WARN("log: ", settle.consumer, " has eight settled ranges; ", part.first, " to ", part.last, " comes again");
      continue;
    }
    cursor.settled.settle(part);
    numbers += part.last - part.first + 1;
  }
  // Of a range that was settled in part nobody knows how many were left: never more than the ledger has open.
  // What a note settles at start may be admitted after it, from a damaged head: balance_ledgers().
  const std::uint64_t open = starting_ ? numbers : cursor.ledger.unsettled();
  const std::uint64_t records = std::min({settle.records, numbers, open});
  cursor.ledger.settled[static_cast<std::size_t>(settle.how)] += records;
}

void SqliteLog::apply(WriteSet& set) {
  for (const auto& [lane, record] : set.records) append(lane, record);
  if (set.leads) open_leads_ = std::move(set.leads);
  open_coming_ = open_coming_ || !set.records.empty() || set.leads;
  const bool plain = set.records.empty() && !set.leads && set.states.empty() && set.struck.empty();
  for (const WriteSet::Settle& s : set.settles) {
    settle(s);
    if (!plain || s.consumer.front() == '@' || settles_open_.size() >= noted_settles_max) continue;
    add_settle(settles_open_, s);
    ++settles_seen_;
  }
  for (WriteSet::State& state : set.states) {
    if (state.bytes.empty()) drop_state(user_key(state.name));
    else put_state(user_key(state.name), std::move(state.bytes));
  }
  if (!set.struck.empty()) strike(set.struck);
  if (set.inbox_position) inbox_ = set.inbox_position;
  open_urgent_ = open_urgent_ || set.urgent;
  if (set.within && (!open_due_ || *open_due_ > loop_.now() + *set.within)) {
    open_due_ = loop_.now() + *set.within;
    close_timer_.reset();
  }
}

void SqliteLog::commit(WriteSet set, Done done) {
  if (stopping_) {
    if (done) loop_.post([done = std::move(done)] { done({Code::closed, "the log is closed"}); });
    return;
  }
  if (Status status = fits(set.states); !status.ok()) {
    if (stats_.refused_states++ == 0 || loop_.now() - state_told_ > refusal_silence) LOG_ERROR("log: ", status.detail());
    state_told_ = loop_.now();
    if (done) loop_.post([done = std::move(done), status] { done(status); });
    return;
  }
  apply(set);
  open_dirty_ = true;
  if (done) open_dones_.push_back(std::move(done));
  if (!set.settles.empty()) let_go_of_settled();
  schedule_close();
}

std::size_t SqliteLog::waiting() const {
  std::size_t bytes = 0;
  for (const OpenLane& lane : open_) bytes += lane.bytes_waiting();
  return bytes;
}

std::size_t SqliteLog::room() const {
  const std::size_t taken = waiting();
  return accepting() && taken < options_.open_bytes_max ? options_.open_bytes_max - taken : 0;
}

bool SqliteLog::accepting() const {
  if (stopping_) return false;
  const std::size_t waiting = this->waiting();
  if (waiting >= options_.open_bytes_max || open_dones_.size() >= waiters_max) return false;
  if (!stats_.trouble.empty()) return false;  // nothing new before what could not be written
  return !(options_.when_full == WhenFull::block && over(0));
}

void SqliteLog::schedule_close() {
  if (writing_ || !open_dirty_ || starting_) return;
  const bool alarm = !open_[0].empty();
  const bool overdue = open_due_ && loop_.now() >= *open_due_;
  if (open_urgent_ || flush_next_ || alarm || overdue || waiting() >= options_.group_bytes || stopping_) {
    close_group();
    return;
  }
  if (close_timer_) return;
  const Duration wait = open_due_ ? std::clamp(*open_due_ - loop_.now(), Duration{0}, options_.commit_interval) : options_.commit_interval;
  close_timer_ = loop_.after(wait, [this] {
    close_timer_.reset();
    if (!writing_ && open_dirty_) close_group();
  });
}

// The records of a row are consecutive.
Row SqliteLog::row_of(Lane lane, BatchBuilder& builder, std::int64_t clock_offset_us) {
  EncodedBatch batch = builder.encode(options_.boot_id, clock_offset_us);
  Row row;
  row.lane = lane;
  row.first = next_;
  row.count = static_cast<std::uint32_t>(builder.count());
  row.zstd = batch.zstd;
  row.columns = std::make_shared<const Bytes>(std::move(batch.bytes));
  next_ += row.count;
  return row;
}

// Gives the lane's records their numbers and makes the rows.
void SqliteLog::number(Lane lane, std::vector<Row>& rows, bool announce, WriteSet& more) {
  OpenLane& open = open_[static_cast<std::size_t>(lane)];
  if (open.empty()) return;
  for (std::size_t r = 0; r < open.rows().size(); ++r) {
    BatchBuilder& builder = open.rows()[r];
    Row row = row_of(lane, builder, open.clock_offset_us(r).value_or(0));
    for (std::size_t i = 0; announce && i < builder.order().size(); ++i) {
      std::optional<Record> record;
      for (const auto& [id, listener] : listeners_) {
        if (!listener.entering) continue;
        if (!record) record = builder.at(builder.order()[i]);
        listener.entering(row.first + i, lane, *record, more);
      }
    }
    for (auto& [key, cursor] : cursors_) {
      if (key.second != lane) continue;
      cursor.ledger.admitted += row.count;
      cursor.admitted_through = row.last();
    }
    stats_.records += row.count;
    stats_.row_bytes += row.columns->size();
    rows.push_back(std::move(row));
  }
  open.clear();
}

// Cursors, segments and the inbox position, as they stand in memory, into the state table.
void SqliteLog::refresh_state() {
  for (const auto& [key, cursor] : cursors_) {
    Bytes bytes;
    wire::Writer writer(bytes);
    writer.put_varint(cursor.settled.low());
    writer.put_varint(cursor.settled.ranges().size());
    for (const Range& r : cursor.settled.ranges()) {
      writer.put_varint(r.first);
      writer.put_varint(r.last);
    }
    writer.put_varint(cursor.ledger.admitted);
    writer.put_varint(cursor.admitted_through);
    for (const std::uint64_t n : cursor.ledger.settled) writer.put_varint(n);
    put_state(cursor_key(key.first, key.second), std::move(bytes));
  }
  if (inbox_) put_state("inbox", varints({inbox_->inbox, inbox_->position}));
}

void SqliteLog::close_group() {
  MILLRACE_CHECK(!writing_);
  close_timer_.reset();
  auto group = std::make_shared<GroupWrite>();
  WriteSet more;
  if (open_leads_) {
    OpenLane behind = std::exchange(open_[static_cast<std::size_t>(Lane::held)], {});
    append(Lane::held, *std::exchange(open_leads_, std::nullopt));
    number(Lane::held, group->rows, true, more);
    open_[static_cast<std::size_t>(Lane::held)] = std::move(behind);
  }
  // Readings first: what windows and alarms make of them joins the same group behind them.
  number(Lane::raw, group->rows, true, more);
  number(Lane::held, group->rows, true, more);
  apply(more);
  number(Lane::dead, group->rows, false, more);
  number(Lane::window, group->rows, false, more);
  append_losses();
  number(Lane::alarm, group->rows, false, more);

  // Numbers are reserved before use, in the transaction that uses the first of them: none has left the process then.
  // In the mark too, and there first: a head that loses its last commits must not take the reservation with it.
  if (next_ > reserved_) {
    reserved_ = next_ + reserve_block;
    put_state("reserved", varints({reserved_}));
    group->mark_before = mark();
  }
  if (stopping_) {  // what was reserved is given back: a mark that says more than the head belongs to a life the head forgot
    reserved_ = next_ - 1;
    put_state("reserved", varints({reserved_}));
    put_state("clean", varints({1}));
  }
  if (note_serial_ > 0) put_state("noted", varints({note_serial_}));
  for (const Row& row : group->rows) records_ever_ += row.count;
  if (options_.clock_settled()) last_settled_ = loop_.wall();
  put_state("last", varints({next_ - 1, static_cast<std::uint64_t>(loop_.wall().us), records_ever_, static_cast<std::uint64_t>(last_settled_.us)}));
  const bool seal = seal_next_ || head_.row_bytes() >= options_.segment_bytes / 2;
  refresh_state();
  if (may_hold(*group, seal) && hold(*group)) return;
  take_held(*group);
  for (const WriteSet::Settle& s : std::exchange(settles_open_, {})) add_settle(settles_writing_, s);
  if (seal) {
    if (head_.id != 0 && !sealed_.contains(head_.id)) {
      SegmentInfo sealing = head_;
      sealing.valid_through = durable_;
      sealed_[head_.id] = sealing;
      put_state(segment_key(head_.id), encode_segment(sealing));
    }
    group->fresh_head = highest_id_ + 1;
  }
  put_state("head", account_of(seal ? SegmentInfo{} : head_, group->rows));
  if (seal || stopping_ || marked_at_.ns == 0 || loop_.now() - marked_at_ >= options_.mark_interval) {
    group->mark_after = mark();
    group->mark_after->durable = next_ - 1;
    group->mark_after->records = records_ever_;
    marked_ = next_ - 1;
    marked_at_ = loop_.now();
  }
  group->folder_identity = folder_identity_;
  note_overlay();
  spill_state(*group);
  list_changes(*group);
  if (group->fresh_head) group->state = head_table();
  group->copies = std::move(open_copies_);
  open_copies_.clear();
  group->remove_after = std::move(open_removals_);
  open_removals_.clear();
  group->replace_after = std::move(open_replacements_);
  open_replacements_.clear();
  group->inbox_position = inbox_;
  writing_ = std::move(group);
  writing_dones_ = std::move(open_dones_);
  open_dones_.clear();
  writing_through_ = next_ - 1;
  writing_records_ = records_ever_;
  open_dirty_ = false;
  open_urgent_ = false;
  open_due_.reset();
  coming_ = std::exchange(open_coming_, false);
  write_group();
}

// Losses enter whatever the room: they are few. Only what a full log refused is told when there is room again.
void SqliteLog::append_losses() {
  const bool wait = !stopping_ && !has_room_beside();
  for (auto at = open_losses_.begin(); at != open_losses_.end();) {
    if (wait && at->second.reason == "log_full") {
      ++at;
      continue;
    }
    Record record = loss_record(std::get<1>(at->first), std::move(at->second), loop_.wall());
    if (!options_.clock_trusted()) stamp_unsynced(record, options_.boot_id, loop_.now());
    open_[static_cast<std::size_t>(Lane::alarm)].add(record, stored_bytes_max(record), options_.row_bytes_max, std::nullopt);
    at = open_losses_.erase(at);
  }
}

Mark SqliteLog::mark() { return {epoch_, durable_, reserved_, committed_records_, ++mark_serial_}; }

// The last commits before a quiet time are marked, too.
void SqliteLog::mark_soon() {
  if (marked_ >= durable_ || mark_timer_ || stopping_) return;
  mark_timer_ = loop_.after(options_.mark_interval, [this] {
    mark_timer_.reset();
    if (marked_ >= durable_ || writing_ || stopping_) return;
    marked_ = durable_;
    marked_at_ = loop_.now();
    auto status = std::make_shared<Status>();
    loop_.run_blocking("log", [writer = writer_, mark = mark(), identity = folder_identity_, status] { *status = writer->write_mark(mark, identity); },
                       [this, alive = alive_, status] {
                         if (*alive) on_mark(*status);
                       });
  });
}

// A mark that cannot be written says that the disk is not what it was: a fresh head must prove it, or show the trouble.
void SqliteLog::on_mark(const Status& status) {
  if (status.ok() || stopping_) return;
  LOG_WARN("log: ", status.detail());
  seal_next_ = open_dirty_ = true;
  schedule_close();
}

// ---- the group being written ----------------------------------------------------------------------------------------

void SqliteLog::write_group() {
  count_entries(*writing_);
  auto result = std::make_shared<GroupResult>();
  loop_.run_blocking(
      "log",
      [writer = writer_, group = writing_, result, hook = durable_hook_] {
        *result = writer->write(*group);
        if (!result->status.ok()) result->disk = writer->look_at_disk();
        if (result->status.ok() && hook && group->inbox_position) hook(*group->inbox_position);
      },
      [this, alive = alive_, result] {
        if (*alive) on_written(*result);
      });
}

void SqliteLog::on_written(const GroupResult& result) {
  if (result.on_fresh_head) {
    const std::uint32_t old = head_.id;
    if (auto found = sealed_.find(old); found != sealed_.end() && result.sealed_bytes > 0) found->second.file_bytes = result.sealed_bytes;
    loop_.run_blocking("read", [reader = reader_, old] { reader->forget(old); }, [] {});
    head_ = SegmentInfo{};
    head_.id = highest_id_ = *writing_->fresh_head;
    seal_next_ = false;
  }
  if (result.status.ok()) {
    tell_end_of_trouble();
    on_committed(result);
    return;
  }
  if (result.copy_fault) return keep_segment(*result.copy_fault, result.status);
  ++stats_.commit_failures;
  tell_trouble(result.status, result.disk);
  // The file is dead until proven alive, unless room was all it lacked: the same group, unchanged, goes to a fresh one. Nothing
  // is acknowledged meanwhile.
  if (!writing_->fresh_head && !result.head_stands) {
    writing_->state = written_;
    apply_changes(writing_->changed, writing_->state);
    if (head_.id != 0 && !sealed_.contains(head_.id)) {
      SegmentInfo dead = head_;
      dead.valid_through = durable_;
      sealed_[head_.id] = dead;
      put_state(segment_key(head_.id), encode_segment(dead));
      writing_->state[segment_key(head_.id)] = state_[segment_key(head_.id)];
    }
    writing_->fresh_head = highest_id_ + 1;
    writing_->state["head"] = std::make_shared<const Bytes>(account_of({}, writing_->rows));
  }
  retry_ = std::clamp(retry_ * 2, options_.retry_min, options_.retry_max);
  note_settled([this] { try_again(); });
}

// Rows of `id` could not be carried forward: the segment stays, in the table and on disk, and the group goes without it. What
// was settled as evicted of it is told all the same; the rows that were to stay are read where they are.
void SqliteLog::keep_segment(std::uint32_t id, const Status& fault) {
  ++stats_.commit_failures;
  if (kept_.insert(id).second) LOG_WARN("log: ", segment_name(id), " cannot be given up yet: ", fault.detail());
  const auto copy = std::find_if(writing_->copies.begin(), writing_->copies.end(), [id](const GroupWrite::Copy& c) { return c.segment.id == id; });
  MILLRACE_CHECK(copy != writing_->copies.end());  // the writer names one that the group asked for
  sealed_[id] = copy->segment;
  writing_->copies.erase(copy);
  std::erase(writing_->remove_after, segment_name(id));
  const std::string key = segment_key(id);
  put_state(key, encode_segment(sealed_[id]));
  std::erase_if(writing_->changed, [&](const auto& change) { return change.first == key; });
  writing_->changed.emplace_back(key, state_[key]);
  if (writing_->fresh_head) writing_->state[key] = state_[key];
  write_group();
  if (fault.code() == Code::corrupt) mend(id, [](const Status&) {});  // whoever reads it next is told how that went
}

void SqliteLog::on_committed(const GroupResult& result) {
  head_.file_bytes = result.head_bytes;
  ++stats_.commits;
  for (const ListedRow& copied : result.copied) {
    head_.lanes[static_cast<std::size_t>(copied.row.lane)].add(copied.row.first, copied.row.last(), copied.row.count, copied.bytes);
  }
  for (const GroupWrite::Copy& copy : writing_->copies) kept_.erase(copy.segment.id);
  for (const Row& row : writing_->rows) {
    head_.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count, row.columns->size());
    if (row.first >= cached_from_ && (cache_.empty() || row.first > cache_.back().first)) cache(row);  // held rows are there already
  }
  if (writing_->fresh_head) written_ = std::move(writing_->state);
  else apply_changes(writing_->changed, written_);
  committed_ = durable_ = writing_through_;
  committed_records_ = writing_records_;
  settles_writing_.clear();
  given_back_.clear();
  take_note_space();
  mark_soon();
  for (const GroupWrite::Replacement& replaced : writing_->replace_after) {
    const std::uint32_t id = replaced.id;
    aside_bytes_ = folder_.size_of("aside-" + segment_name(id));
    loop_.run_blocking("read", [reader = reader_, id] { reader->forget(id); }, [] {});
    read_failures_.erase(id);
    for (auto& then : std::exchange(mending_[id], {})) loop_.post([then = std::move(then)] { then({}); });
    mending_.erase(id);
  }
  const bool new_rows = !writing_->rows.empty();
  const bool sealed = writing_->fresh_head.has_value();
  writing_.reset();
  const auto dones = std::exchange(writing_dones_, {});
  for (const Done& done : dones) done({});
  if (new_rows) {
    for (const auto& [id, listener] : listeners_) {
      if (listener.committed) listener.committed();
    }
  }
  if (sealed) {
    for (const auto& [id, listener] : listeners_) {
      if (listener.sealed) listener.sealed();
    }
  }
  on_mark(result.mark_status);
  make_room();
  tell_room();
  if (stopping_ && !open_dirty_) {
    loop_.run_blocking("log", [writer = writer_] { (void)writer->close(); },  // a failed checkpoint leaves a WAL that the next start reads
                       [this] { loop_.post(std::exchange(stopped_, nullptr)); });
    return;
  }
  schedule_close();
}

void SqliteLog::tell_room() {
  // A roll-over makes the head half as large at once: room is there again only when more than that was given back.
  const std::uint64_t margin = options_.inbox_bytes + (blocked_ ? 2 * options_.segment_bytes : 0);
  const bool blocked = options_.when_full == WhenFull::block && over(margin);
  if (blocked && !blocked_) LOG_WARN("log: full (", format_size(static_cast<double>(bytes_used())), "); inputs pause until uplinks have taken more");
  if (!blocked && blocked_) LOG_INFO("log: room again");
  blocked_ = blocked;
  // While a group was away somebody may have waited for room in the open one: say so after each commit.
  for (const auto& [id, listener] : listeners_) {
    if (listener.room) listener.room();
  }
}

void SqliteLog::cache(const Row& row) {
  cache_.push_back(row);
  cache_bytes_ += row.columns->size();
  while (cache_bytes_ > options_.cache_bytes && !cache_.empty()) {
    cache_bytes_ -= cache_.front().columns->size();
    cached_from_ = std::max(cached_from_, cache_.front().last() + 1);
    cache_.pop_front();
  }
}

LogStats SqliteLog::stats() const {
  LogStats stats = stats_;
  stats.bytes_used = bytes_used();
  stats.bytes_max = options_.bytes_max;
  stats.segments = sealed_.size() + 1;
  constexpr auto dead = static_cast<std::size_t>(Lane::dead);
  stats.dead_bytes = head_.lanes[dead].bytes;
  for (const auto& [id, segment] : sealed_) stats.dead_bytes += segment.lanes[dead].bytes;
  stats.blocked = blocked_;
  stats.state_bytes = state_bytes_;
  stats.state_bytes_max = options_.state_bytes_max;
  return stats;
}

void SqliteLog::stop(std::function<void()> done) {
  MILLRACE_CHECK(!stopping_);
  stopping_ = true;
  stopped_ = std::move(done);
  open_dirty_ = true;
  if (!writing_) {
    close_group();
  } else if (!stats_.trouble.empty() && retry_timer_) {
    retry_timer_.reset();
    write_group();  // one last try
  }
}

}  // namespace millrace
