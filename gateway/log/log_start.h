// A log's beginnings: which file is the head, what it says of the rest, who reads, and how far they are. What
// is damaged is salvaged, never an error. Fills the parts of a log, once, before anybody sees it; runs SQL on
// this thread.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "log/cursors.h"
#include "log/mark.h"
#include "log/segment.h"

namespace millrace {

struct LogParts;

class LogStart {
 public:
  explicit LogStart(LogParts& parts) : p_(parts) {}
  // Fails only when the folder itself cannot be used, or with `newer` when a later version wrote it (nothing
  // was touched then).
  Status load(std::uint64_t seed);

 private:
  Status look_around();
  Status find_head();
  Status restore(std::uint32_t head, const HeadContents& contents);
  Status rebuild_head(std::uint32_t id);
  void begin_new(std::uint64_t seed);
  Status take_the_folder();
  Status take_over_files();
  Status adopt_above();
  Status finish_replacements();
  Status lose_missing();
  void settle_numbers(bool head_lost, std::uint64_t seed);
  // ---- damaged state (log_start_damage.cpp)
  Status mend_state(std::uint32_t head, HeadContents& contents);
  Status adopt_unnamed();
  Status check_cursors(const HeadContents& head);

  LogParts& p_;
  std::vector<std::string> names_;  // of files
  std::vector<std::uint32_t> ids_;  // of segments, the newest first
  std::optional<Mark> mark_;
  std::vector<std::uint32_t> above_;     // newer than the head: they cannot be one, but may hold rows
  std::optional<HeadContents> doubted_;  // a head whose cursors no checksum vouches for
  std::vector<Row> rows_beyond_;         // committed after the newest state that is left
  bool state_doubtful_ = false;          // entries of it were damaged: cursors and segments may be missing
  std::set<Cursors::Key> doubtful_cursors_;
};

}  // namespace millrace
