#include "log/segment.h"

#include <algorithm>
#include <cstdio>

#include "base/text.h"
#include "log/salvage.h"
#include "log/state_table.h"
#include "record/batch.h"

namespace millrace {
namespace {

constexpr const char* schema =
    "CREATE TABLE rows(first INTEGER PRIMARY KEY, lane INTEGER NOT NULL, count INTEGER NOT NULL, zstd INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, columns BLOB NOT NULL);"
    "CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;";

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
  return statement.integer(0) > 0 && statement.integer(1) >= 0 &&
         statement.integer(1) < static_cast<std::int64_t>(lane_count) && statement.integer(2) > 0 &&
         statement.integer(2) <= static_cast<std::int64_t>(row_records_max);
}

constexpr const char* all_rows = "SELECT first,lane,count,zstd,length(columns) FROM rows ORDER BY first";

// Formats 1 and 2 have no checksums.
Result<Statement> select_state(Database& db, bool& checked) {
  auto select = db.prepare("SELECT key,value,crc FROM state");
  checked = select.ok() || select.status().code() != Code::corrupt;
  return checked ? std::move(select) : db.prepare("SELECT key,value FROM state");
}

Status read_state(Database& db, HeadContents& out) {
  bool checked = false;
  auto state = select_state(db, checked);
  if (!state.ok()) return state.status();
  std::uint64_t found = 0;
  for (;;) {
    auto row = state.value().step();
    if (!row.ok()) return row.status();
    if (!row.value()) break;
    const BytesView value = state.value().bytes(1);
    std::string key = state.value().text(0);
    ++found;
    if (checked && state_crc(key, value) != static_cast<std::uint32_t>(state.value().integer(2)))
      out.damaged.push_back(std::move(key));
    else out.state[std::move(key)] = std::make_shared<const Bytes>(value.begin(), value.end());
  }
  // A page whose head is damaged can hide entries without an error.
  if (checked)
    out.lacks_state = one_varint(out.state, "entries", 0) == 0 || found < one_varint(out.state, "entries", 0);
  // Whoever made this table writes checksums; should its word of the format itself be damaged, that much is
  // known.
  if (checked && !out.damaged.empty() && !out.state.contains("format"))
    out.state["format"] = std::make_shared<const Bytes>(varints({log_format}));
  return {};
}

Status read_row_heads(Database& db, HeadContents& out) {
  auto rows = db.prepare(all_rows);
  if (!rows.ok()) return rows.status();
  for (;;) {
    auto row = rows.value().step();
    if (!row.ok()) return row.status();
    if (!row.value()) return {};
    if (!plausible(rows.value())) return {Code::corrupt, "a row that makes no sense"};
    const Row r = row_of(rows.value());
    out.lanes[static_cast<std::size_t>(r.lane)].add(r.first, r.last(), r.count,
                                                    static_cast<std::uint64_t>(rows.value().integer(4)));
    out.rows.push_back(r);
  }
}

constexpr const char* insert_state = "INSERT OR REPLACE INTO state(key,value,crc) VALUES(?,?,?)";

Status put_entry(Statement& put, std::string_view key, BytesView value) {
  return put.bind(1, key).bind(2, value).bind(3, static_cast<std::int64_t>(state_crc(key, value))).run();
}

Status put_state_table(Database& db, const StateTable& state) {
  auto put = db.prepare(insert_state);
  if (!put.ok()) return put.status();
  for (const auto& [key, value] : state) {
    if (Status status = put_entry(put.value(), key, *value); !status.ok()) return status;
  }
  return {};
}

constexpr const char* insert_row =
    "INSERT OR REPLACE INTO rows(first,lane,count,zstd,crc,columns) VALUES(?,?,?,?,?,?)";

Status put_row(Statement& insert, const Row& row, std::uint32_t crc, BytesView columns) {
  return insert.bind(1, static_cast<std::int64_t>(row.first))
      .bind(2, static_cast<std::int64_t>(row.lane))
      .bind(3, static_cast<std::int64_t>(row.count))
      .bind(4, static_cast<std::int64_t>(row.zstd))
      .bind(5, static_cast<std::int64_t>(crc))
      .bind(6, columns)
      .run();
}

// A page whose head is damaged can hide rows without an error: the rows must be as many as the account says.
Status check_account(Database& db, const SegmentInfo& segment) {
  auto sums = db.prepare("SELECT lane,sum(count) FROM rows WHERE first<=? GROUP BY lane");
  if (!sums.ok()) return sums.status();
  sums.value().bind(1, static_cast<std::int64_t>(std::min<Sequence>(segment.valid_through, INT64_MAX)));
  std::array<std::uint64_t, lane_count> records{};
  for (;;) {
    auto row = sums.value().step();
    if (!row.ok()) return row.status();
    if (!row.value()) break;
    const auto lane = static_cast<std::uint64_t>(sums.value().integer(0));
    if (lane < lane_count) records[lane] = static_cast<std::uint64_t>(sums.value().integer(1));
  }
  for (std::size_t lane = 0; lane < lane_count; ++lane) {
    if (records[lane] < segment.lanes[lane].records) return {Code::corrupt, "rows are missing"};
  }
  return {};
}

void remove_wal(Folder& folder, const std::string& name) {
  // leftovers; found again at the next start
  for (const char* suffix : {"-wal", "-shm"}) (void)folder.remove(name + suffix);
}

// A head that could not be born: the room it took is given back, others wait for it as well.
void remove_born(Folder& folder, std::uint32_t id) {
  const std::string born = segment_name(id) + ".new";
  (void)folder.remove(born);  // it is tried again before the next one is born
  remove_wal(folder, born);
}

// Database and -wal, and the -shm of an earlier version; nothing when it cannot be told.
std::optional<std::uint64_t> bytes_of_segment(const Folder& folder, const std::string& name) {
  std::uint64_t sum = 0;
  for (const char* suffix : {"", "-wal", "-shm"}) {
    const auto size = folder.look(name + suffix);
    if (!size.ok()) return std::nullopt;
    sum += size.value();
  }
  return sum;
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

// The numbers of `whole` that no row holds; rows ascend.
std::vector<Range> gaps_between(const std::vector<Row>& rows, Range whole) {
  std::vector<Range> gaps;
  Sequence from = whole.first;
  for (const Row& row : rows) {
    if (row.last() < from) continue;
    if (row.first > whole.last) break;
    if (row.first > from) gaps.push_back({from, row.first - 1});
    from = row.last() + 1;
  }
  if (from <= whole.last) gaps.push_back({from, whole.last});
  return gaps;
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

// Everything about a row is under its checksum: a row that moved or changed its lane is as bad as a damaged
// one.
std::uint32_t row_crc(const Row& row, BytesView columns) {
  std::uint8_t head[14];
  for (int i = 0; i < 8; ++i) head[i] = static_cast<std::uint8_t>(row.first >> (8 * i));
  for (int i = 0; i < 4; ++i) head[8 + i] = static_cast<std::uint8_t>(row.count >> (8 * i));
  head[12] = static_cast<std::uint8_t>(row.lane);
  head[13] = row.zstd;
  return crc32c(columns, crc32c({reinterpret_cast<const std::byte*>(head), sizeof head}));
}

// ---- HeadWriter

Status HeadWriter::prepare_statements() {
  auto insert = db_.prepare(insert_row);
  if (!insert.ok()) return insert.status();
  insert_row_ = std::move(insert).value();
  auto put = db_.prepare(insert_state);
  if (put.ok()) put_state_ = std::move(put).value();
  else if (put.status().code() != Code::corrupt) return put.status();
  else put_state_ = {};  // an older format: it is read, and sealed at the first commit
  auto drop = db_.prepare("DELETE FROM state WHERE key=?");
  if (!drop.ok()) return drop.status();
  drop_state_ = std::move(drop).value();
  auto begin = db_.prepare("BEGIN IMMEDIATE"), commit = db_.prepare("COMMIT");
  if (!begin.ok()) return begin.status();
  if (!commit.ok()) return commit.status();
  begin_ = std::move(begin).value();
  commit_ = std::move(commit).value();
  return {};
}

void HeadWriter::drop_statements() {
  for (Statement* one : {&begin_, &commit_, &insert_row_, &put_state_, &drop_state_}) *one = {};
}

Result<HeadContents> HeadWriter::open(std::uint32_t id, bool take_in_wal) {
  return with_spare(folder_, [&] { return open_once(id, take_in_wal); });
}

Result<HeadContents> HeadWriter::open_once(std::uint32_t id, bool take_in_wal) {
  auto db = Database::open(folder_.join(segment_name(id)), Database::Mode::write, vfs_);
  if (!db.ok()) return db.status();
  db_ = std::move(db).value();
  id_ = id;
  if (Status status = prepare_statements(); !status.ok()) return status;
  HeadContents contents;
  if (Status status = read_state(db_, contents); !status.ok()) return status;
  contents.rows_fault = read_row_heads(db_, contents);
  if (contents.rows_fault.code() == Code::unavailable) return contents.rows_fault;
  // The end of the WAL may share a sector with what was being written when the power went. Nothing is written
  // behind it: it is taken in first, and begun anew.
  const std::uint64_t format = one_varint(contents.state, "format", 0);
  if (take_in_wal && format >= oldest_log_format && format <= log_format) {
    if (Status status = db_.checkpoint(true); status.code() == Code::unavailable) return status;
    else if (!status.ok()) db_ = {};
  }
  contents.bytes = bytes_on_disk();
  return contents;
}

// The next head is built aside with the whole group in it, synced, renamed, and the folder synced: a crash
// leaves the old head, or the new one with all that was committed.
Status HeadWriter::create(std::uint32_t id, const GroupWrite& group, GroupResult& result) {
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
    if (Status status = put_state_table(db, group.state); !status.ok()) return status;
    auto insert = db.prepare(insert_row);
    if (!insert.ok()) return insert.status();
    if (Status status = put_rows(insert.value(), group, result); !status.ok()) return status;
    if (Status status = db.execute("COMMIT"); !status.ok()) return status;
    if (Status status = db.checkpoint(true); !status.ok()) return status;
  }
  remove_wal(folder_, aside);
  remove_wal(folder_, name);  // of a file that vanished under this name: it must not be taken for ours
  if (Status status = folder_.rename(aside, name); !status.ok()) return status;
  return folder_.sync();
}

Status HeadWriter::close() {
  if (!db_.is_open()) return {};
  drop_statements();
  const Status status = db_.checkpoint(true);
  db_ = {};
  return status;
}

// The rows that are to stay, counted and checked: a copy that comes up short is an error, and the segment
// must not go.
Status HeadWriter::copy_rows(Statement& insert, const GroupWrite::Copy& copy,
                             std::vector<ListedRow>& copied) {
  const std::string name = segment_name(copy.segment.id);
  const auto wal = folder_.look(name + "-wal");
  if (!wal.ok()) return wal.status();
  auto db = Database::open(folder_.join(name),
                           wal.value() > 0 ? Database::Mode::read_live : Database::Mode::read_sealed, vfs_);
  if (!db.ok()) return db.status();
  auto select = db.value().prepare("SELECT first,lane,count,zstd,crc,columns FROM rows WHERE first=?");
  if (!select.ok()) return select.status();
  for (const Sequence first : copy.firsts) {
    auto row = select.value().bind(1, static_cast<std::int64_t>(first)).step();
    if (!row.ok()) return row.status();
    if (!row.value() || !plausible(select.value()))
      return {Code::corrupt, text("row ", first, " of ", name, " is not there")};
    const Row r = row_of(select.value());
    const BytesView columns = select.value().bytes(5);
    const auto crc = static_cast<std::uint32_t>(select.value().integer(4));
    if (row_crc(r, columns) != crc)
      return {Code::corrupt, text("row ", first, " of ", name, " fails its checksum")};
    if (Status status = put_row(insert, r, crc, columns); !status.ok()) return status;
    copied.push_back({r, columns.size(), {}});
    select.value().reset();
  }
  return {};
}

Status HeadWriter::put_rows(Statement& insert, const GroupWrite& group, GroupResult& result) {
  result.copied.clear();
  for (const GroupWrite::Copy& copy : group.copies) {
    Status status = with_spare(folder_, [&, before = result.copied.size()] {
      result.copied.resize(before);
      return copy_rows(insert, copy, result.copied);
    });
    if (status.ok()) continue;
    result.copy_fault = copy.segment.id;
    return status;
  }
  for (const Row& row : group.rows) {
    if (Status status = put_row(insert, row, row_crc(row, *row.columns), *row.columns); !status.ok())
      return status;
  }
  return {};
}

Status HeadWriter::write_in_transaction(const GroupWrite& group, GroupResult& result) {
  if (Status status = begin_.run(); !status.ok()) return status;
  if (Status status = put_rows(insert_row_, group, result); !status.ok()) return status;
  for (const auto& [key, value] : group.changed) {
    const Status status =
        value ? put_entry(put_state_, key, *value) : drop_state_.bind(1, std::string_view(key)).run();
    if (!status.ok()) return status;
  }
  return commit_.run();
}

// A folder that was replaced, or whose file system is gone, is not written into: it may come back.
Status HeadWriter::check_folder(const std::string& identity) const {
  const auto now = with_spare(folder_, [&] { return folder_.identity(anchor_name); });
  if (!now.ok()) return now.status();  // nobody knows: tried again
  if (now.value() == identity) return {};
  return {Code::io, text(folder_.path(), " is not the folder it was (unmounted, removed or replaced)")};
}

Status HeadWriter::write_mark(const Mark& mark, const std::string& folder_identity) {
  if (Status status = check_folder(folder_identity); !status.ok()) return status;
  return with_spare(folder_, [&] { return mark_.write(mark); });
}

void HeadWriter::begin_head(const GroupWrite& group, GroupResult& result) {
  const std::uint32_t old = id_;
  // A dead head may fail its last checkpoint: its WAL then stays beside it and readers use it as it is.
  if (Status status = close(); !status.ok()) result.sealed_bytes = 0;
  result.status = with_spare(folder_, [&] { return create(*group.fresh_head, group, result); });
  if (!result.status.ok()) return remove_born(folder_, *group.fresh_head);
  result.on_fresh_head = true;
  id_ = *group.fresh_head;
  if (old != 0) {
    const std::string name = segment_name(old);
    const auto wal = folder_.look(name + "-wal");
    if (wal.ok() && wal.value() == 0) remove_wal(folder_, name);
    result.sealed_bytes = bytes_of_segment(folder_, name).value_or(0);
  }
  // The commit stands. Should the head not open now, the next commit finds it closed and makes another.
  auto opened = with_spare(
      folder_, [&] { return Database::open(folder_.join(segment_name(id_)), Database::Mode::write, vfs_); });
  if (opened.ok()) db_ = std::move(opened).value();
  if (opened.ok() && !prepare_statements().ok()) {
    drop_statements();
    db_ = {};
  }
}

void HeadWriter::write_into_head(const GroupWrite& group, GroupResult& result) {
  result.status =
      db_.is_open() ? write_in_transaction(group, result) : Status{Code::io, "the log's head is closed"};
  if (result.status.ok()) return;
  result.head_stands = db_.is_open() && db_.refused_for_space();
  insert_row_.reset();
  put_state_.reset();
  drop_state_.reset();
  if (db_.is_open()) (void)db_.execute("ROLLBACK");  // it may have rolled back by itself
}

GroupResult HeadWriter::write(const GroupWrite& group) {
  GroupResult result;
  if (group.mark_before) result.status = write_mark(*group.mark_before, group.folder_identity);
  else if (group.fresh_head) result.status = check_folder(group.folder_identity);
  if (result.status.ok() && group.state_file) {
    result.status = with_spare(
        folder_, [&] { return folder_.write(group.state_file->first, 0, group.state_file->second); });
  }
  if (!result.status.ok()) {
    result.head_stands = result.status.code() == Code::full;  // it was not touched
    return result;
  }
  if (group.fresh_head && id_ != *group.fresh_head) begin_head(group, result);
  else write_into_head(group, result);
  if (!result.status.ok()) return result;
  for (const std::string& name : group.remove_after) {
    // not in the table: the next start tries again
    for (const char* suffix : {"", "-wal", "-shm"}) (void)folder_.remove(name + suffix);
  }
  // the next start tries again
  for (const auto& [id, keep_aside] : group.replace_after) (void)put_rebuilt(folder_, id, keep_aside);
  if (group.mark_after) result.mark_status = write_mark(*group.mark_after, group.folder_identity);
  // Small commits fill the WAL with the same few pages: checkpointed, they take next to nothing. The commit
  // stands whether or not this succeeds; a reader in the way only puts it off.
  if (db_.wal_bytes() >= wal_bytes_max_) (void)db_.checkpoint(false);
  result.head_bytes = bytes_on_disk();
  return result;
}

std::optional<DiskSpace> HeadWriter::look_at_disk() const {
  auto space = disk_space(folder_.path());
  return space.ok() ? std::optional(std::move(space).value()) : std::nullopt;
}

// As it was, where that cannot be told now.
std::uint64_t HeadWriter::bytes_on_disk() {
  bytes_ = bytes_of_segment(folder_, segment_name(id_)).value_or(bytes_);
  return bytes_;
}

// ---- RowReader

// Where there is no descriptor left the files that are open for an earlier read give theirs.
Result<RowReader::Open*> RowReader::open_spared(const SegmentInfo& segment, bool live) {
  return with_spare(folder_, [&] {
    auto opened = open(segment, live);
    if (!opened.ok() && opened.status().code() == Code::unavailable) open_.clear();
    return opened;
  });
}

Result<RowReader::Open*> RowReader::open(const SegmentInfo& segment, bool live) {
  const std::uint32_t id = segment.id;
  if (const auto found = open_.find(id); found != open_.end()) {
    found->second.used = ++clock_;
    return &found->second;
  }
  if (open_.size() >= readers_open_max) {
    open_.erase(std::min_element(open_.begin(), open_.end(),
                                 [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
  }
  const std::string name = segment_name(id);
  // A head that died with a WAL it could not checkpoint is read like a live one.
  const auto wal = folder_.look(name + "-wal");
  if (!wal.ok()) return wal.status();
  auto db =
      Database::open(folder_.join(name),
                     live || wal.value() > 0 ? Database::Mode::read_live : Database::Mode::read_sealed, vfs_);
  if (!db.ok()) return db.status();
  Open opened{std::move(db).value(), {}, {}, ++clock_};
  if (Status status = check_account(opened.db, segment); !status.ok()) return status;
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

Status RowReader::read_segment(const SegmentInfo& segment, bool live, Lane lane, Range range, bool up,
                               std::size_t bytes_max, std::vector<Row>& rows, std::size_t& bytes) {
  if (const auto size = folder_.look(segment_name(segment.id)); !size.ok() || size.value() == 0) {
    return size.ok() ? Status{Code::unavailable, "the file is missing"} : size.status();
  }
  auto opened = open_spared(segment, live);
  if (!opened.ok()) return opened.status();
  Statement& select = up ? opened.value()->up : opened.value()->down;
  select.bind(1, static_cast<std::int64_t>(lane));
  select.bind(2, static_cast<std::int64_t>(range.first));
  select.bind(3, static_cast<std::int64_t>(std::min<Sequence>(range.last, INT64_MAX)));
  Status fault;
  while (bytes < bytes_max) {
    auto row = select.step();
    if (!row.ok()) return row.status();
    if (!row.value()) return {};
    if (!plausible(select)) {
      fault = {Code::corrupt, "a row that makes no sense"};
      break;
    }
    Row r = row_of(select);
    if (r.last() < range.first || r.first > segment.valid_through) continue;
    const BytesView columns = select.bytes(5);
    if (row_crc(r, columns) != static_cast<std::uint32_t>(select.integer(4))) {
      fault = {Code::corrupt, text("row ", r.first, " fails its checksum")};
      break;
    }
    r.columns = std::make_shared<const Bytes>(columns.begin(), columns.end());
    bytes += columns.size();
    rows.push_back(std::move(r));
  }
  select.reset();
  return fault;
}

ReadRows RowReader::read(const std::vector<SegmentInfo>& segments, std::uint32_t head, Lane lane, Range range,
                         Log::Direction direction, std::size_t bytes_max) {
  ReadRows out;
  const bool up = direction == Log::Direction::up;
  const auto span = [lane](const SegmentInfo& s) -> const LaneSpan& {
    return s.lanes[static_cast<std::size_t>(lane)];
  };
  std::vector<SegmentInfo> order = segments;
  std::sort(order.begin(), order.end(), [&](const SegmentInfo& a, const SegmentInfo& b) {
    return up ? span(a).first < span(b).first : span(a).last > span(b).last;
  });
  std::size_t bytes = 0;
  for (const SegmentInfo& segment : order) {
    if (span(segment).empty() || span(segment).last < range.first || span(segment).first > range.last)
      continue;
    // Rows copied forward lie out of order: go on until no later segment can hold an earlier row.
    if (bytes >= bytes_max && !out.rows.empty()) {
      const Row& edge = out.rows.back();
      if (up ? span(segment).first > edge.last() : span(segment).last < edge.first) break;
    }
    std::size_t from_here = 0;
    out.fault = read_segment(segment, segment.id == head, lane, range, up, bytes_max, out.rows, from_here);
    bytes += from_here;
    std::sort(out.rows.begin(), out.rows.end(),
              [up](const Row& a, const Row& b) { return up ? a.first < b.first : a.first > b.first; });
    if (!out.fault.ok()) {
      out.fault_in = segment.id;
      open_.erase(segment.id);
      break;
    }
  }
  // The same row twice (a commit that was repeated on a fresh head): once is enough.
  out.rows.erase(std::unique(out.rows.begin(), out.rows.end(),
                             [](const Row& a, const Row& b) { return a.first == b.first; }),
                 out.rows.end());
  std::size_t kept = 0, sum = 0;
  while (kept < out.rows.size() && (kept == 0 || sum < bytes_max)) sum += out.rows[kept++].columns->size();
  out.rows.resize(kept);
  return out;
}

Result<std::vector<ListedRow>> RowReader::list(const SegmentInfo& segment, bool with_devices) {
  if (const auto size = folder_.look(segment_name(segment.id)); !size.ok() || size.value() == 0) {
    return size.ok() ? Status{Code::unavailable, "the file is missing"} : size.status();
  }
  auto opened = open_spared(segment, false);
  if (!opened.ok()) return opened.status();
  auto select = opened.value()->db.prepare(
      with_devices ? "SELECT first,lane,count,zstd,crc,columns FROM rows ORDER BY first" : all_rows);
  if (!select.ok()) return select.status();
  std::vector<ListedRow> rows;
  std::array<std::uint64_t, lane_count> records{};
  for (;;) {
    auto row = select.value().step();
    if (!row.ok()) return row.status();
    if (!row.value()) break;
    if (!plausible(select.value())) return Status{Code::corrupt, "a row that makes no sense"};
    ListedRow listed{row_of(select.value()), 0, {}};
    if (listed.row.first > segment.valid_through) continue;
    if (with_devices) {
      const BytesView columns = select.value().bytes(5);
      listed.bytes = columns.size();
      if (row_crc(listed.row, columns) != static_cast<std::uint32_t>(select.value().integer(4)) ||
          !add_devices(columns, listed.row.zstd, 0, listed.row.count, listed.devices).ok()) {
        return Status{Code::corrupt, text("row ", listed.row.first, " fails its checksum")};
      }
    } else {
      listed.bytes = static_cast<std::uint64_t>(select.value().integer(4));
    }
    records[static_cast<std::size_t>(listed.row.lane)] += listed.row.count;
    rows.push_back(std::move(listed));
  }
  // Whoever lists a segment is about to let it go: what the account promises must have been looked at.
  for (std::size_t lane = 0; lane < lane_count; ++lane) {
    if (records[lane] < segment.lanes[lane].records) return Status{Code::corrupt, "rows are missing"};
  }
  return rows;
}

// ---- a damaged segment

std::string rebuilt_name(std::uint32_t id) { return segment_name(id) + ".whole"; }

Rebuilt RowReader::rebuild(std::uint32_t id, const Keep& keep) {
  Rebuilt out = rebuild_once(id, keep);
  if (out.status.code() != Code::unavailable) return out;
  const auto guard = folder_.use_spare();
  return guard ? rebuild_once(id, keep) : out;
}

Rebuilt RowReader::rebuild_once(std::uint32_t id, const Keep& keep) {
  forget(id);
  Rebuilt out;
  const std::string name = segment_name(id), making = name + ".new";
  for (const char* suffix : {"", "-wal", "-shm"}) {
    if (out.status = folder_.remove(making + suffix); !out.status.ok()) return out;
  }
  {
    auto made = Database::open(folder_.join(making), Database::Mode::create, vfs_);
    if (!made.ok()) return out.status = made.status(), out;
    Database& db = made.value();
    for (const char* sql : {"BEGIN IMMEDIATE", schema}) {
      if (out.status = db.execute(sql); !out.status.ok()) return out;
    }
    const StateTable state{{"rebuilt", std::make_shared<const Bytes>(Bytes{std::byte{1}})}};
    if (out.status = put_state_table(db, state); !out.status.ok()) return out;
    auto insert = db.prepare(insert_row);
    if (!insert.ok()) return out.status = insert.status(), out;
    Status written;
    out.status = salvage_rows(folder_, name, [&](const Row& whole) {
      for (const Row& row : keep ? keep(whole) : std::vector<Row>{whole}) {
        if (written.ok()) written = put_row(insert.value(), row, row_crc(row, *row.columns), *row.columns);
      }
    });
    if (out.status.ok()) out.status = written;
    if (out.status.ok()) out.status = db.execute("COMMIT");
    HeadContents contents;
    if (out.status.ok()) out.status = read_row_heads(db, contents);
    if (out.status.ok()) out.status = db.checkpoint(true);
    if (!out.status.ok()) return out;
    out.lanes = contents.lanes;
    out.rows = std::move(contents.rows);
  }
  remove_wal(folder_, making);
  out.file_bytes = folder_.size_of(making);
  if (out.status = folder_.rename(making, rebuilt_name(id)); !out.status.ok()) return out;
  out.status = folder_.sync();
  return out;
}

void remove_aside(Folder& folder) {
  const auto names = folder.list();
  for (const std::string& name : names.ok() ? names.value() : std::vector<std::string>{}) {
    if (name.starts_with("aside-")) (void)folder.remove(name);  // it is tried again when there is another
  }
}

Status put_rebuilt(Folder& folder, std::uint32_t id, bool keep_aside) {
  const std::string name = segment_name(id), whole = rebuilt_name(id);
  const auto size = folder.look(whole);
  if (!size.ok()) return size.status();
  if (size.value() == 0) return {};
  remove_aside(folder);
  if (keep_aside && folder.size_of(name) > 0) {
    (void)folder.link(name, "aside-" + name);  // for people to look at; FAT knows no second names
  }
  remove_wal(folder, name);
  if (Status status = folder.rename(whole, name); !status.ok()) return status;
  return folder.sync();
}

Result<HeadContents> look_into(Folder& folder, const std::string& name, const std::string& vfs) {
  auto db =
      with_spare(folder, [&] { return Database::open(folder.join(name), Database::Mode::read_sealed, vfs); });
  if (!db.ok()) return db.status();
  HeadContents contents;
  if (Status status = read_state(db.value(), contents); !status.ok()) return status;
  if (Status status = read_row_heads(db.value(), contents); !status.ok()) return status;
  contents.bytes = folder.size_of(name);
  return contents;
}

}  // namespace millrace
