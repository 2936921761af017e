#include "log/log_parts.h"

#include <algorithm>

#include "record/batch.h"

namespace millrace {

LogParts::LogParts(Loop& loop_given, Folder& folder_given, const LogOptions& given)
    : loop(loop_given),
      folder(folder_given),
      options(given),
      reader(std::make_shared<RowReader>(folder_given, given.vfs)),
      state(given.state_bytes_max, given.state_kept, given.state_kept_for),
      cache(given.cache_bytes),
      open(*this),
      groups(*this),
      withheld(*this),
      unwritten(*this, folder_given),
      space(*this),
      mending(*this) {
  if (options.segment_bytes == 0)
    options.segment_bytes = std::clamp<std::uint64_t>(options.bytes_max / 16, 64 << 10, 16 << 20);
  options.open_bytes_max = std::min<std::uint64_t>(options.open_bytes_max, options.bytes_max / 16);
  options.row_bytes_max =
      std::min<std::uint64_t>({options.row_bytes_max, options.bytes_max / 8, batch_bytes_max / 2});
  writer = make_writer();
  // A small log cannot hold a whole inbox back: the promise shrinks to a quarter of it.
  options.inbox_bytes = std::min<std::uint64_t>(options.inbox_bytes, options.bytes_max / 4);
}

// A small WAL is written over again and again; a checkpoint costs a write of each page that changed, and two
// syncs.
std::shared_ptr<HeadWriter> LogParts::make_writer() const {
  return std::make_shared<HeadWriter>(folder, options.vfs,
                                      std::min<std::uint64_t>(options.segment_bytes / 2, 1 << 20));
}

std::vector<SegmentInfo> LogParts::segments() const {
  std::vector<SegmentInfo> all;
  for (const auto& [id, segment] : sealed) all.push_back(segment);
  if (head.id != 0) all.push_back(head);
  return all;
}

std::vector<const GroupWrite::Copy*> LogParts::copies() const {
  std::vector<const GroupWrite::Copy*> all;
  for (const GroupWrite::Copy& copy : open.copies) all.push_back(&copy);
  if (groups.writing) {
    for (const GroupWrite::Copy& copy : groups.writing->copies) all.push_back(&copy);
  }
  return all;
}

}  // namespace millrace
