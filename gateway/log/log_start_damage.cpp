// At start: what is done about entries of the head's table that fail their checksum, or are missing.
#include <algorithm>

#include "base/logger.h"
#include "log/log_parts.h"
#include "log/log_start.h"
#include "log/state_table.h"

namespace millrace {
namespace {

constexpr std::size_t damage_lines_max = 20;

}  // namespace

// A damaged entry is never believed. Of what the log itself keeps, the segment before knows an older value:
// records come again under their identity. What pipeline and inputs keep begins anew, and that is told by
// name.
Status LogStart::mend_state(std::uint32_t head, HeadContents& contents) {
  state_doubtful_ = p_.open.seal_next = p_.open.dirty = true;
  std::size_t lines = 0;
  for (const std::string& key : contents.damaged) {
    ++p_.stats.damaged_states;
    if (++lines <= damage_lines_max)
      LOG_ERROR("log: ", segment_name(head), ": the entry ", key, " fails its checksum and is not believed");
    // nor what a file remembers of it
    if (is_user_key(key)) contents.state[key] = std::make_shared<const Bytes>();
  }
  if (contents.lacks_state) {
    ++p_.stats.damaged_states;
    LOG_ERROR("log: ", segment_name(head), ": entries of state are missing");
  }
  StateTable older;
  for (const std::uint32_t id : ids_) {
    if (id >= head) continue;
    auto before = look_into(p_.folder, segment_name(id), p_.options.vfs);
    if (!before.ok() && before.status().code() == Code::unavailable) return before.status();
    if (!before.ok() || before.value().state.contains("rebuilt")) continue;
    older = std::move(before.value().state);
    break;
  }
  for (auto& [key, value] : older) {
    if (contents.state.contains(key) || is_user_key(key) || key == "head" || key == "last" ||
        key == "clean" || key == "inbox" || key == "files" || key == "entries" ||
        key.starts_with("segment/")) {
      continue;
    }
    LOG_WARN("log: ", key, " is taken from the segment before");
    contents.state[key] = std::move(value);
    for (const Lane lane : all_lanes) {
      const std::string prefix = cursor_key("", lane);
      if (key.starts_with(prefix)) doubtful_cursors_.insert({key.substr(prefix.size()), lane});
    }
  }
  p_.state_lost = true;  // a cursor of which nothing is known any more begins with the oldest record there is
  return {};
}

// The table may have lost its word of a segment: then a file it does not name is no remains of an unlink.
Status LogStart::adopt_unnamed() {
  for (const std::uint32_t id : ids_) {
    if (id >= p_.head.id || p_.sealed.contains(id)) continue;
    const auto contents = look_into(p_.folder, segment_name(id), p_.options.vfs);
    if (!contents.ok() && contents.status().code() == Code::unavailable) return contents.status();
    SegmentInfo info;
    info.id = id;
    if (contents.ok()) {
      info.file_bytes = contents.value().bytes;
      info.lanes = contents.value().lanes;
    }
    p_.sealed[id] = info;  // what cannot be read is mended when somebody wants it
    p_.state.put(segment_key(id), encode_segment(info));
    for (const LaneSpan& span : info.lanes) p_.committed = std::max(p_.committed, span.last);
    LOG_WARN("log: ", segment_name(id), " is taken into the table again");
  }
  return {};
}

// What is unsettled by the books is what can be read behind the cursor. Where the books know of more the
// cursor may have run ahead of them: it begins with the oldest record there is, under its identity. Looked at
// where no checksum vouches.
Status LogStart::check_cursors(const HeadContents& head) {
  if (p_.cursors.empty()) return {};
  std::map<Sequence, Row> rows;
  for (const Row& row : head.rows) rows.emplace(row.first, row);
  for (const auto& [id, segment] : p_.sealed) {
    if (id == p_.head.id) continue;
    const auto contents = look_into(p_.folder, segment_name(id), p_.options.vfs);
    if (!contents.ok() && contents.status().code() == Code::unavailable) return contents.status();
    if (!contents.ok()) return {};  // damaged: what it lacks is counted when it is mended
    for (const Row& row : contents.value().rows) {
      if (row.first <= segment.valid_through) rows.emplace(row.first, row);
    }
  }
  for (const Cursors::Again& again : p_.cursors.check(rows, doubtful_cursors_, p_.committed)) {
    if (again.ran_ahead) {
      LOG_ERROR("log: the cursor of ", again.who.first, " in lane ", lane_name(again.who.second), " leaves ",
                again.found, " records unsettled, the ledger ", again.booked,
                "; it begins again with the oldest");
      ++p_.stats.damaged_states;
    }
    LOG_WARN("log: ", again.who.first, ": up to ", again.sent_again, " records of lane ",
             lane_name(again.who.second), " are sent again, under their identity");
    p_.open.dirty = true;
  }
  return {};
}

}  // namespace millrace
