// Segment files: what lies in them, and the two who touch them. HeadWriter lives on the log worker and owns the one
// writing connection; RowReader lives on the read worker. Both know files and rows, nothing of cursors or consumers:
// those are opaque entries of the state table here. The format is described in FORMAT.md.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "log/log.h"
#include "log/sqlite.h"

namespace millrace {

constexpr std::int64_t log_format = 1;

// What a segment holds of one lane. Enough to decide without opening the file.
struct LaneSpan {
  Sequence first = 0, last = 0;
  std::uint64_t records = 0, bytes = 0;
  bool empty() const { return records == 0; }
  void add(Sequence from, Sequence to, std::uint64_t count, std::uint64_t size);
};

struct SegmentInfo {
  std::uint32_t id = 0;
  std::uint64_t file_bytes = 0;
  Sequence valid_through = UINT64_MAX;  // rows behind it are remains of a failed commit
  std::array<LaneSpan, lane_count> lanes;
};

std::string segment_name(std::uint32_t id);
// The id of "seg-0000000a.db"; nothing for other names.
std::optional<std::uint32_t> segment_id(const std::string& name);

using StateTable = std::map<std::string, std::shared_ptr<const Bytes>, std::less<>>;

// One commit, complete: it can be written to the head as it is, or as the first commit of a fresh head.
struct GroupWrite {
  std::vector<Row> rows;
  std::vector<std::string> changed;  // keys of `state` that this group changed (absent there: removed)
  StateTable state;                  // all of it, as of this group
  struct Copy {                      // rows moved verbatim from a segment that will go
    SegmentInfo segment;
    std::vector<Sequence> firsts;
  };
  std::vector<Copy> copies;
  std::vector<std::string> remove_after;        // file names to unlink once this is committed
  std::optional<std::uint32_t> fresh_head;      // write to a new file with this id
  std::optional<InboxPosition> inbox_position;  // for who waits for it
};

struct GroupResult {
  Status status;
  std::uint64_t head_bytes = 0;      // database, -wal and -shm
  std::uint64_t database_bytes = 0;  // the database alone
  std::uint64_t sealed_bytes = 0;    // of the previous head, when a fresh one was made
  std::vector<Row> copied;           // without columns
  bool on_fresh_head = false;        // also set when the group failed later: the fresh head exists
};

struct HeadContents {
  StateTable state;
  std::array<LaneSpan, lane_count> lanes;
  std::vector<Row> rows;  // without columns
  std::uint64_t bytes = 0;
};

class HeadWriter {
 public:
  // The WAL is checkpointed when it reaches `wal_bytes_max`.
  HeadWriter(Folder& folder, std::string vfs, std::uint64_t wal_bytes_max) : folder_(folder), vfs_(std::move(vfs)), wal_bytes_max_(wal_bytes_max) {}

  // Opens an existing head and reads what start needs; the rows themselves are not read.
  Result<HeadContents> open(std::uint32_t id);
  GroupResult write(const GroupWrite& group);
  // Checkpoints and closes: the file stands alone afterwards.
  Status close();

 private:
  Status create(std::uint32_t id, const StateTable& state);
  Status prepare_statements();
  Status write_in_transaction(const GroupWrite& group, std::vector<Row>& copied);
  Status copy_rows(const GroupWrite::Copy& copy, std::vector<Row>& copied);
  Status put_row(const Row& row, std::uint32_t crc, BytesView columns);
  std::uint64_t bytes_on_disk() const;

  Folder& folder_;
  std::string vfs_;
  std::uint64_t wal_bytes_max_;
  Database db_;
  Statement insert_row_, put_state_, drop_state_;
  std::uint32_t id_ = 0;
};

struct ReadRows {
  std::vector<Row> rows;
  std::vector<Row> unreadable;      // without columns; count may be what the file claims
  Status segment_fault;             // the file itself could not be read to the end
  std::uint32_t fault_in = 0;
};

class RowReader {
 public:
  RowReader(Folder& folder, std::string vfs) : folder_(folder), vfs_(std::move(vfs)) {}

  // Rows of `lane` in `segments` (those that hold the lane, any order) that touch `range`; the last one is the live head
  // when its id is `head`.
  ReadRows read(const std::vector<SegmentInfo>& segments, std::uint32_t head, Lane lane, Range range,
                Log::Direction direction, std::size_t bytes_max);
  // Every row of a sealed segment, without columns; `row.columns` stays null and zstd tells nothing. Sizes in `bytes`.
  Result<std::vector<std::pair<Row, std::uint64_t>>> list(const SegmentInfo& segment);
  // Lets go of a file that is about to be unlinked or was sealed.
  void forget(std::uint32_t id) { open_.erase(id); }

 private:
  struct Open {
    Database db;
    Statement up, down;
    std::uint64_t used = 0;
  };
  Result<Open*> open(std::uint32_t id, bool live);

  Folder& folder_;
  std::string vfs_;
  std::map<std::uint32_t, Open> open_;
  std::uint64_t clock_ = 0;
};

std::uint32_t row_crc(const Row& row, BytesView columns);

}  // namespace millrace
