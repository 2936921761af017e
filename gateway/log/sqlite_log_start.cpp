// The log's beginnings: which file is the head, what it says of the rest, who reads, and how far they are.
#include <algorithm>

#include "base/logger.h"
#include "log/sqlite_log.h"
#include "log/state_table.h"
#include "record/varint.h"

namespace millrace {

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
  highest_id_ = ids.empty() ? 0 : ids.front();
  for (const std::uint32_t id : ids) {
    auto contents = writer_->open(id);
    if (contents.ok() && one_varint(contents.value().state, "format", 0) == static_cast<std::uint64_t>(log_format)) {
      restore(id, contents.value());
      if (id != highest_id_) {
        // Newer heads were set aside, and with them the numbers they gave. Never write into an old head; a new epoch keeps
        // the numbers that follow from being taken for theirs.
        seal_next_ = true;
        epoch_ = seed ? seed : 1;
        open_dirty_ = true;
        LOG_WARN("log: going on from ", segment_name(id), " under a new epoch; what it knows of deliveries is older, some records come again");
      }
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
  // Files the table does not name are remains of an unlink that a crash cut off.
  for (const std::uint32_t id : ids) {
    if (id < head_.id && !sealed_.contains(id) && folder_.size_of(segment_name(id)) > 0) {
      for (const char* suffix : {"", "-wal", "-shm"}) (void)folder_.remove(segment_name(id) + suffix);
    }
  }
  lose_missing();
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

// A segment the table names and the folder lacks: what it held is lost, and said, and nobody waits for it.
void SqliteLog::lose_missing() {
  for (auto at = sealed_.begin(); at != sealed_.end();) {
    const SegmentInfo segment = at->second;
    if (folder_.size_of(segment_name(segment.id)) > 0) {
      ++at;
      continue;
    }
    LOG_ERROR("log: ", segment_name(segment.id), " is missing");
    for (const Lane lane : all_lanes) lose_span(segment, lane, segment.lanes[static_cast<std::size_t>(lane)].first, "missing file");
    drop_state(segment_key(segment.id));
    at = sealed_.erase(at);
    open_dirty_ = true;
  }
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

}  // namespace millrace
