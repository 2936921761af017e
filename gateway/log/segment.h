// Segment files: what lies in them, and the two who touch them. HeadWriter lives on the log worker and owns
// the one writing connection; RowReader lives on the read worker. Both know files and rows, nothing of
// cursors or consumers: those are opaque entries of the state table here. The format is described in
// FORMAT.md.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/disk_space.h"
#include "base/files.h"
#include "log/log.h"
#include "log/mark.h"
#include "log/sqlite.h"

namespace millrace {

// Written, and read. A file of an older format is read as it is and never written again.
constexpr std::uint64_t log_format = 3, oldest_log_format = 1;
constexpr std::uint64_t row_records_max = 1 << 20;
constexpr const char* anchor_name = "anchor";  // see Folder::identity()

// What a segment holds of one lane. Enough to decide without opening the file.
struct LaneSpan {
  Sequence first = 0, last = 0;
  std::uint64_t records = 0, bytes = 0;
  bool empty() const { return records == 0; }
  bool operator==(const LaneSpan&) const = default;
  void add(Sequence from, Sequence to, std::uint64_t count, std::uint64_t size);
};

struct SegmentInfo {
  std::uint32_t id = 0;
  std::uint64_t file_bytes = 0;
  Sequence valid_through = UINT64_MAX;  // rows behind it are remains of a failed commit
  std::array<LaneSpan, lane_count> lanes;
  // What its rows take, state aside: that alone decides whether it is full.
  std::uint64_t row_bytes() const {
    std::uint64_t bytes = 0;
    for (const LaneSpan& span : lanes) bytes += span.bytes + span.bytes / 16;
    return bytes;
  }
};

// The numbers of `whole` that no row holds; rows ascend.
std::vector<Range> gaps_between(const std::vector<Row>& rows, Range whole);

std::string segment_name(std::uint32_t id);
// The id of "seg-0000000a.db"; nothing for other names.
std::optional<std::uint32_t> segment_id(const std::string& name);

struct ListedRow {
  Row row;  // without columns
  std::uint64_t bytes = 0;
  LossDetail devices;  // only its device counts, when they were asked for
};

using StateTable = std::map<std::string, std::shared_ptr<const Bytes>, std::less<>>;

// One commit, complete: it can be written to the head as it is, or as the first commit of a fresh head.
struct GroupWrite {
  std::vector<Row> rows;
  // of the state table; null: removed
  std::vector<std::pair<std::string, std::shared_ptr<const Bytes>>> changed;
  StateTable state;  // the head's whole table, as of this group; only where a fresh head is made
  // name and content: written and synced before the commit
  std::optional<std::pair<std::string, Bytes>> state_file;
  struct Copy {  // rows moved verbatim from a segment that will go: all of them, or the group fails
    SegmentInfo segment;
    std::vector<Sequence> firsts;
    std::array<LaneSpan, lane_count> lanes{};  // of these rows
    std::vector<Range> lost;                   // its letters that do not stay, and are told
  };
  std::vector<Copy> copies;
  std::vector<std::string> remove_after;  // file names to unlink once this is committed
  struct Replacement {
    std::uint32_t id;
    bool keep_aside;  // the old file, for people to look at
  };
  std::vector<Replacement> replace_after;  // segments whose rebuilt file takes the old one's place then
  // numbers must be reserved before they are used; what is durable now
  std::optional<Mark> mark_before, mark_after;
  std::string folder_identity;                  // a fresh head is made nowhere else
  std::optional<std::uint32_t> fresh_head;      // write to a new file with this id
  std::optional<InboxPosition> inbox_position;  // for who waits for it
};

struct GroupResult {
  Status status;
  std::uint64_t head_bytes = 0;    // database and -wal
  std::uint64_t sealed_bytes = 0;  // of the previous head, when a fresh one was made
  std::vector<ListedRow> copied;   // without columns
  // the segment whose rows could not all be carried forward: it must stay
  std::optional<std::uint32_t> copy_fault;
  Status mark_status;  // the commit stands all the same
  bool on_fresh_head = false;
  // Not committed for want of room, which was refused before anything was synced: the head is none the worse
  // for it.
  bool head_stands = false;
  std::optional<DiskSpace> disk;  // as it was found when the commit failed
};

struct HeadContents {
  StateTable state;  // whole entries; of a user's name an empty value says that it was removed
  std::vector<std::string> damaged;  // keys, as far as they can be read, of entries that fail their checksum
  bool lacks_state = false;          // fewer entries than were written
  Status rows_fault;                 // the state is whole, the rows are not
  std::array<LaneSpan, lane_count> lanes;
  std::vector<Row> rows;  // without columns
  std::uint64_t bytes = 0;
};

class HeadWriter {
 public:
  // The WAL is checkpointed when it reaches `wal_bytes_max`.
  HeadWriter(Folder& folder, std::string vfs, std::uint64_t wal_bytes_max)
      : folder_(folder), mark_(folder), vfs_(std::move(vfs)), wal_bytes_max_(wal_bytes_max) {}

  // Opens an existing head and reads what start needs; the rows themselves are not read. `take_in_wal`: it
  // will be written on; where that is not possible it stays closed, and the next commit makes a fresh one.
  // Fails with `unavailable` where that says nothing about the file: no descriptor was left, no memory, no
  // right to look.
  Result<HeadContents> open(std::uint32_t id, bool take_in_wal);
  GroupResult write(const GroupWrite& group);
  Status write_mark(const Mark& mark, const std::string& folder_identity);
  // For words about a commit that failed; nothing where it cannot be told.
  std::optional<DiskSpace> look_at_disk() const;
  // Checkpoints and closes: the file stands alone afterwards.
  Status close();

 private:
  Result<HeadContents> open_once(std::uint32_t id, bool take_in_wal);
  Status create(std::uint32_t id, const GroupWrite& group, GroupResult& result);
  Status check_folder(const std::string& identity) const;
  Status prepare_statements();
  void drop_statements();
  Status write_in_transaction(const GroupWrite& group, GroupResult& result);
  void begin_head(const GroupWrite& group, GroupResult& result);
  void write_into_head(const GroupWrite& group, GroupResult& result);
  Status put_rows(Statement& insert, const GroupWrite& group, GroupResult& result);
  Status copy_rows(Statement& insert, const GroupWrite::Copy& copy, std::vector<ListedRow>& copied);
  std::uint64_t bytes_on_disk();

  Folder& folder_;
  MarkFile mark_;
  std::string vfs_;
  std::uint64_t wal_bytes_max_;
  Database db_;
  Statement begin_, commit_, insert_row_, put_state_, drop_state_;
  std::uint32_t id_ = 0;
  std::uint64_t bytes_ = 0;
};

struct ReadRows {
  std::vector<Row> rows;
  // What stopped the reading, in which file: `corrupt` (rebuild() takes out what is whole), `unavailable`
  // (the file is missing, or cannot be looked at now: no descriptor, no memory), or an I/O error.
  Status fault;
  std::uint32_t fault_in = 0;
};

// What a damaged segment still holds.
struct Rebuilt {
  Status status;
  std::array<LaneSpan, lane_count> lanes;
  std::vector<Row> rows;  // without columns, ascending
  std::uint64_t file_bytes = 0;
  LossDetail taken_out;  // what `keep` took out, by device
};

class RowReader {
 public:
  RowReader(Folder& folder, std::string vfs) : folder_(folder), vfs_(std::move(vfs)) {}

  // Rows of `lane` in `segments` (those that hold the lane, any order) that touch `range`; the last one is
  // the live head when its id is `head`. With a fault the rows are those before it.
  ReadRows read(const std::vector<SegmentInfo>& segments, std::uint32_t head, Lane lane, Range range,
                Log::Direction direction, std::size_t bytes_max);
  // Every row of a sealed segment in number order; `corrupt` when one is damaged, or they are fewer than the
  // account says.
  Result<std::vector<ListedRow>> list(const SegmentInfo& segment, bool with_devices);
  // Writes what is whole of a damaged segment into a file beside it, synced. put_rebuilt() lets it take the
  // damaged one's place, once the losses are committed; until then nothing has changed. `keep` may take
  // records out: it gives the rows that stay of one.
  using Keep = std::function<std::vector<Row>(Row)>;
  Rebuilt rebuild(std::uint32_t id, const Keep& keep = {});
  // Lets go of a file that is about to be unlinked or was sealed.
  void forget(std::uint32_t id) { open_.erase(id); }

 private:
  struct Open {
    Database db;
    Statement up, down;
    std::uint64_t used = 0;
  };
  Result<Open*> open(const SegmentInfo& segment, bool live);
  Result<Open*> open_spared(const SegmentInfo& segment, bool live);
  Rebuilt rebuild_once(std::uint32_t id, const Keep& keep);
  Status read_segment(const SegmentInfo& segment, bool live, Lane lane, Range range, bool up,
                      std::size_t bytes_max, std::vector<Row>& rows, std::size_t& bytes);

  Folder& folder_;
  std::string vfs_;
  std::map<std::uint32_t, Open> open_;
  std::uint64_t clock_ = 0;
};

// The rebuilt file becomes the segment; the damaged one is kept as "aside-NAME", in place of any that was
// kept before, where the file system has second names. A crash in between is finished by calling it again.
Status put_rebuilt(Folder& folder, std::uint32_t id, bool keep_aside);
void remove_aside(Folder& folder);
std::string rebuilt_name(std::uint32_t id);
// What a segment file without a place in the table holds, and whether it is one that rebuild() made.
Result<HeadContents> look_into(Folder& folder, const std::string& name, const std::string& vfs);

std::uint32_t row_crc(const Row& row, BytesView columns);

}  // namespace millrace
