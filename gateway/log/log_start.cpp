#include "log/log_start.h"

#include <algorithm>

#include "base/logger.h"
#include "log/log_parts.h"
#include "log/salvage.h"
#include "log/state_table.h"

namespace millrace {
namespace {

constexpr std::uint64_t identity_format = 2;  // before, it was made otherwise
constexpr std::size_t spare_descriptors = 8;  // a new head takes four at once, the reader three

// Fewer rows than the head's own account says: SQLite takes some files that were cut off for shorter ones.
bool lacks_rows(const HeadContents& contents) {
  const auto noted = contents.state.find("head");
  SegmentInfo account;
  if (noted == contents.state.end() || !decode_segment(*noted->second, account)) return false;
  for (std::size_t lane = 0; lane < lane_count; ++lane) {
    if (contents.lanes[lane].records < account.lanes[lane].records) return true;
  }
  return false;
}

}  // namespace

// Which files there are, and what the mark says.
Status LogStart::look_around() {
  p_.folder.hold_spare(spare_descriptors);
  auto names = p_.folder.list();
  if (!names.ok()) return names.status();
  const auto marked = with_spare(p_.folder, [&] { return MarkFile(p_.folder).read(); });
  if (!marked.ok()) return marked.status();
  mark_ = marked.value();
  names_ = std::move(names).value();
  for (const std::string& name : names_) {
    if (const auto id = segment_id(name)) ids_.push_back(*id);
    else if (name.ends_with("-wal") &&
             !std::binary_search(names_.begin(), names_.end(), name.substr(0, name.size() - 4))) {
      // it may hold rows
      if (const auto orphan = segment_id(name.substr(0, name.size() - 4))) ids_.push_back(*orphan);
    }
  }
  std::sort(ids_.rbegin(), ids_.rend());
  p_.highest_id = ids_.empty() ? 0 : ids_.front();
  return {};
}

// The newest file that is a head: what it says of the rest.
Status LogStart::find_head() {
  for (const std::uint32_t id : ids_) {
    const auto hides = with_spare(p_.folder, [&] { return wal_hides_commits(p_.folder, segment_name(id)); });
    if (!hides.ok()) return hides.status();
    const bool hidden = hides.value();
    auto contents = p_.writer->open(id, !hidden);
    // Trouble of ours, or no room to look in, is no damage of theirs: nothing was touched, the next start
    // looks again.
    if (!contents.ok() &&
        (contents.status().code() == Code::unavailable || contents.status().code() == Code::full))
      return contents.status();
    const std::uint64_t format = contents.ok() ? one_varint(contents.value().state, "format", 0) : 0;
    if (format > log_format)
      return {Code::newer, text(p_.folder.path(), " was written by a later version (format ", format, ")")};
    if (format >= oldest_log_format) {
      if (!contents.value().damaged.empty() || contents.value().lacks_state) {
        if (Status status = mend_state(id, contents.value()); !status.ok()) return status;
      }
      if (Status status = p_.withheld.recover(contents.value()); !status.ok()) return status;
      if (Status status = restore(id, contents.value()); !status.ok()) return status;
      if (Status status = p_.unwritten.take_over_note(); !status.ok()) return status;
      if (state_doubtful_ || format < log_format) doubted_ = contents.value();
      if (hidden || !contents.value().rows_fault.ok() || lacks_rows(contents.value())) {
        if (Status status = rebuild_head(id); !status.ok()) return status;
      }
      if (format < log_format) p_.open.seal_next = true;  // an older format is read, never written
      break;
    }
    p_.writer = p_.make_writer();
    above_.push_back(id);
  }
  return {};
}

// The head's rows are damaged, or some are missing: what is whole of it goes on as a sealed segment.
Status LogStart::rebuild_head(std::uint32_t id) {
  LOG_ERROR("log: ", segment_name(id), " is damaged; taking over what is whole");
  p_.sealed[id] = p_.head;
  // What it holds is noted in itself, in format 1 it is not.
  if (const auto noted = p_.state.get("head")) (void)decode_segment(*noted, p_.sealed[id]);
  p_.sealed[id].file_bytes = p_.head.file_bytes;
  p_.sealed[id].valid_through = UINT64_MAX;
  p_.head = SegmentInfo{};
  p_.writer = p_.make_writer();
  p_.open.seal_next = true;
  p_.mending.waiting[id];
  const Rebuilt rebuilt = p_.reader->rebuild(id);
  if (rebuilt.status.code() == Code::unavailable) return rebuilt.status;
  const Sequence noted = p_.state.number("last", UINT64_MAX);
  std::copy_if(rebuilt.rows.begin(), rebuilt.rows.end(), std::back_inserter(rows_beyond_),
               [noted](const Row& row) { return row.first > noted; });
  p_.mending.on_rebuilt(id, rebuilt);
  return {};
}

// From here on the folder is ours to write into. What a crash left half born goes.
Status LogStart::take_the_folder() {
  for (const std::string& name : names_) {
    if (name.starts_with("seg-") && name.find(".new") != std::string::npos) (void)p_.folder.remove(name);
  }
  const auto anchor = p_.folder.look(anchor_name);
  if (!anchor.ok()) return anchor.status();
  if (anchor.value() == 0) {
    // the commit will say
    (void)p_.folder.write(
        anchor_name, 0, bytes_of("This file tells a log from its copies. Never copy it, never change it.\n"));
  }
  p_.unwritten.take_space_now();
  return {};
}

// Files beside the head: those it names and those it does not.
Status LogStart::take_over_files() {
  if (state_doubtful_) {
    if (Status status = adopt_unnamed(); !status.ok()) return status;
  }
  if (Status status = adopt_above(); !status.ok()) return status;
  if (Status status = finish_replacements(); !status.ok()) return status;
  if (const auto now = p_.folder.list(); now.ok()) {
    for (const std::string& name : now.value())
      p_.aside_bytes += name.starts_with("aside-") ? p_.folder.size_of(name) : 0;
  }
  // Files the table does not name are remains of an unlink that a crash cut off.
  for (const std::uint32_t id : ids_) {
    if (id < p_.head.id && !p_.sealed.contains(id) && p_.folder.size_of(segment_name(id)) > 0) {
      for (const char* suffix : {"", "-wal", "-shm"}) (void)p_.folder.remove(segment_name(id) + suffix);
    }
  }
  if (Status status = lose_missing(); !status.ok()) return status;
  if (doubted_ && p_.mending.waiting.empty()) {
    if (Status status = check_cursors(*doubted_); !status.ok()) return status;
  }
  // how many records there were is what the mark says, and what came since
  if (doubted_ && !p_.state.get("last") && mark_) {
    std::uint64_t records = mark_->records;
    for (const Row& row : doubted_->rows) records += row.first > mark_->durable ? row.count : 0;
    p_.state.put("last", varints({p_.committed, 0, records}));
  }
  return {};
}

Status LogStart::load(std::uint64_t seed) {
  if (Status status = look_around(); !status.ok()) return status;
  if (Status status = find_head(); !status.ok()) return status;
  if (Status status = take_the_folder(); !status.ok()) return status;
  const bool found = p_.head.id != 0 || !p_.mending.waiting.empty();
  // damaged, and no segment before remembers it
  const bool epoch_lost = found && (p_.epoch == 0 || p_.reserved == 0);
  if (epoch_lost && mark_) p_.epoch = mark_->epoch;
  if (!found) begin_new(seed);
  p_.start_report.clean = found ? p_.state.number("clean", 0) != 0 : ids_.empty();
  p_.start_report.fresh = ids_.empty();
  if (!ids_.empty() && !found) {
    p_.state_lost = true;
    LOG_ERROR("log: no segment knows the cursors any more; uplinks begin with the oldest record there is");
  }
  if (Status status = take_over_files(); !status.ok()) return status;
  p_.state.note_files(names_, p_.folder);
  if (mark_) p_.groups.begin_marks_after(mark_->serial);
  const auto identity = p_.folder.identity(anchor_name);
  if (!identity.ok()) return identity.status();
  p_.folder_identity = identity.value();
  settle_numbers(!above_.empty() || epoch_lost, seed);
  p_.state.put("identity", to_bytes(p_.folder_identity));
  p_.state.put("format", varints({log_format}));
  p_.state.put("epoch", varints({p_.epoch}));
  p_.state.put("clean", varints({0}));
  p_.withheld.show_recovered();
  p_.cursors.balance();
  p_.starting = false;
  if (!above_.empty() || !p_.open.losses.empty() || !p_.open.replacements.empty() || p_.withheld.flush_next ||
      state_doubtful_)
    p_.groups.schedule_close();
  return {};
}

// Segments above the head: one that could not be opened, or was rebuilt at an earlier start and is not in a
// table yet.
Status LogStart::adopt_above() {
  for (const std::uint32_t id : above_) {
    const std::string name = segment_name(id);
    auto contents = look_into(p_.folder, name, p_.options.vfs);
    if (!contents.ok() && contents.status().code() == Code::unavailable) return contents.status();
    if (!contents.ok() || !contents.value().state.contains("rebuilt")) {
      LOG_ERROR("log: ", p_.folder.join(name), " cannot be used (",
                contents.ok() ? "not a log of ours" : contents.status().detail(), "); salvaging");
      ++p_.stats.files_set_aside;
      if (const Rebuilt rebuilt = p_.reader->rebuild(id); !rebuilt.status.ok()) return rebuilt.status;
      if (Status status = put_rebuilt(p_.folder, id, true); !status.ok()) return status;
      contents = look_into(p_.folder, name, p_.options.vfs);
      if (!contents.ok()) return contents.status();
    }
    p_.open.seal_next = true;  // the next head is above them all
    p_.open.dirty = true;
    if (contents.value().rows.empty()) {
      (void)p_.folder.remove(name);  // the damaged file itself is aside
      continue;
    }
    SegmentInfo info;
    info.id = id;
    info.file_bytes = contents.value().bytes;
    info.lanes = contents.value().lanes;
    std::uint64_t records = 0;
    for (const LaneSpan& span : info.lanes) records += span.records;
    LOG_WARN("log: ", records, " records of ", name, " are whole");
    p_.sealed[id] = info;
    p_.state.put(segment_key(id), encode_segment(info));
    p_.cursors.take_over(contents.value().rows);
    rows_beyond_.insert(rows_beyond_.end(), contents.value().rows.begin(), contents.value().rows.end());
  }
  std::sort(rows_beyond_.begin(), rows_beyond_.end(),
            [](const Row& a, const Row& b) { return a.first < b.first; });
  return {};
}

// A rebuilt segment takes its place when the table already speaks of it; else the damage will be found again.
Status LogStart::finish_replacements() {
  for (const std::string& name : names_) {
    const auto id = name.ends_with(".whole") ? segment_id(name.substr(0, name.size() - 6)) : std::nullopt;
    if (!id || p_.mending.waiting.contains(*id)) continue;
    const auto noted = p_.sealed.find(*id);
    const auto contents = look_into(p_.folder, name, p_.options.vfs);
    if (!contents.ok() && contents.status().code() == Code::unavailable) return contents.status();
    const bool spoken_of =
        contents.ok() && noted != p_.sealed.end() && contents.value().lanes == noted->second.lanes;
    if (spoken_of) (void)put_rebuilt(p_.folder, *id, false);  // or at the next start
    else (void)p_.folder.remove(name);
  }
  return {};
}

// Which epoch, and behind which number to go on: no number is ever given twice.
void LogStart::settle_numbers(bool head_lost, std::uint64_t seed) {
  bool clean = p_.start_report.clean && !head_lost;
  const auto noted = p_.state.get("identity");
  const bool moved =
      noted && p_.state.number("format", 0) >= identity_format && text_of(*noted) != p_.folder_identity;
  if (const auto found = p_.state.get("last")) {
    wire::Reader reader(*found);
    p_.committed = std::max(p_.committed, reader.get_varint());
    if (!reader.at_end()) p_.start_report.last_commit = {static_cast<std::int64_t>(reader.get_varint())};
    if (!reader.at_end()) p_.records_ever = reader.get_varint();
    if (!reader.at_end()) p_.last_settled = {static_cast<std::int64_t>(reader.get_varint())};
  }
  const Sequence known = p_.committed;
  std::uint64_t before_mark = p_.records_ever;
  for (const Row& row : rows_beyond_) {
    p_.committed = std::max(p_.committed, row.last());
    p_.records_ever += row.count;
    if (mark_ && row.first <= mark_->durable) before_mark += row.count;
  }
  Sequence end = p_.committed;
  LossDetail vanished{"", "vanished", 0, 0, 0, {}, 0};
  if (mark_) {
    p_.epoch = mark_->epoch;  // the head may have lost the commit that changed it
    // or a whole life, and it is the one before that ended cleanly
    if (mark_->reserved > p_.reserved) clean = p_.start_report.clean = false;
    p_.reserved = std::max(p_.reserved, mark_->reserved);
    end = std::max(end, mark_->durable);
    vanished.count = mark_->records - std::min(mark_->records, before_mark);
  }
  for (const Range& gap : gaps_between(rows_beyond_, {known + 1, end})) {
    vanished.first = vanished.first ? vanished.first : gap.first;
    vanished.last = gap.last;
    // What the mark did not see is counted by its gap, but one like a reservation was left by an unclean
    // start.
    if ((!mark_ || gap.first > mark_->durable) && gap.last - gap.first < reserve_block / 2)
      vanished.count += gap.last - gap.first + 1;
  }
  if (vanished.count > 0) {
    clean = false;
    p_.stats.vanished_records = vanished.count;
    p_.records_ever += vanished.count;
    LOG_ERROR("log: the storage has lost what it had acknowledged: ", vanished.count,
              " records with numbers from ", vanished.first, " to ", vanished.last);
    p_.open.losses[{"", Lane::raw, "vanished"}] = std::move(vanished);
    p_.open.dirty = true;
  }
  p_.committed_records = p_.records_ever;
  p_.committed = end;
  p_.next = p_.committed + 1;
  if (!clean) {
    // Numbers up to the reservation may have been seen by somebody. Go on behind them.
    p_.next = std::max(p_.next, p_.reserved + 1);
    ++p_.stats.number_jumps;
  }
  if (moved || (head_lost && !mark_)) {
    p_.epoch = seed ? seed : 1;
    p_.reserved = p_.next - 1;  // reserved anew, under the new epoch
    p_.open.dirty = true;
    LOG_WARN(
        "log: ",
        moved ? "this folder was copied or restored" : "numbers may have been given that nobody remembers",
        "; records get a new epoch");
  }
}

// A segment the table names and the folder lacks: what it held is lost, and said, and nobody waits for it.
Status LogStart::lose_missing() {
  std::vector<std::uint32_t> missing;
  for (const auto& [id, segment] : p_.sealed) {
    const auto is_gone = p_.mending.gone(id);
    if (!is_gone.ok()) return is_gone.status();
    if (is_gone.value()) missing.push_back(id);
  }
  for (const std::uint32_t id : missing) p_.mending.lose_segment(id, "missing file");
  return {};
}

void LogStart::begin_new(std::uint64_t seed) {
  p_.epoch = seed ? seed : 1;
  p_.open.seal_next = true;  // the first group makes the first head
  p_.open.dirty = true;
}

Status LogStart::restore(std::uint32_t head, const HeadContents& contents) {
  const LogState::Found found = p_.state.restore(contents, p_.folder);
  if (!found.status.ok()) return found.status;
  p_.stats.damaged_states += found.damaged;
  if (found.doubtful) state_doubtful_ = p_.open.seal_next = p_.open.dirty = true;
  p_.epoch = p_.state.number("epoch", 0);
  p_.reserved = p_.state.number("reserved", 0);
  p_.head.id = head;
  p_.head.file_bytes = contents.bytes;
  p_.head.lanes = contents.lanes;
  for (const auto& [key, value] : contents.state) {
    if (key.starts_with("segment/")) {
      SegmentInfo segment;
      const auto id = segment_id(key.substr(8));
      if (id && decode_segment(*value, segment)) {
        segment.id = *id;
        p_.sealed[*id] = segment;
      }
    } else if (key.starts_with("cursor/")) {
      p_.cursors.restore(key, *value);
    } else if (key == "struck") {
      p_.struck.restore(*value);
    } else if (key == "untold") {
      p_.open.restore_untold(*value);
    } else if (key == "inbox") {
      wire::Reader reader(*value);
      const std::uint64_t inbox = reader.get_varint();
      p_.inbox = InboxPosition{inbox, reader.get_varint()};
    }
  }
  for (const SegmentInfo* segment : [this] {
         std::vector<const SegmentInfo*> all{&p_.head};
         for (const auto& [id, info] : p_.sealed) all.push_back(&info);
         return all;
       }()) {
    for (const LaneSpan& span : segment->lanes) p_.committed = std::max(p_.committed, span.last);
  }
  p_.cursors.take_over(contents.rows);
  return {};
}

}  // namespace millrace
