// What the rooms of one log share, and the rooms themselves: each has one idea and its own memory, and knows
// the others by their public side. Lives on the loop; SqliteLog is what the rest of the gateway sees of it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "log/cursors.h"
#include "log/group_writer.h"
#include "log/withheld_groups.h"
#include "log/log_options.h"
#include "log/log_space.h"
#include "log/log_state.h"
#include "log/mending.h"
#include "log/open_group.h"
#include "log/row_cache.h"
#include "log/segment.h"
#include "log/struck_letters.h"
#include "log/unwritten.h"
#include "loop/loop.h"

namespace millrace {

struct LogParts {
  LogParts(Loop& loop, Folder& folder, const LogOptions& options);
  LogParts(const LogParts&) = delete;
  ~LogParts() { *alive = false; }

  std::shared_ptr<HeadWriter> make_writer() const;
  std::vector<SegmentInfo> segments() const;  // ascending, the head last
  // Rows on their way from segments that are in the table no more into the head.
  std::vector<const GroupWrite::Copy*> copies() const;

  Loop& loop;
  Folder& folder;
  LogOptions options;                                  // bounds that go together are made to
  std::shared_ptr<HeadWriter> writer;                  // on the log worker
  std::shared_ptr<RowReader> reader;                   // on the read worker
  std::map<Log::ListenerId, Log::Listener> listeners;  // in the order they came
  std::function<void(InboxPosition)> durable_hook;

  // ---- numbers; committed: can be read; durable: on flash
  std::uint64_t epoch = 0;
  Sequence next = 1, committed = 0, durable = 0, reserved = 0;
  Log::GroupTimes shown;                                  // the last group that could be read
  std::uint64_t records_ever = 0, committed_records = 0;  // over all lives of this log

  // ---- what is stored
  Cursors cursors;
  LogState state;
  std::map<std::uint32_t, SegmentInfo> sealed;
  SegmentInfo head;
  std::uint32_t highest_id = 0;   // of any segment there is or was: the next head takes the one above
  std::uint64_t aside_bytes = 0;  // of the damaged file that is kept to be looked at
  std::optional<InboxPosition> inbox;
  StruckLetters struck;
  RowCache cache;
  std::string folder_identity;

  bool starting = true, stopping = false;
  bool state_lost = false;  // cursors are gone: who subscribes begins with the oldest
  StartReport start_report;
  WallTime last_settled;
  LogStats stats;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);

  OpenGroup open;
  GroupWriter groups;
  WithheldGroups withheld;
  Unwritten unwritten;
  LogSpace space;
  Mending mending;
};

}  // namespace millrace
