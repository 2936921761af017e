// The log's beginnings: which file is the head, what it says of the rest, who reads, and how far they are.
#include <algorithm>

#include "base/logger.h"
#include "log/salvage.h"
#include "log/sqlite_log.h"
#include "log/state_table.h"
#include "record/varint.h"

namespace millrace {

namespace {

constexpr std::uint64_t identity_format = 2;   // before, it was made otherwise
constexpr std::size_t spare_descriptors = 8;  // a new head takes four at once, the reader three

// Fewer rows than the head's own account says: SQLite takes some files that were cut off for shorter ones.
bool lacks_rows(const HeadContents& contents) {
  const auto noted = contents.state.find("head");
  SegmentInfo account;
  if (noted == contents.state.end() || !decode_segment(*noted->second, account)) return false;
  for (std::size_t lane = 0; lane < lane_count; ++lane) {
    if (contents.lanes[lane].records < account.lanes[lane].records) return true;
  }
  return false;
}

}  // namespace

SqliteLog::SqliteLog(Loop& loop, Folder& folder, const LogOptions& options)
    : loop_(loop),
      folder_(folder),
      options_(options),
      reader_(std::make_shared<RowReader>(folder, options.vfs)),
      note_(std::make_shared<SettleNote>(folder)) {
  if (options_.segment_bytes == 0) {
    options_.segment_bytes = std::clamp<std::uint64_t>(options_.bytes_max / 16, 64 << 10, 16 << 20);
  }
  options_.open_bytes_max = std::min<std::uint64_t>(options_.open_bytes_max, options_.bytes_max / 16);
  options_.row_bytes_max = std::min<std::uint64_t>({options_.row_bytes_max, options_.bytes_max / 8, batch_bytes_max / 2});
  writer_ = make_writer();
  // A small log cannot hold a whole inbox back: the promise shrinks to a quarter of it.
  options_.inbox_bytes = std::min<std::uint64_t>(options_.inbox_bytes, options_.bytes_max / 4);
}

// A small WAL is written over again and again; a checkpoint costs a write of each page that changed, and two syncs.
std::shared_ptr<HeadWriter> SqliteLog::make_writer() const {
  return std::make_shared<HeadWriter>(folder_, options_.vfs, std::min<std::uint64_t>(options_.segment_bytes / 2, 1 << 20));
}

SqliteLog::~SqliteLog() { *alive_ = false; }

// ---- start ----------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<SqliteLog>> SqliteLog::open(Loop& loop, Folder& folder, const LogOptions& options, std::uint64_t seed) {
  std::unique_ptr<SqliteLog> log(new SqliteLog(loop, folder, options));
  if (Status status = log->load(seed); !status.ok()) return status;
  return log;
}

Status SqliteLog::load(std::uint64_t seed) {
  folder_.hold_spare(spare_descriptors);
  auto names = folder_.list();
  if (!names.ok()) return names.status();
  const auto marked = with_spare(folder_, [&] { return MarkFile(folder_).read(); });
  if (!marked.ok()) return marked.status();
  const auto& mark = marked.value();
  std::vector<std::uint32_t> ids;
  for (const std::string& name : names.value()) {
    if (const auto id = segment_id(name)) ids.push_back(*id);
    else if (name.ends_with("-wal") && !std::binary_search(names.value().begin(), names.value().end(), name.substr(0, name.size() - 4))) {
      if (const auto orphan = segment_id(name.substr(0, name.size() - 4))) ids.push_back(*orphan);  // it may hold rows
    }
  }
  std::sort(ids.rbegin(), ids.rend());
  highest_id_ = ids.empty() ? 0 : ids.front();
  std::vector<std::uint32_t> above;  // newer than the head: they cannot be one, but may hold rows
  std::optional<HeadContents> doubted;  // a head whose cursors no checksum vouches for
  std::vector<Row> rows_beyond;      // committed after the newest state that is left
  for (const std::uint32_t id : ids) {
    const auto hides = with_spare(folder_, [&] { return wal_hides_commits(folder_, segment_name(id)); });
    if (!hides.ok()) return hides.status();
    const bool hidden = hides.value();
    auto contents = writer_->open(id, !hidden);
    // Trouble of ours, or no room to look in, is no damage of theirs: nothing was touched, the next start looks again.
    if (!contents.ok() && (contents.status().code() == Code::unavailable || contents.status().code() == Code::full)) return contents.status();
    const std::uint64_t format = contents.ok() ? one_varint(contents.value().state, "format", 0) : 0;
    if (format > log_format) return {Code::newer, text(folder_.path(), " was written by a later version (format ", format, ")")};
    if (format >= oldest_log_format) {
      if (!contents.value().damaged.empty() || contents.value().lacks_state) {
        if (Status status = mend_state(id, ids, contents.value()); !status.ok()) return status;
      }
      if (Status status = recover_held(contents.value()); !status.ok()) return status;
      if (Status status = restore(id, contents.value()); !status.ok()) return status;
      if (Status status = take_over_note(); !status.ok()) return status;
      if (state_doubtful_ || format < log_format) doubted = contents.value();
      if (hidden || !contents.value().rows_fault.ok() || lacks_rows(contents.value())) {
        LOG_ERROR("log: ", segment_name(id), " is damaged; taking over what is whole");
        sealed_[id] = head_;
        // What it holds is noted in itself, in format 1 it is not.
        if (const auto noted = state_.find("head"); noted != state_.end()) (void)decode_segment(*noted->second, sealed_[id]);
        sealed_[id].file_bytes = head_.file_bytes;
        sealed_[id].valid_through = UINT64_MAX;
        head_ = SegmentInfo{};
        writer_ = make_writer();
        seal_next_ = true;
        mending_[id];
        const Rebuilt rebuilt = reader_->rebuild(id);
        if (rebuilt.status.code() == Code::unavailable) return rebuilt.status;
        const Sequence noted = one_varint(state_, "last", UINT64_MAX);
        std::copy_if(rebuilt.rows.begin(), rebuilt.rows.end(), std::back_inserter(rows_beyond), [noted](const Row& row) { return row.first > noted; });
        on_rebuilt(id, rebuilt);
      }
      if (format < log_format) seal_next_ = true;  // an older format is read, never written
      break;
    }
    writer_ = make_writer();
    above.push_back(id);
  }
  // From here on the folder is ours to write into. What a crash left half born goes.
  for (const std::string& name : names.value()) {
    if (name.starts_with("seg-") && name.find(".new") != std::string::npos) (void)folder_.remove(name);
  }
  const auto anchor = folder_.look(anchor_name);
  if (!anchor.ok()) return anchor.status();
  if (anchor.value() == 0) {
    (void)folder_.write(anchor_name, 0, bytes_of("This file tells a log from its copies. Never copy it, never change it.\n"));  // the commit will say
  }
  if (const Status status = note_->take_space(); !status.ok()) LOG_WARN("log: ", status.detail());
  else note_has_space_ = true;
  const bool found = head_.id != 0 || !mending_.empty();
  const bool epoch_lost = found && (epoch_ == 0 || reserved_ == 0);  // damaged, and no segment before remembers it
  if (epoch_lost && mark) epoch_ = mark->epoch;
  if (!found) begin_new(seed);
  start_report_.clean = found ? one_varint(state_, "clean", 0) != 0 : ids.empty();
  start_report_.fresh = ids.empty();
  if (!ids.empty() && !found) {
    state_lost_ = true;
    LOG_ERROR("log: no segment knows the cursors any more; uplinks begin with the oldest record there is");
  }
  if (state_doubtful_) {
    if (Status status = adopt_unnamed(ids); !status.ok()) return status;
  }
  if (Status status = adopt_above(above, rows_beyond); !status.ok()) return status;
  if (Status status = finish_replacements(names.value()); !status.ok()) return status;
  if (const auto now = folder_.list(); now.ok()) {
    for (const std::string& name : now.value()) aside_bytes_ += name.starts_with("aside-") ? folder_.size_of(name) : 0;
  }
  // Files the table does not name are remains of an unlink that a crash cut off.
  for (const std::uint32_t id : ids) {
    if (id < head_.id && !sealed_.contains(id) && folder_.size_of(segment_name(id)) > 0) {
      for (const char* suffix : {"", "-wal", "-shm"}) (void)folder_.remove(segment_name(id) + suffix);
    }
  }
  if (Status status = lose_missing(); !status.ok()) return status;
  if (doubted && mending_.empty()) {
    if (Status status = check_cursors(*doubted); !status.ok()) return status;
  }
  if (doubted && !state_.contains("last") && mark) {  // how many records there were is what the mark says, and what came since
    std::uint64_t records = mark->records;
    for (const Row& row : doubted->rows) records += row.first > mark->durable ? row.count : 0;
    put_state("last", varints({committed_, 0, records}));
  }
  note_state_files(names.value());
  if (mark) mark_serial_ = mark->serial;
  const auto identity = folder_.identity(anchor_name);
  if (!identity.ok()) return identity.status();
  folder_identity_ = identity.value();
  settle_numbers(mark, !above.empty() || epoch_lost, rows_beyond, seed);
  put_state("identity", to_bytes(folder_identity_));
  put_state("format", varints({log_format}));
  put_state("epoch", varints({epoch_}));
  put_state("clean", varints({0}));
  durable_ = held_rows_.empty() ? committed_ : held_rows_.front().first - 1;
  // Behind a damaged head there may be rows on flash that are younger than what was held: then the cache lacks them.
  const bool all_held = !held_rows_.empty() && held_rows_.back().last() == committed_;
  cached_from_ = (all_held ? durable_ : committed_) + 1;
  for (const Row& row : held_rows_) cache(row);
  if (options_.held_folder && !journal_) journal_ = std::make_unique<HeldJournal>(*options_.held_folder);
  balance_ledgers();
  starting_ = false;
  if (!above.empty() || !open_losses_.empty() || !open_replacements_.empty() || flush_next_ || state_doubtful_) schedule_close();
  return {};
}

// Segments above the head: one that could not be opened, or was rebuilt at an earlier start and is not in a table yet.
Status SqliteLog::adopt_above(const std::vector<std::uint32_t>& ids, std::vector<Row>& rows) {
  for (const std::uint32_t id : ids) {
    const std::string name = segment_name(id);
    auto contents = look_into(folder_, name, options_.vfs);
    if (!contents.ok() && contents.status().code() == Code::unavailable) return contents.status();
    if (!contents.ok() || !contents.value().state.contains("rebuilt")) {
      LOG_ERROR("log: ", folder_.join(name), " cannot be used (", contents.ok() ? "not a log of ours" : contents.status().detail(), "); salvaging");
      ++stats_.files_set_aside;
      if (const Rebuilt rebuilt = reader_->rebuild(id); !rebuilt.status.ok()) return rebuilt.status;
      if (Status status = put_rebuilt(folder_, id, true); !status.ok()) return status;
      contents = look_into(folder_, name, options_.vfs);
      if (!contents.ok()) return contents.status();
    }
    seal_next_ = true;  // the next head is above them all
    open_dirty_ = true;
    if (contents.value().rows.empty()) {
      (void)folder_.remove(name);  // the damaged file itself is aside
      continue;
    }
    SegmentInfo info;
    info.id = id;
    info.file_bytes = contents.value().bytes;
    info.lanes = contents.value().lanes;
    std::uint64_t records = 0;
    for (const LaneSpan& span : info.lanes) records += span.records;
    LOG_WARN("log: ", records, " records of ", name, " are whole");
    sealed_[id] = info;
    put_state(segment_key(id), encode_segment(info));
    take_over_rows(contents.value().rows);
    rows.insert(rows.end(), contents.value().rows.begin(), contents.value().rows.end());
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.first < b.first; });
  return {};
}

// A rebuilt segment takes its place when the table already speaks of it; else the damage will be found again.
Status SqliteLog::finish_replacements(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const auto id = name.ends_with(".whole") ? segment_id(name.substr(0, name.size() - 6)) : std::nullopt;
    if (!id || mending_.contains(*id)) continue;
    const auto noted = sealed_.find(*id);
    const auto contents = look_into(folder_, name, options_.vfs);
    if (!contents.ok() && contents.status().code() == Code::unavailable) return contents.status();
    const bool spoken_of = contents.ok() && noted != sealed_.end() && contents.value().lanes == noted->second.lanes;
    if (spoken_of) (void)put_rebuilt(folder_, *id, false);  // or at the next start
    else (void)folder_.remove(name);
  }
  return {};
}

// Which epoch, and behind which number to go on: no number is ever given twice.
void SqliteLog::settle_numbers(const std::optional<Mark>& mark, bool head_lost, const std::vector<Row>& rows_beyond, std::uint64_t seed) {
  bool clean = start_report_.clean && !head_lost;
  const auto noted = state_.find("identity");
  const bool moved = noted != state_.end() && one_varint(state_, "format", 0) >= identity_format && text_of(*noted->second) != folder_identity_;
  if (const auto found = state_.find("last"); found != state_.end()) {
    wire::Reader reader(*found->second);
    committed_ = std::max(committed_, reader.get_varint());
    if (!reader.at_end()) start_report_.last_commit = {static_cast<std::int64_t>(reader.get_varint())};
    if (!reader.at_end()) records_ever_ = reader.get_varint();
    if (!reader.at_end()) last_settled_ = {static_cast<std::int64_t>(reader.get_varint())};
  }
  const Sequence known = committed_;
  std::uint64_t before_mark = records_ever_;
  for (const Row& row : rows_beyond) {
    committed_ = std::max(committed_, row.last());
    records_ever_ += row.count;
    if (mark && row.first <= mark->durable) before_mark += row.count;
  }
  Sequence end = committed_;
  LossDetail vanished{"", "vanished", 0, 0, 0, {}, 0};
  if (mark) {
    epoch_ = mark->epoch;  // the head may have lost the commit that changed it
    if (mark->reserved > reserved_) clean = start_report_.clean = false;  // or a whole life, and it is the one before that ended cleanly
    reserved_ = std::max(reserved_, mark->reserved);
    end = std::max(end, mark->durable);
    vanished.count = mark->records - std::min(mark->records, before_mark);
  }
  for (const Range& gap : gaps_between(rows_beyond, {known + 1, end})) {
    vanished.first = vanished.first ? vanished.first : gap.first;
    vanished.last = gap.last;
    // What the mark did not see is counted by its gap, but one like a reservation was left by an unclean start.
    if ((!mark || gap.first > mark->durable) && gap.last - gap.first < reserve_block / 2) vanished.count += gap.last - gap.first + 1;
  }
  if (vanished.count > 0) {
    clean = false;
    stats_.vanished_records = vanished.count;
    records_ever_ += vanished.count;
    LOG_ERROR("log: the storage has lost what it had acknowledged: ", vanished.count, " records with numbers from ", vanished.first, " to ", vanished.last);
    open_losses_[{"", Lane::raw, "vanished"}] = std::move(vanished);
    open_dirty_ = true;
  }
  committed_records_ = records_ever_;
  committed_ = end;
  next_ = committed_ + 1;
  if (!clean) {
    // Numbers up to the reservation may have been seen by somebody. Go on behind them.
    next_ = std::max(next_, reserved_ + 1);
    ++stats_.number_jumps;
  }
  if (moved || (head_lost && !mark)) {
    epoch_ = seed ? seed : 1;
    reserved_ = next_ - 1;  // reserved anew, under the new epoch
    open_dirty_ = true;
    LOG_WARN("log: ", moved ? "this folder was copied or restored" : "numbers may have been given that nobody remembers", "; records get a new epoch");
  }
}

// A segment the table names and the folder lacks: what it held is lost, and said, and nobody waits for it.
Status SqliteLog::lose_missing() {
  std::vector<std::uint32_t> missing;
  for (const auto& [id, segment] : sealed_) {
    const auto is_gone = gone(id);
    if (!is_gone.ok()) return is_gone.status();
    if (is_gone.value()) missing.push_back(id);
  }
  for (const std::uint32_t id : missing) lose_segment(id, "missing file");
  return {};
}

// An error when it cannot be told: then it is not gone.
Result<bool> SqliteLog::gone(std::uint32_t id) const {
  for (const char* suffix : {"", "-wal"}) {
    const auto size = folder_.look(segment_name(id) + suffix);
    if (!size.ok()) return size.status();
    if (size.value() > 0) return false;
  }
  return true;
}

void SqliteLog::begin_new(std::uint64_t seed) {
  epoch_ = seed ? seed : 1;
  seal_next_ = true;  // the first group makes the first head
  open_dirty_ = true;
}

Status SqliteLog::restore(std::uint32_t head, const HeadContents& contents) {
  if (Status status = restore_state(contents); !status.ok()) return status;
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
      Cursor cursor;
      cursor.settled = read_settled(reader);
      cursor.ledger.admitted = reader.get_varint();
      cursor.admitted_through = reader.get_varint();
      for (std::uint64_t& n : cursor.ledger.settled) n = reader.get_varint();
      for (const Lane lane : all_lanes) {
        if (parts.size() >= 3 && parts[1] == lane_name(lane)) cursors_[{key.substr(8 + parts[1].size()), lane}] = cursor;
      }
    } else if (key == "struck") {
      wire::Reader reader(*value);
      while (!reader.at_end() && reader.ok()) {
        const Sequence first = reader.get_varint();
        struck_.push_back({first, reader.get_varint()});
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
  take_over_rows(contents.rows);
  return {};
}

// What was admitted after a cursor was last written lies in the head, or in one above it: cursors are written at each commit.
void SqliteLog::take_over_rows(const std::vector<Row>& rows) {
  for (auto& [key, cursor] : cursors_) {
    for (const Row& row : rows) {
      if (row.lane == key.second && row.first > cursor.admitted_through) {
        cursor.ledger.admitted += row.count;
        cursor.admitted_through = row.last();
      }
    }
  }
}

// What the note settled and the storage has lost since: it had been admitted.
void SqliteLog::balance_ledgers() {
  for (auto& [key, cursor] : cursors_) {
    std::uint64_t settled = 0;
    for (const std::uint64_t n : cursor.ledger.settled) settled += n;
    cursor.ledger.admitted = std::max(cursor.ledger.admitted, settled);
  }
}

// ---- subscriptions and cursors --------------------------------------------------------------------------------------

SqliteLog::SubscriptionId SqliteLog::subscribe(const Subscription& subscription) {
  const SubscriptionId id = next_id_++;
  for (const Lane lane : subscription.lanes) {
    auto [at, fresh] = cursors_.try_emplace({subscription.consumer, lane});
    Cursor& cursor = at->second;
    cursor.subscription = id;
    if (!fresh) continue;
    if (subscription.start == Subscription::Start::now && !state_lost_) {
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
  return id;
}

void SqliteLog::unsubscribe(SubscriptionId subscription) {
  for (auto& [key, cursor] : cursors_) {
    if (cursor.subscription == subscription) cursor.subscription = 0;
  }
}

void SqliteLog::forget(std::string_view consumer) {
  for (auto& [key, cursor] : cursors_) {
    if (key.first != consumer || cursor.subscribed()) continue;
    lose(key, cursor.settled.unsettled(committed_), cursor.ledger.unsettled(), How::forgotten, "forgotten");
    drop_state(cursor_key(key.first, key.second));
  }
  std::erase_if(cursors_, [&](const auto& entry) { return entry.first.first == consumer && !entry.second.subscribed(); });
  open_dirty_ = true;
  schedule_close();
}

std::vector<std::string> SqliteLog::absent_consumers() const {
  std::vector<std::string> names;
  for (const auto& [key, cursor] : cursors_) {
    if (!cursor.subscribed() && (names.empty() || names.back() != key.first)) names.push_back(key.first);
  }
  return names;
}

std::vector<Range> SqliteLog::unsettled(std::string_view consumer, Lane lane) const {
  const auto found = cursors_.find({std::string(consumer), lane});
  return found == cursors_.end() ? std::vector<Range>{} : found->second.settled.unsettled(committed_);
}

SettledSet SqliteLog::settled(std::string_view consumer, Lane lane) const {
  const auto found = cursors_.find({std::string(consumer), lane});
  return found == cursors_.end() ? SettledSet(next_ - 1) : found->second.settled;
}

// As far as an unclean start would: a gap of that size is no loss.
void SqliteLog::number_behind(Sequence number) {
  if (number >= next_) next_ = number + reserve_block;
}

bool SqliteLog::can_settle(std::string_view consumer, Lane lane, Range range) const {
  const auto found = cursors_.find({std::string(consumer), lane});
  if (found == cursors_.end()) return true;
  const auto parts = found->second.settled.unsettled_in(range);
  // Several parts fill what lies between settled ranges: that joins them and opens none.
  return parts.size() != 1 || found->second.settled.can_settle(parts.front());
}

LaneLedger SqliteLog::ledger(std::string_view consumer, Lane lane) const {
  const auto found = cursors_.find({std::string(consumer), lane});
  return found == cursors_.end() ? LaneLedger{} : found->second.ledger;
}

std::vector<std::string> SqliteLog::states(std::string_view prefix) const {
  const std::string whole = user_key(prefix);
  std::vector<std::string> names;
  for (auto at = state_.lower_bound(whole); at != state_.end() && at->first.starts_with(whole); ++at) {
    names.push_back(std::string(prefix) + at->first.substr(whole.size()));
  }
  return names;
}

std::optional<Bytes> SqliteLog::state(std::string_view name) const {
  const auto found = state_.find(user_key(name));
  if (found == state_.end()) return std::nullopt;
  return *found->second;
}

}  // namespace millrace
