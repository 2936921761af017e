// Reading rows back, and giving back the space of what nobody wants any more, or what there is no room for. A
// room of the log (log_parts.h); on the loop.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "log/log.h"
#include "log/segment.h"

namespace millrace {

struct LogParts;

class LogSpace {
 public:
  explicit LogSpace(LogParts& parts) : p_(parts) {}

  // What Log::read promises.
  void read(Lane lane, Range range, Log::Direction direction, std::size_t bytes_max,
            std::function<void(Result<std::vector<Row>>)> done);

  std::uint64_t bytes_used() const;
  // What the open group and the one in the air will add.
  std::uint64_t bytes_coming() const;
  // Whether less than `margin` is left beside what a roll-over may need, and state when its files become one.
  bool over(std::uint64_t margin) const;
  // Whether inputs are to pause, where a full log blocks.
  bool full() const;
  // What is left then for an inbox that is on its way: half of it for what comes beside.
  std::uint64_t inbox_margin() const;
  // Lets go of segments that nobody wants any more, and of the oldest one when the bound asks for it.
  void make_room();
  // The table forgets the segment in the open group; the file goes once that is committed.
  void drop_segment(std::uint32_t id);
  // What all letters take that were not struck, about.
  std::uint64_t letter_bytes() const;
  // It is made anew: what was known of its rows may be no more.
  void look_again(std::uint32_t id) { looked_at_.erase(id); }

 private:
  std::uint64_t share() const;
  std::uint64_t letters_carried_max() const;
  bool mostly_letters(const SegmentInfo& segment) const;
  bool letters_have_room() const;
  std::uint64_t letter_bytes(const SegmentInfo& segment) const;
  bool stays_for_letters(const SegmentInfo& segment, const std::vector<ListedRow>& rows);
  void look_and_reclaim(const SegmentInfo& segment, bool evict);
  void reclaim(const SegmentInfo& segment, const std::vector<ListedRow>& rows, bool evict);

  LogParts& p_;
  bool reclaiming_ = false;
  // Segments that stay for their letters: how their rows were when they were looked at.
  struct Looked {
    std::uint64_t struck = 0, bytes = 0;  // how many were struck, and of those that were not
    Instant at;
  };
  std::map<std::uint32_t, Looked> looked_at_;
};

}  // namespace millrace
