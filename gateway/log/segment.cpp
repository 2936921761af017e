#include "log/segment.h"

#include <algorithm>
#include <cstdio>

#include "base/text.h"

namespace millrace {
namespace {

constexpr const char* schema =
    "CREATE TABLE rows(first INTEGER PRIMARY KEY, lane INTEGER NOT NULL, count INTEGER NOT NULL, zstd INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, columns BLOB NOT NULL);"
    "CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;";

constexpr std::size_t readers_open_max = 4;

Row row_of(const Statement& statement) {
  Row row;
  row.first = static_cast<Sequence>(statement.integer(0));
  row.lane = static_cast<Lane>(statement.integer(1));
  row.count = static_cast<std::uint32_t>(statement.integer(2));
  row.zstd = statement.integer(3) != 0;
  return row;
}

bool plausible(const Statement& statement) {
  return statement.integer(0) > 0 && statement.integer(1) >= 0 && statement.integer(1) < static_cast<std::int64_t>(lane_count) &&
         statement.integer(2) > 0 && statement.integer(2) <= (1 << 20);
}

}  // namespace

void LaneSpan::add(Sequence from, Sequence to, std::uint64_t count, std::uint64_t size) {
  if (records == 0) {
    first = from;
    last = to;
  } else {
    first = std::min(first, from);
    last = std::max(last, to);
  }
  records += count;
  bytes += size;
}

std::string segment_name(std::uint32_t id) {
  char name[32];
  std::snprintf(name, sizeof name, "seg-%08x.db", id);
  return name;
}

std::optional<std::uint32_t> segment_id(const std::string& name) {
  if (name.size() != 15 || !name.starts_with("seg-") || !name.ends_with(".db")) return std::nullopt;
  std::uint32_t id = 0;
  const auto parsed = std::from_chars(name.data() + 4, name.data() + 12, id, 16);
  if (parsed.ec != std::errc{} || parsed.ptr != name.data() + 12) return std::nullopt;
  return id;
}

// Everything about a row is under its checksum: a row that moved or changed its lane is as bad as a damaged one.
std::uint32_t row_crc(const Row& row, BytesView columns) {
  std::uint8_t head[14];
  for (int i = 0; i < 8; ++i) head[i] = static_cast<std::uint8_t>(row.first >> (8 * i));
  for (int i = 0; i < 4; ++i) head[8 + i] = static_cast<std::uint8_t>(row.count >> (8 * i));
  head[12] = static_cast<std::uint8_t>(row.lane);
  head[13] = row.zstd;
  return crc32c(columns, crc32c({reinterpret_cast<const std::byte*>(head), sizeof head}));
}

// ---- HeadWriter -----------------------------------------------------------------------------------------------------

Status HeadWriter::prepare_statements() {
  auto insert = db_.prepare("INSERT OR REPLACE INTO rows(first,lane,count,zstd,crc,columns) VALUES(?,?,?,?,?,?)");
  if (!insert.ok()) return insert.status();
  insert_row_ = std::move(insert).value();
  auto put = db_.prepare("INSERT OR REPLACE INTO state(key,value) VALUES(?,?)");
  if (!put.ok()) return put.status();
  put_state_ = std::move(put).value();
  auto drop = db_.prepare("DELETE FROM state WHERE key=?");
  if (!drop.ok()) return drop.status();
  drop_state_ = std::move(drop).value();
  return {};
}

Result<HeadContents> HeadWriter::open(std::uint32_t id) {
  auto db = Database::open(folder_.join(segment_name(id)), Database::Mode::write, vfs_);
  if (!db.ok()) return db.status();
  db_ = std::move(db).value();
  id_ = id;
  if (Status status = prepare_statements(); !status.ok()) return status;
  HeadContents contents;
  auto state = db_.prepare("SELECT key,value FROM state");
  if (!state.ok()) return state.status();
  for (;;) {
    auto row = state.value().step();
    if (!row.ok()) return row.status();
    if (!row.value()) break;
    const BytesView value = state.value().bytes(1);
    contents.state[state.value().text(0)] = std::make_shared<const Bytes>(value.begin(), value.end());
  }
  auto rows = db_.prepare("SELECT first,lane,count,zstd,length(columns) FROM rows");
  if (!rows.ok()) return rows.status();
  for (;;) {
    auto row = rows.value().step();
    if (!row.ok()) return row.status();
    if (!row.value()) break;
    if (!plausible(rows.value())) continue;
    const Row r = row_of(rows.value());
    contents.lanes[static_cast<std::size_t>(r.lane)].add(r.first, r.last(), r.count, static_cast<std::uint64_t>(rows.value().integer(4)));
    contents.rows.push_back(r);
  }
  contents.bytes = bytes_on_disk();
  return contents;
}

// The next head is built aside, synced, renamed, and the folder synced: a crash leaves the old head or the new one.
Status HeadWriter::create(std::uint32_t id, const StateTable& state) {
  const std::string name = segment_name(id), aside = name + ".new";
  for (const char* suffix : {"", "-wal", "-shm"}) {
    if (Status status = folder_.remove(aside + suffix); !status.ok()) return status;
  }
  {
    auto made = Database::open(folder_.join(aside), Database::Mode::create, vfs_);
    if (!made.ok()) return made.status();
    Database& db = made.value();
    if (Status status = db.execute("BEGIN IMMEDIATE"); !status.ok()) return status;
    if (Status status = db.execute(schema); !status.ok()) return status;
    auto put = db.prepare("INSERT INTO state(key,value) VALUES(?,?)");
    if (!put.ok()) return put.status();
    for (const auto& [key, value] : state) {
      if (Status status = put.value().bind(1, std::string_view(key)).bind(2, BytesView(*value)).run(); !status.ok()) return status;
    }
    if (Status status = db.execute("COMMIT"); !status.ok()) return status;
    if (Status status = db.checkpoint(); !status.ok()) return status;
  }
  for (const char* suffix : {"-wal", "-shm"}) {
    if (Status status = folder_.remove(aside + suffix); !status.ok()) return status;
  }
  if (Status status = folder_.rename(aside, name); !status.ok()) return status;
  if (Status status = folder_.sync(); !status.ok()) return status;
  auto opened = Database::open(folder_.join(name), Database::Mode::write, vfs_);
  if (!opened.ok()) return opened.status();
  db_ = std::move(opened).value();
  id_ = id;
  return prepare_statements();
}

Status HeadWriter::close() {
  if (!db_.is_open()) return {};
  insert_row_ = {};
  put_state_ = {};
  drop_state_ = {};
  const Status status = db_.checkpoint();
  db_ = {};
  return status;
}

Status HeadWriter::put_row(const Row& row, std::uint32_t crc, BytesView columns) {
  return insert_row_.bind(1, static_cast<std::int64_t>(row.first))
      .bind(2, static_cast<std::int64_t>(row.lane))
      .bind(3, static_cast<std::int64_t>(row.count))
      .bind(4, static_cast<std::int64_t>(row.zstd))
      .bind(5, static_cast<std::int64_t>(crc))
      .bind(6, columns)
      .run();
}

Status HeadWriter::copy_rows(const GroupWrite::Copy& copy, std::vector<Row>& copied) {
  auto db = Database::open(folder_.join(segment_name(copy.segment.id)), Database::Mode::read_sealed, vfs_);
  if (!db.ok()) return {};  // unreadable: what it held is lost, and the reader has said so or will
  auto select = db.value().prepare("SELECT first,lane,count,zstd,crc,columns FROM rows WHERE first=?");
  if (!select.ok()) return {};
  for (const Sequence first : copy.firsts) {
    auto row = select.value().bind(1, static_cast<std::int64_t>(first)).step();
    if (!row.ok() || !row.value()) continue;
    const Row r = row_of(select.value());
    const BytesView columns = select.value().bytes(5);
    if (Status status = put_row(r, static_cast<std::uint32_t>(select.value().integer(4)), columns); !status.ok()) return status;
    copied.push_back(r);
    select.value().reset();
  }
  return {};
}

Status HeadWriter::write_in_transaction(const GroupWrite& group, std::vector<Row>& copied) {
  if (Status status = db_.execute("BEGIN IMMEDIATE"); !status.ok()) return status;
  for (const GroupWrite::Copy& copy : group.copies) {
    if (Status status = copy_rows(copy, copied); !status.ok()) return status;
  }
  for (const Row& row : group.rows) {
    if (Status status = put_row(row, row_crc(row, *row.columns), *row.columns); !status.ok()) return status;
  }
  for (const std::string& key : group.changed) {
    const auto found = group.state.find(key);
    const Status status = found == group.state.end()
                              ? drop_state_.bind(1, std::string_view(key)).run()
                              : put_state_.bind(1, std::string_view(key)).bind(2, BytesView(*found->second)).run();
    if (!status.ok()) return status;
  }
  return db_.execute("COMMIT");
}

GroupResult HeadWriter::write(const GroupWrite& group) {
  GroupResult result;
  if (group.fresh_head && id_ != *group.fresh_head) {
    const std::uint32_t old = id_;
    // A dead head may fail its last checkpoint: its WAL then stays beside it and readers use it as it is.
    if (Status status = close(); !status.ok()) result.sealed_bytes = 0;
    result.status = create(*group.fresh_head, group.state);
    if (!result.status.ok()) return result;
    result.on_fresh_head = true;
    if (old != 0) {
      const std::string name = segment_name(old);
      if (folder_.size_of(name + "-wal") == 0) {
        for (const char* suffix : {"-wal", "-shm"}) (void)folder_.remove(name + suffix);  // leftovers; found again at the next start
      }
      result.sealed_bytes = folder_.size_of(name) + folder_.size_of(name + "-wal") + folder_.size_of(name + "-shm");
    }
  }
  if (!db_.is_open()) {
    result.status = {Code::io, "the log's head is closed"};
    return result;
  }
  result.status = write_in_transaction(group, result.copied);
  if (!result.status.ok()) {
    insert_row_.reset();
    put_state_.reset();
    drop_state_.reset();
    (void)db_.execute("ROLLBACK");  // it may have rolled back by itself
    return result;
  }
  for (const std::string& name : group.remove_after) {
    for (const char* suffix : {"", "-wal", "-shm"}) (void)folder_.remove(name + suffix);  // not in the table: the next start tries again
  }
  // Small commits fill the WAL with the same few pages: checkpointed, they take next to nothing. The commit stands whether
  // or not this succeeds; a reader in the way only puts it off.
  if (folder_.size_of(segment_name(id_) + "-wal") >= wal_bytes_max_) (void)db_.checkpoint();
  result.head_bytes = bytes_on_disk();
  result.database_bytes = folder_.size_of(segment_name(id_));
  return result;
}

std::uint64_t HeadWriter::bytes_on_disk() const {
  const std::string name = segment_name(id_);
  return folder_.size_of(name) + folder_.size_of(name + "-wal") + folder_.size_of(name + "-shm");
}

// ---- RowReader ------------------------------------------------------------------------------------------------------

Result<RowReader::Open*> RowReader::open(std::uint32_t id, bool live) {
  if (const auto found = open_.find(id); found != open_.end()) {
    found->second.used = ++clock_;
    return &found->second;
  }
  if (open_.size() >= readers_open_max) {
    open_.erase(std::min_element(open_.begin(), open_.end(), [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
  }
  const std::string name = segment_name(id);
  // A head that died with a WAL it could not checkpoint is read like a live one.
  const bool with_wal = live || folder_.size_of(name + "-wal") > 0;
  auto db = Database::open(folder_.join(name), with_wal ? Database::Mode::read_live : Database::Mode::read_sealed, vfs_);
  if (!db.ok()) return db.status();
  Open opened{std::move(db).value(), {}, {}, ++clock_};
  // Ascending starts at the row that holds the first wanted number: rows of a lane do not overlap.
  auto up = opened.db.prepare(
      "SELECT first,lane,count,zstd,crc,columns FROM rows WHERE lane=?1 AND first<=?3 AND first>="
      "coalesce((SELECT first FROM rows WHERE first<=?2 AND lane=?1 ORDER BY first DESC LIMIT 1),?2) ORDER BY first");
  if (!up.ok()) return up.status();
  auto down = opened.db.prepare(
      "SELECT first,lane,count,zstd,crc,columns FROM rows WHERE lane=?1 AND first<=?3 AND first+count>?2 ORDER BY first DESC");
  if (!down.ok()) return down.status();
  opened.up = std::move(up).value();
  opened.down = std::move(down).value();
  return &open_.emplace(id, std::move(opened)).first->second;
}

ReadRows RowReader::read(const std::vector<SegmentInfo>& segments, std::uint32_t head, Lane lane, Range range,
                         Log::Direction direction, std::size_t bytes_max) {
  ReadRows out;
  const bool up = direction == Log::Direction::up;
  const auto span = [lane](const SegmentInfo& s) -> const LaneSpan& { return s.lanes[static_cast<std::size_t>(lane)]; };
  std::vector<SegmentInfo> order = segments;
  std::sort(order.begin(), order.end(), [&](const SegmentInfo& a, const SegmentInfo& b) {
    return up ? span(a).first < span(b).first : span(a).last > span(b).last;
  });
  std::size_t bytes = 0;
  for (const SegmentInfo& segment : order) {
    if (span(segment).empty() || span(segment).last < range.first || span(segment).first > range.last) continue;
    // Rows copied forward lie out of order: go on until no later segment can hold an earlier row.
    if (bytes >= bytes_max && !out.rows.empty()) {
      const Row& edge = out.rows.back();
      if (up ? span(segment).first > edge.last() : span(segment).last < edge.first) break;
    }
    auto opened = open(segment.id, segment.id == head);
    if (!opened.ok()) {
      out.segment_fault = opened.status();
      out.fault_in = segment.id;
      break;
    }
    Statement& select = up ? opened.value()->up : opened.value()->down;
    select.bind(1, static_cast<std::int64_t>(lane));
    select.bind(2, static_cast<std::int64_t>(range.first));
    select.bind(3, static_cast<std::int64_t>(std::min<Sequence>(range.last, INT64_MAX)));
    std::size_t from_here = 0;
    for (;;) {
      auto row = select.step();
      if (!row.ok()) {
        out.segment_fault = row.status();
        out.fault_in = segment.id;
        break;
      }
      if (!row.value()) break;
      if (!plausible(select)) continue;
      Row r = row_of(select);
      if (r.last() < range.first || r.first > segment.valid_through) continue;
      const BytesView columns = select.bytes(5);
      if (row_crc(r, columns) != static_cast<std::uint32_t>(select.integer(4))) {
        out.unreadable.push_back(r);
        continue;
      }
      r.columns = std::make_shared<const Bytes>(columns.begin(), columns.end());
      from_here += columns.size();
      out.rows.push_back(std::move(r));
      if (from_here >= bytes_max) break;
    }
    select.reset();
    bytes += from_here;
    if (!out.segment_fault.ok()) {
      open_.erase(segment.id);
      break;
    }
    std::sort(out.rows.begin(), out.rows.end(), [up](const Row& a, const Row& b) { return up ? a.first < b.first : a.first > b.first; });
  }
  // The same row twice (a commit that was repeated on a fresh head): once is enough.
  out.rows.erase(std::unique(out.rows.begin(), out.rows.end(), [](const Row& a, const Row& b) { return a.first == b.first; }), out.rows.end());
  std::size_t kept = 0, sum = 0;
  while (kept < out.rows.size() && (kept == 0 || sum < bytes_max)) sum += out.rows[kept++].columns->size();
  out.rows.resize(kept);
  return out;
}

Result<std::vector<std::pair<Row, std::uint64_t>>> RowReader::list(const SegmentInfo& segment) {
  auto opened = open(segment.id, false);
  if (!opened.ok()) return opened.status();
  auto select = opened.value()->db.prepare("SELECT first,lane,count,zstd,length(columns) FROM rows ORDER BY first");
  if (!select.ok()) return select.status();
  std::vector<std::pair<Row, std::uint64_t>> rows;
  for (;;) {
    auto row = select.value().step();
    if (!row.ok()) return row.status();
    if (!row.value()) return rows;
    if (!plausible(select.value())) continue;
    const Row r = row_of(select.value());
    if (r.first <= segment.valid_through) rows.emplace_back(r, static_cast<std::uint64_t>(select.value().integer(4)));
  }
}

}  // namespace millrace
