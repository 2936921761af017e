#include "log/sqlite_log.h"

#include <algorithm>

#include "base/logger.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::uint64_t reserve_block = 1 << 20;

// ---- small values of the state table: varints in a row --------------------------------------------------------------
Bytes varints(std::initializer_list<std::uint64_t> values) {
  Bytes out;
  wire::Writer writer(out);
  for (const std::uint64_t v : values) writer.put_varint(v);
  return out;
}

std::uint64_t one_varint(const StateTable& state, std::string_view key, std::uint64_t otherwise) {
  const auto found = state.find(key);
  if (found == state.end()) return otherwise;
  wire::Reader reader(*found->second);
  const std::uint64_t value = reader.get_varint();
  return reader.ok() ? value : otherwise;
}

std::string cursor_key(const std::string& consumer, Lane lane) { return text("cursor/", lane_name(lane), "/", consumer); }
std::string segment_key(std::uint32_t id) { return "segment/" + segment_name(id); }
std::string user_key(std::string_view name) { return text("state/", name); }

Bytes encode_segment(const SegmentInfo& segment) {
  Bytes out = varints({segment.file_bytes, segment.valid_through});
  wire::Writer writer(out);
  for (const LaneSpan& span : segment.lanes) {
    for (const std::uint64_t v : {span.first, span.last, span.records, span.bytes}) writer.put_varint(v);
  }
  return out;
}

bool decode_segment(const Bytes& bytes, SegmentInfo& segment) {
  wire::Reader reader(bytes);
  segment.file_bytes = reader.get_varint();
  segment.valid_through = reader.get_varint();
  for (LaneSpan& span : segment.lanes) {
    span.first = reader.get_varint();
    span.last = reader.get_varint();
    span.records = reader.get_varint();
    span.bytes = reader.get_varint();
  }
  return reader.ok();
}

}  // namespace

const char* how_name(How how) {
  static constexpr const char* names[] = {"delivered", "dead", "expired", "skipped", "forgotten", "evicted", "unreadable"};
  return names[static_cast<int>(how)];
}

SqliteLog::SqliteLog(Loop& loop, Folder& folder, const LogOptions& options)
    : loop_(loop),
      folder_(folder),
      options_(options),
      reader_(std::make_shared<RowReader>(folder, options.vfs)) {
  if (options_.segment_bytes == 0) {
    options_.segment_bytes = std::clamp<std::uint64_t>(options_.bytes_max / 16, 64 << 10, 16 << 20);
  }
  options_.open_bytes_max = std::min<std::uint64_t>(options_.open_bytes_max, options_.bytes_max / 16);
  writer_ = std::make_shared<HeadWriter>(folder_, options_.vfs, options_.segment_bytes / 2);
  // A small log cannot hold a whole inbox back: the promise shrinks to a quarter of it.
  options_.inbox_bytes = std::min<std::uint64_t>(options_.inbox_bytes, options_.bytes_max / 4);
}

SqliteLog::~SqliteLog() { *alive_ = false; }

// ---- start ----------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<SqliteLog>> SqliteLog::open(Loop& loop, Folder& folder, const LogOptions& options, std::uint64_t seed) {
  std::unique_ptr<SqliteLog> log(new SqliteLog(loop, folder, options));
  if (Status status = log->load(seed); !status.ok()) return status;
  return log;
}

Status SqliteLog::load(std::uint64_t seed) {
  auto names = folder_.list();
  if (!names.ok()) return names.status();
  std::vector<std::uint32_t> ids;
  for (const std::string& name : names.value()) {
    if (const auto id = segment_id(name)) ids.push_back(*id);
    if (name.starts_with("seg-") && name.find(".new") != std::string::npos) (void)folder_.remove(name);  // a head that was never born
  }
  std::sort(ids.rbegin(), ids.rend());
  const std::uint32_t highest = ids.empty() ? 0 : ids.front();
  for (const std::uint32_t id : ids) {
    auto contents = writer_->open(id);
    if (contents.ok() && one_varint(contents.value().state, "format", 0) == static_cast<std::uint64_t>(log_format)) {
      restore(id, contents.value());
      if (id != highest) seal_next_ = true;  // newer files were set aside: go on behind them, never write into an old head
      head_.id = id;
      break;
    }
    // Damaged, of another version, or nothing of ours: out of the way, for people to look at; the log goes on.
    LOG_ERROR("log: ", folder_.join(segment_name(id)), " cannot be used (",
              contents.ok() ? "another format" : contents.status().detail(), "); set aside");
    writer_ = std::make_shared<HeadWriter>(folder_, options_.vfs, options_.segment_bytes / 2);
    ++stats_.files_set_aside;
    for (const char* suffix : {"", "-wal", "-shm"}) {
      if (folder_.size_of(segment_name(id) + suffix) == 0 && *suffix) continue;
      if (Status status = folder_.rename(segment_name(id) + suffix, text("aside-", loop_.wall().us, "-", segment_name(id), suffix)); !status.ok()) {
        return status;
      }
    }
  }
  if (epoch_ == 0) begin_new(seed);
  head_.id = std::max(head_.id, 0u);
  if (highest > head_.id) head_.id = highest;  // the next fresh head takes a number above every file there is
  // Files the table does not name are remains of an unlink that a crash cut off.
  for (const std::uint32_t id : ids) {
    if (id < head_.id && !sealed_.contains(id) && id != highest && folder_.size_of(segment_name(id)) > 0) {
      for (const char* suffix : {"", "-wal", "-shm"}) (void)folder_.remove(segment_name(id) + suffix);
    }
  }
  const std::string identity = folder_.identity();
  const auto noted = state_.find("identity");
  if (noted != state_.end() && text_of(*noted->second) != identity) {
    epoch_ = seed;
    open_dirty_ = true;
    LOG_WARN("log: this folder was copied or restored from elsewhere; records get a new epoch");
  }
  put_state("identity", to_bytes(identity));
  put_state("format", varints({static_cast<std::uint64_t>(log_format)}));
  put_state("epoch", varints({epoch_}));
  put_state("clean", varints({0}));
  cached_from_ = committed_ + 1;
  return {};
}

void SqliteLog::begin_new(std::uint64_t seed) {
  epoch_ = seed ? seed : 1;
  seal_next_ = true;  // the first group makes the first head
  open_dirty_ = true;
}

void SqliteLog::restore(std::uint32_t head, const HeadContents& contents) {
  state_ = contents.state;
  epoch_ = one_varint(state_, "epoch", 0);
  reserved_ = one_varint(state_, "reserved", 0);
  head_.id = head;
  head_.file_bytes = contents.bytes;
  head_.lanes = contents.lanes;
  for (const auto& [key, value] : contents.state) {
    if (key.starts_with("segment/")) {
      SegmentInfo segment;
      const auto id = segment_id(key.substr(8));
      if (id && decode_segment(*value, segment)) {
        segment.id = *id;
        sealed_[*id] = segment;
      }
    } else if (key.starts_with("cursor/")) {
      const auto parts = split(key, '/');
      wire::Reader reader(*value);
      const Sequence low = reader.get_varint();
      std::vector<Range> ranges(std::min<std::uint64_t>(reader.get_varint(), SettledSet::ranges_max));
      for (Range& r : ranges) {
        r.first = reader.get_varint();
        r.last = reader.get_varint();
      }
      Cursor cursor;
      cursor.settled = SettledSet::restore(low, std::move(ranges));
      cursor.ledger.admitted = reader.get_varint();
      cursor.admitted_through = reader.get_varint();
      for (std::uint64_t& n : cursor.ledger.settled) n = reader.get_varint();
      for (const Lane lane : all_lanes) {
        if (parts.size() >= 3 && parts[1] == lane_name(lane)) cursors_[{key.substr(8 + parts[1].size()), lane}] = cursor;
      }
    } else if (key == "inbox") {
      wire::Reader reader(*value);
      const std::uint64_t inbox = reader.get_varint();
      inbox_ = InboxPosition{inbox, reader.get_varint()};
    }
  }
  for (const SegmentInfo* segment : [this] {
         std::vector<const SegmentInfo*> all{&head_};
         for (const auto& [id, info] : sealed_) all.push_back(&info);
         return all;
       }()) {
    for (const LaneSpan& span : segment->lanes) committed_ = std::max(committed_, span.last);
  }
  // What was admitted after a cursor was last written lies in the head: cursors are all written at each seal.
  for (auto& [key, cursor] : cursors_) {
    for (const Row& row : contents.rows) {
      if (row.lane == key.second && row.first > cursor.admitted_through) {
        cursor.ledger.admitted += row.count;
        cursor.admitted_through = row.last();
      }
    }
  }
  next_ = std::max(committed_, one_varint(state_, "last", 0)) + 1;
  if (one_varint(state_, "clean", 0) == 0) {
    // An unclean end: numbers up to the reservation may have been seen by somebody. Go on behind them.
    next_ = std::max(next_, reserved_ + 1);
    ++stats_.number_jumps;
  }
}

// ---- subscriptions and cursors --------------------------------------------------------------------------------------

void SqliteLog::subscribe(const Subscription& subscription) {
  for (const Lane lane : subscription.lanes) {
    auto [at, fresh] = cursors_.try_emplace({subscription.consumer, lane});
    Cursor& cursor = at->second;
    cursor.subscribed = true;
    if (!fresh) continue;
    if (subscription.start == Subscription::Start::now) {
      cursor.settled = SettledSet(next_ - 1);
      cursor.admitted_through = next_ - 1;
    } else {
      for (const auto& [id, segment] : sealed_) cursor.ledger.admitted += segment.lanes[static_cast<std::size_t>(lane)].records;
      cursor.ledger.admitted += head_.lanes[static_cast<std::size_t>(lane)].records;
      cursor.admitted_through = committed_;
    }
    refresh_state();
    open_dirty_ = true;
  }
  schedule_close();
}

void SqliteLog::unsubscribe(std::string_view consumer) {
  for (auto& [key, cursor] : cursors_) {
    if (key.first == consumer) cursor.subscribed = false;
  }
}

void SqliteLog::forget(std::string_view consumer) {
  for (auto& [key, cursor] : cursors_) {
    if (key.first != consumer || cursor.subscribed) continue;
    const std::uint64_t left = cursor.ledger.unsettled();
    if (left > 0) lose(key.second, {cursor.settled.low() + 1, committed_}, left, key.first, How::forgotten, "forgotten");
    drop_state(cursor_key(key.first, key.second));
  }
  std::erase_if(cursors_, [&](const auto& entry) { return entry.first.first == consumer && !entry.second.subscribed; });
  open_dirty_ = true;
  schedule_close();
}

std::vector<std::string> SqliteLog::absent_consumers() const {
  std::vector<std::string> names;
  for (const auto& [key, cursor] : cursors_) {
    if (!cursor.subscribed && (names.empty() || names.back() != key.first)) names.push_back(key.first);
  }
  return names;
}

std::vector<Range> SqliteLog::unsettled(std::string_view consumer, Lane lane) const {
  const auto found = cursors_.find({std::string(consumer), lane});
  return found == cursors_.end() ? std::vector<Range>{} : found->second.settled.unsettled(committed_);
}

LaneLedger SqliteLog::ledger(std::string_view consumer, Lane lane) const {
  const auto found = cursors_.find({std::string(consumer), lane});
  return found == cursors_.end() ? LaneLedger{} : found->second.ledger;
}

std::optional<Bytes> SqliteLog::state(std::string_view name) const {
  const auto found = state_.find(user_key(name));
  if (found == state_.end()) return std::nullopt;
  return *found->second;
}

// ---- the open group -------------------------------------------------------------------------------------------------

void SqliteLog::put_state(const std::string& key, Bytes bytes) {
  auto& slot = state_[key];
  if (slot && *slot == bytes) return;
  slot = std::make_shared<const Bytes>(std::move(bytes));
  if (std::find(changed_.begin(), changed_.end(), key) == changed_.end()) changed_.push_back(key);
}

void SqliteLog::drop_state(const std::string& key) {
  if (state_.erase(key) > 0 && std::find(changed_.begin(), changed_.end(), key) == changed_.end()) changed_.push_back(key);
}

void SqliteLog::append(Lane lane, const Record& record) {
  open_[static_cast<std::size_t>(lane)].add(record);
}

void SqliteLog::settle(const WriteSet::Settle& settle) {
  const auto found = cursors_.find({settle.consumer, settle.lane});
  if (found == cursors_.end()) return;  // forgotten meanwhile
  Cursor& cursor = found->second;
  // What was evicted or found unreadable while it was on its way is settled already, and in the ledger.
  std::uint64_t numbers = 0;
  for (const Range& part : cursor.settled.unsettled_in(settle.range)) {
    cursor.settled.settle(part);
    numbers += part.last - part.first + 1;
  }
  cursor.ledger.settled[static_cast<std::size_t>(settle.how)] += std::min(settle.records, numbers);
}

void SqliteLog::apply(WriteSet& set) {
  for (const auto& [lane, record] : set.records) append(lane, record);
  for (const WriteSet::Settle& s : set.settles) settle(s);
  for (WriteSet::State& state : set.states) {
    if (state.bytes.empty()) drop_state(user_key(state.name));
    else put_state(user_key(state.name), std::move(state.bytes));
  }
  if (set.inbox_position) inbox_ = set.inbox_position;
  open_urgent_ = open_urgent_ || set.urgent;
}

void SqliteLog::commit(WriteSet set, Done done) {
  if (stopping_) {
    if (done) loop_.post([done = std::move(done)] { done({Code::closed, "the log is closed"}); });
    return;
  }
  apply(set);
  open_dirty_ = true;
  if (done) open_dones_.push_back(std::move(done));
  schedule_close();
}

bool SqliteLog::open_has_anything() const { return open_dirty_; }

bool SqliteLog::accepting() const {
  if (stopping_) return false;
  std::size_t waiting = 0;
  for (const BatchBuilder& builder : open_) waiting += builder.bytes_waiting();
  if (waiting >= options_.open_bytes_max) return false;
  if (writing_ && !stats_.trouble.empty() && waiting >= options_.group_bytes) return false;  // what failed comes first
  return !(options_.when_full == WhenFull::block && over(0));
}

void SqliteLog::schedule_close() {
  if (writing_ || !open_has_anything()) return;
  std::size_t waiting = 0;
  bool alarm = !open_[0].empty();
  for (const BatchBuilder& builder : open_) waiting += builder.bytes_waiting();
  if (open_urgent_ || alarm || waiting >= options_.group_bytes || stopping_) {
    close_group();
    return;
  }
  if (close_timer_) return;
  close_timer_ = loop_.after(options_.commit_interval, [this] {
    close_timer_.reset();
    if (!writing_ && open_has_anything()) close_group();
  });
}

// Gives the lane's records their numbers and makes the row. The records of a row are consecutive.
void SqliteLog::number(Lane lane, std::vector<Row>& rows, bool announce, WriteSet& more) {
  BatchBuilder& builder = open_[static_cast<std::size_t>(lane)];
  if (builder.empty()) return;
  const std::int64_t offset = loop_.wall().us - loop_.now().ns / 1000;
  EncodedBatch batch = builder.encode(options_.boot_id, offset);
  Row row;
  row.lane = lane;
  row.first = next_;
  row.count = static_cast<std::uint32_t>(builder.count());
  row.zstd = batch.zstd;
  row.columns = std::make_shared<const Bytes>(std::move(batch.bytes));
  next_ += row.count;
  if (announce) {
    for (std::size_t i = 0; i < builder.order().size(); ++i) {
      std::optional<Record> record;
      for (const Listener& listener : listeners_) {
        if (!listener.entering) continue;
        if (!record) record = builder.at(builder.order()[i]);
        listener.entering(row.first + i, lane, *record, more);
      }
    }
  }
  builder.clear();
  for (auto& [key, cursor] : cursors_) {
    if (key.second != lane) continue;
    cursor.ledger.admitted += row.count;
    cursor.admitted_through = row.last();
  }
  stats_.records += row.count;
  stats_.row_bytes += row.columns->size();
  rows.push_back(std::move(row));
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
  // Readings first: what windows and alarms make of them joins the same group behind them.
  number(Lane::raw, group->rows, true, more);
  number(Lane::held, group->rows, true, more);
  apply(more);
  number(Lane::dead, group->rows, false, more);
  number(Lane::window, group->rows, false, more);
  number(Lane::alarm, group->rows, false, more);

  // Numbers are reserved before use, in the transaction that uses the first of them: none has left the process then.
  if (next_ > reserved_) {
    reserved_ = next_ + reserve_block;
    put_state("reserved", varints({reserved_}));
  }
  if (stopping_) {
    put_state("clean", varints({1}));
    put_state("last", varints({next_ - 1}));
  }
  const bool seal = seal_next_ || head_database_bytes_ >= options_.segment_bytes / 2;
  if (seal) {
    if (head_.file_bytes > 0 && !sealed_.contains(head_.id)) {
      SegmentInfo sealing = head_;
      sealing.valid_through = committed_;
      sealed_[head_.id] = sealing;
      put_state(segment_key(head_.id), encode_segment(sealing));
    }
    group->fresh_head = head_.id + 1;
  }
  refresh_state();
  group->state = state_;
  group->changed = std::move(changed_);
  changed_.clear();
  group->copies = std::move(open_copies_);
  open_copies_.clear();
  group->remove_after = std::move(open_removals_);
  open_removals_.clear();
  group->inbox_position = inbox_;
  writing_ = std::move(group);
  writing_dones_ = std::move(open_dones_);
  open_dones_.clear();
  writing_through_ = next_ - 1;
  open_dirty_ = false;
  open_urgent_ = false;
  write_group();
}

// ---- the group being written ----------------------------------------------------------------------------------------

void SqliteLog::write_group() {
  auto result = std::make_shared<GroupResult>();
  loop_.run_blocking(
      "log",
      [writer = writer_, group = writing_, result, hook = durable_hook_] {
        *result = writer->write(*group);
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
    head_database_bytes_ = 0;
    head_.id = *writing_->fresh_head;
    seal_next_ = false;
  }
  if (result.status.ok()) {
    if (!stats_.trouble.empty()) LOG_INFO("log: writing again");
    stats_.trouble.clear();
    retry_ = Duration{0};
    on_committed(result);
    return;
  }
  // The file is dead until proven alive: the same group, unchanged, goes to a fresh one. Nothing is acknowledged meanwhile.
  ++stats_.commit_failures;
  if (stats_.trouble != result.status.detail()) LOG_ERROR("log: cannot commit: ", result.status.detail(), "; will keep trying");
  stats_.trouble = result.status.detail();
  if (!writing_->fresh_head || result.on_fresh_head) {
    if (head_.file_bytes > 0 && !sealed_.contains(head_.id)) {
      SegmentInfo dead = head_;
      dead.valid_through = committed_;
      sealed_[head_.id] = dead;
      put_state(segment_key(head_.id), encode_segment(dead));
      writing_->state[segment_key(head_.id)] = state_[segment_key(head_.id)];
    }
    writing_->fresh_head = head_.id + 1;
  }
  if (result.status.code() == Code::full && options_.when_full == WhenFull::evict) make_room();
  retry_ = std::clamp(retry_ * 2, options_.retry_min, options_.retry_max);
  retry_timer_ = loop_.after(retry_, [this] { write_group(); });
  if (stopping_ && stopped_) {
    // Asked to stop while the disk refuses: what waits stays in the inbox and with the senders, who were told nothing.
    retry_timer_.reset();
    *alive_ = false;
    for (auto* dones : {&writing_dones_, &open_dones_}) {
      for (Done& done : *dones) done({Code::closed, "the log could not be written: " + stats_.trouble});
    }
    loop_.post(std::exchange(stopped_, nullptr));
  }
}

void SqliteLog::on_committed(const GroupResult& result) {
  head_.file_bytes = result.head_bytes;
  head_database_bytes_ = result.database_bytes;
  ++stats_.commits;
  for (const Row& row : result.copied) head_.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count, 0);
  for (const Row& row : writing_->rows) {
    head_.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count, row.columns->size());
    cache(row);
  }
  committed_ = writing_through_;
  const bool new_rows = !writing_->rows.empty();
  const bool sealed = writing_->fresh_head.has_value();
  writing_.reset();
  const auto dones = std::exchange(writing_dones_, {});
  for (const Done& done : dones) done({});
  if (new_rows) {
    for (const Listener& listener : listeners_) {
      if (listener.committed) listener.committed();
    }
  }
  if (sealed) {
    for (const Listener& listener : listeners_) {
      if (listener.sealed) listener.sealed();
    }
  }
  make_room();
  tell_room();
  if (stopping_ && !open_has_anything()) {
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
  for (const Listener& listener : listeners_) {
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

// ---- reading --------------------------------------------------------------------------------------------------------

void SqliteLog::read(Lane lane, Range range, Direction direction, std::size_t bytes_max,
                     std::function<void(Result<std::vector<Row>>)> done) {
  range.last = std::min(range.last, committed_);
  const LaneSpan& kept = head_.lanes[static_cast<std::size_t>(lane)];
  const bool out_of_order = !kept.empty() && kept.first < cached_from_;  // rows copied forward are not in the cache
  if (range.first >= cached_from_ && direction == Direction::up && !(out_of_order && range.first < cached_from_)) {
    std::vector<Row> rows;
    std::size_t bytes = 0;
    for (const Row& row : cache_) {
      if (row.lane != lane || row.last() < range.first || row.first > range.last) continue;
      if (!rows.empty() && bytes + row.columns->size() > bytes_max) break;
      bytes += row.columns->size();
      rows.push_back(row);
    }
    loop_.post([done = std::move(done), rows = std::move(rows)]() mutable { done(std::move(rows)); });
    return;
  }
  std::vector<SegmentInfo> segments;
  for (const auto& [id, segment] : sealed_) {
    if (!segment.lanes[static_cast<std::size_t>(lane)].empty()) segments.push_back(segment);
  }
  segments.push_back(head_);
  auto result = std::make_shared<ReadRows>();
  loop_.run_blocking(
      "read",
      [reader = reader_, segments = std::move(segments), head = head_.id, lane, range, direction, bytes_max, result] {
        *result = reader->read(segments, head, lane, range, direction, bytes_max);
      },
      [this, alive = alive_, lane, result, done = std::move(done)] {
        if (!*alive) return done(Status{Code::closed, "the log is closed"});
        on_read(lane, *result);
        if (!result->segment_fault.ok() && result->rows.empty()) return done(result->segment_fault);
        done(std::move(result->rows));
      });
}

void SqliteLog::on_read(Lane lane, const ReadRows& read) {
  for (const Row& row : read.unreadable) settle_lost(lane, row, How::unreadable, "checksum");
  if (!read.segment_fault.ok()) {
    LOG_ERROR("log: ", segment_name(read.fault_in), " cannot be read: ", read.segment_fault.detail());
    const auto found = sealed_.find(read.fault_in);
    if (found != sealed_.end() && read.segment_fault.code() == Code::corrupt) {
      const LaneSpan& span = found->second.lanes[static_cast<std::size_t>(lane)];
      Row lost;
      lost.lane = lane;
      lost.first = read.rows.empty() ? span.first : std::max(span.first, read.rows.back().last() + 1);
      if (lost.first <= span.last) {
        lost.count = static_cast<std::uint32_t>(std::min<Sequence>(span.last - lost.first + 1, span.records));
        for (auto& [key, cursor] : cursors_) {
          if (key.second != lane) continue;
          for (const Range& r : cursor.settled.unsettled_in({lost.first, span.last})) {
            lose(lane, r, std::min<std::uint64_t>(r.last - r.first + 1, span.records), key.first, How::unreadable, "damaged file");
          }
        }
        ++stats_.unreadable_rows;
        open_dirty_ = true;
        schedule_close();
      }
    }
  }
}

// ---- space ----------------------------------------------------------------------------------------------------------

std::uint64_t SqliteLog::bytes_used() const {
  std::uint64_t sum = head_.file_bytes;
  for (const auto& [id, segment] : sealed_) sum += segment.file_bytes;
  return sum;
}

// Whether less than `margin` is left beside what a roll-over and the group in the air may need.
bool SqliteLog::over(std::uint64_t margin) const {
  std::uint64_t waiting = 0;
  for (const BatchBuilder& builder : open_) waiting += builder.bytes_waiting();
  return bytes_used() + waiting + margin + 3 * options_.segment_bytes > options_.bytes_max;
}

bool SqliteLog::settled_by_all(const SegmentInfo& segment, Lane lane) const {
  const LaneSpan& span = segment.lanes[static_cast<std::size_t>(lane)];
  if (span.empty()) return true;
  if (lane == Lane::dead) return false;  // nobody reads dead letters: they stay until there is no room for them
  for (const auto& [key, cursor] : cursors_) {
    if (key.second == lane && !cursor.settled.unsettled_in({span.first, std::min(span.last, segment.valid_through)}).empty()) return false;
  }
  return true;
}

// Lets go of segments that nobody wants any more, and of the oldest one when the bound asks for it.
void SqliteLog::make_room() {
  if (reclaiming_ || stopping_) return;
  const bool evict = options_.when_full == WhenFull::evict && (over(0) || (!stats_.trouble.empty() && writing_));
  std::vector<SegmentInfo> oldest_first;
  for (const auto& [id, segment] : sealed_) oldest_first.push_back(segment);
  for (const SegmentInfo& segment : oldest_first) {
    bool wanted = false;
    for (const Lane lane : all_lanes) wanted = wanted || (lane != Lane::dead && !settled_by_all(segment, lane));
    if (wanted && !evict) continue;
    if (!wanted && segment.lanes[static_cast<std::size_t>(Lane::dead)].empty()) {
      reclaim(segment, {}, false);
      continue;
    }
    // Rows must be looked at: which stay, and how many are lost.
    reclaiming_ = true;
    auto rows = std::make_shared<Result<std::vector<std::pair<Row, std::uint64_t>>>>(Status{Code::closed, "not read"});
    loop_.run_blocking("read", [reader = reader_, segment = segment, rows] { *rows = reader->list(segment); },
                       [this, alive = alive_, segment = segment, rows, wanted] {
                         if (!*alive) return;
                         if (!rows->ok()) LOG_ERROR("log: ", segment_name(segment.id), ": ", rows->status().detail());
                         reclaim(segment, rows->ok() ? rows->value() : std::vector<std::pair<Row, std::uint64_t>>{}, wanted);
                       });
    return;
  }
  if (evict && !seal_next_ && head_.file_bytes >= options_.segment_bytes / 2 && !writing_) {
    seal_next_ = true;  // the head is all there is: close it, so that it can go next time
    open_dirty_ = true;
    schedule_close();
  }
}

// One commit: the rows that stay move to the head, the rest is settled as evicted with a loss record, the table forgets
// the segment. The file goes after that commit.
void SqliteLog::reclaim(const SegmentInfo& segment, const std::vector<std::pair<Row, std::uint64_t>>& rows, bool evict) {
  reclaiming_ = false;
  if (!sealed_.contains(segment.id)) return;
  std::uint64_t dead_bytes = head_.lanes[static_cast<std::size_t>(Lane::dead)].bytes;
  for (const auto& [id, s] : sealed_) dead_bytes += id == segment.id ? 0 : s.lanes[static_cast<std::size_t>(Lane::dead)].bytes;
  std::uint64_t keep_budget = options_.segment_bytes / 2;
  GroupWrite::Copy copy{segment, {}};
  for (const Lane lane : {Lane::alarm, Lane::dead, Lane::window, Lane::raw, Lane::held}) {
    for (const auto& [row, bytes] : rows) {
      if (row.lane != lane) continue;
      SegmentInfo only = segment;
      only.lanes = {};
      only.lanes[static_cast<std::size_t>(lane)].add(row.first, row.last(), row.count, bytes);
      const bool wanted = lane == Lane::dead || !settled_by_all(only, lane);
      if (!wanted) continue;
      const bool may_stay = lane == Lane::dead ? dead_bytes + bytes <= options_.bytes_max / 10 : lane == Lane::alarm || lane == Lane::window || !evict;
      if (may_stay && bytes <= keep_budget) {
        keep_budget -= bytes;
        if (lane == Lane::dead) dead_bytes += bytes;
        copy.firsts.push_back(row.first);
      } else if (lane == Lane::dead) {
        lose(lane, {row.first, row.last()}, row.count, "", How::evicted, "dead_full");
      } else {
        settle_lost(lane, row, How::evicted, "evicted");
      }
    }
  }
  if (!copy.firsts.empty()) open_copies_.push_back(std::move(copy));
  sealed_.erase(segment.id);
  drop_state(segment_key(segment.id));
  open_removals_.push_back(segment_name(segment.id));
  loop_.run_blocking("read", [reader = reader_, id = segment.id] { reader->forget(id); }, [] {});
  open_dirty_ = true;
  if (writing_ && !stats_.trouble.empty()) {
    // The group in the air cannot be written for want of space: the file goes with it, not after the next one.
    for (const std::string& key : changed_) {
      const auto found = state_.find(key);
      if (found == state_.end()) writing_->state.erase(key);
    }
    for (const char* suffix : {"", "-wal", "-shm"}) (void)folder_.remove(segment_name(segment.id) + suffix);
  }
  schedule_close();
}

void SqliteLog::settle_lost(Lane lane, const Row& row, How how, const char* reason) {
  if (how == How::unreadable) ++stats_.unreadable_rows;
  std::vector<std::pair<std::string, Range>> losses;
  for (const auto& [key, cursor] : cursors_) {
    if (key.second != lane) continue;
    for (const Range& r : cursor.settled.unsettled_in({row.first, row.last()})) losses.emplace_back(key.first, r);
  }
  for (const auto& [consumer, range] : losses) lose(lane, range, range.last - range.first + 1, consumer, how, reason);
  open_dirty_ = true;
  schedule_close();
}

// Settles what will never arrive and says so: a loss record in the alarm lane, for every uplink to forward.
void SqliteLog::lose(Lane lane, Range range, std::uint64_t records, const std::string& consumer, How how, const char* reason) {
  if (!consumer.empty()) {
    const auto found = cursors_.find({consumer, lane});
    if (found != cursors_.end()) {
      const auto parts = found->second.settled.unsettled_in(range);
      for (const Range& part : parts) {
        if (!found->second.settled.can_settle(part)) return;  // the lowest gap is filled first; it comes round again
        found->second.settled.settle(part);
      }
      found->second.ledger.settled[static_cast<std::size_t>(how)] += records;
    }
  }
  if (how == How::evicted) stats_.evicted_records += records;
  if (!consumer.empty() && consumer.front() == '@') return;  // our own consumers (windows) have no one to tell
  auto detail = std::make_shared<Detail>();
  detail->body = LossDetail{consumer, reason, records, range.first, range.last};
  Record record;
  record.kind = Kind::loss;
  record.metric = lane_name(lane);
  record.time = loop_.wall();
  record.trust = TimeTrust::gateway;
  record.detail = std::move(detail);
  append(Lane::alarm, record);
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
