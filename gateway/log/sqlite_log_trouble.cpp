// While nothing can be written: a disk that others have filled, one that fails or is read-only. Nothing new
// is taken and nothing is evicted; what is stored goes on being read, delivered and settled. What uplinks
// settle is kept in memory and noted in a place of its own, and on the word of that note segments that nobody
// wants any more are given back at once.
#include <algorithm>

#include "base/logger.h"
#include "log/sqlite_log.h"
#include "log/state_table.h"
#include "log/trouble.h"

namespace millrace {

// ---- told -------------------------------------------------------------------------------------------------

// One line when it begins, and one when it becomes trouble of another kind; the state says how it stands now.
void SqliteLog::tell_trouble(const Status& fault, const std::optional<DiskSpace>& disk) {
  const bool begins = stats_.trouble.empty();
  if (begins) {
    trouble_at_ = loop_.now();
    trouble_since_ = loop_.wall();
  }
  const std::string words = words_of_trouble(fault, folder_.path(), disk, bytes_used(), options_.bytes_max);
  if (begins || fault.code() != trouble_code_) {
    LOG_ERROR("log: cannot commit: ", words,
              ". Nothing new is acknowledged, what is stored is kept and goes on being delivered; will keep trying");
  }
  trouble_code_ = fault.code();
  stats_.trouble = text(words, "; since ", format_time(trouble_since_));
  if (begins) tell_room();  // there is none: inputs pause
}

void SqliteLog::tell_end_of_trouble() {
  if (!stats_.trouble.empty()) {
    LOG_INFO("log: writing again, after ", format_duration(loop_.now() - trouble_at_));
  }
  stats_.trouble.clear();
  note_refused_ = false;
  retry_ = Duration{0};
}

// ---- noted ------------------------------------------------------------------------------------------------

// Notes what uplinks have settled meanwhile, and gives back the segments that need not be kept once that
// stands.
void SqliteLog::note_settled(std::function<void()> then) {
  SettleNote::Content content{epoch_, note_serial_ + 1, settles_writing_, given_back_};
  // Not joined with those of the group that is being written: it may be on flash by the time this is read,
  // and what is settled in part is not counted well.
  content.settles.insert(content.settles.end(), settles_open_.begin(), settles_open_.end());
  std::vector<std::uint32_t> going = settled_on_flash(content.settles);
  if (!note_has_space_ || (going.empty() && settles_noted_ == settles_seen_)) return then();
  content.given_back.insert(content.given_back.end(), going.begin(), going.end());
  auto status = std::make_shared<Status>();
  loop_.run_blocking(
      "log", [note = note_, content, status] { *status = note->write(content); },
      [this, alive = alive_, status, going = std::move(going), seen = settles_seen_, then = std::move(then)] {
        if (!*alive) return;
        if (status->ok()) {
          ++note_serial_;
          settles_noted_ = seen;
          for (const std::uint32_t id : going) give_back(id);
          if (!going.empty()) retry_ = options_.retry_min;  // there may be room now
        } else if (!std::exchange(note_refused_, true)) {
          LOG_WARN("log: what uplinks settle cannot be noted: ", status->detail(),
                   "; it comes again should this process be killed, and no room is given back");
        }
        then();
      });
}

// Sealed segments that nobody wants any more by what is on flash: the cursors of the last commit, with what
// is noted. What others settled (windows, whose state moves in the same commit; dead letters) counts once it
// is committed.
std::vector<std::uint32_t> SqliteLog::settled_on_flash(const std::vector<WriteSet::Settle>& noted) const {
  std::vector<std::pair<Lane, SettledSet>> cursors;
  for (const auto& [key, cursor] : cursors_) {
    SettledSet settled;
    if (const auto found = written_.find(cursor_key(key.first, key.second)); found != written_.end()) {
      wire::Reader reader(*found->second);
      settled = read_settled(reader);
    }
    for (const WriteSet::Settle& settle : noted) {
      if (settle.consumer != key.first || settle.lane != key.second) continue;
      for (const Range& part : settled.unsettled_in(settle.range)) {
        if (settled.can_settle(part)) settled.settle(part);
      }
    }
    cursors.emplace_back(key.second, std::move(settled));
  }
  const auto wants = [](const SegmentInfo& segment, Lane lane, const SettledSet& settled) {
    const LaneSpan& span = segment.lanes[static_cast<std::size_t>(lane)];
    if (span.empty()) return false;
    return !settled.unsettled_in({span.first, std::min(span.last, segment.valid_through)}).empty();
  };
  std::vector<std::uint32_t> ids;
  for (const auto& [id, segment] : sealed_) {
    // The last head stays until there is another: it is the one that knows the cursors.
    if (id == head_.id || mending_.contains(id)) continue;
    if (!segment.lanes[static_cast<std::size_t>(Lane::dead)].empty()) continue;
    const auto wanted = [&, &segment = segment](const auto& cursor) { return wants(segment, cursor.first, cursor.second); };
    if (std::none_of(cursors.begin(), cursors.end(), wanted)) ids.push_back(id);
  }
  return ids;
}

// The note stands: the file goes now, not after the commit that cannot be written. No group is in the
// writer's hands here.
void SqliteLog::give_back(std::uint32_t id) {
  if (sealed_.erase(id) == 0) return;
  const std::string key = segment_key(id);
  given_back_.push_back(id);
  drop_state(key);
  if (writing_->fresh_head) {
    writing_->state.erase(key);
  } else {
    std::erase_if(writing_->changed, [&](const auto& change) { return change.first == key; });
    writing_->changed.emplace_back(key, nullptr);
  }
  open_dirty_ = true;
  loop_.run_blocking("read", [reader = reader_, id] { reader->forget(id); }, [] {});
  // What stays for an error goes at the next start, where no table names it.
  for (const char* suffix : {"", "-wal", "-shm"}) (void)folder_.remove(segment_name(id) + suffix);
}

void SqliteLog::try_again() {
  if (stopping_ && stopped_) return end_unwritten();
  retry_timer_ = loop_.after(retry_, [this] { write_group(); });
}

// Asked to stop while the disk refuses: what waits stays in the inbox and with the senders, who were told
// nothing.
void SqliteLog::end_unwritten() {
  retry_timer_.reset();
  *alive_ = false;
  for (auto* dones : {&writing_dones_, &open_dones_}) {
    for (Done& done : *dones) done({Code::closed, "the log could not be written: " + stats_.trouble});
  }
  loop_.post(std::exchange(stopped_, nullptr));
}

// ---- at start, and after ----------------------------------------------------------------------------------

void SqliteLog::take_note_space() {
  if (note_has_space_ || stopping_) return;
  auto status = std::make_shared<Status>();
  loop_.run_blocking("log", [note = note_, status] { *status = note->take_space(); },
                     [this, alive = alive_, status] {
                       if (*alive) note_has_space_ = status->ok();
                     });
}

// What the last process could only note is settled, and the segments it gave back are not missing.
Status SqliteLog::take_over_note() {
  auto read = note_->read();
  if (!read.ok()) return read.status();
  const auto& note = read.value();
  if (!note) return {};
  note_serial_ = note->serial;
  if (note->epoch != epoch_ || note->serial <= one_varint(state_, "noted", 0)) return {};
  for (const WriteSet::Settle& noted : note->settles) {
    settle(noted);
    add_settle(settles_open_, noted);
  }
  for (const std::uint32_t id : note->given_back) {
    if (sealed_.erase(id) == 0) continue;
    given_back_.push_back(id);
    drop_state(segment_key(id));
  }
  open_dirty_ = true;
  LOG_INFO("log: the last process could not commit; what uplinks had settled and ", note->given_back.size(),
           " segments it gave back are known from its note");
  return {};
}

}  // namespace millrace
