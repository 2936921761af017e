#include "log/unwritten.h"

#include <algorithm>

#include "base/logger.h"
#include "log/log_parts.h"
#include "log/state_table.h"
#include "log/trouble.h"

namespace millrace {

// One line when it begins, and one when it becomes trouble of another kind; the state says how it stands now.
void Unwritten::tell_trouble(const Status& fault, const std::optional<DiskSpace>& disk) {
  const bool begins = p_.stats.trouble.empty();
  if (begins) {
    at_ = p_.loop.now();
    since_ = p_.loop.wall();
  }
  const std::string words =
      words_of_trouble(fault, p_.folder.path(), disk, p_.space.bytes_used(), p_.options.bytes_max);
  if (begins || fault.code() != code_) {
    LOG_ERROR(
        "log: cannot commit: ", words,
        ". Nothing new is acknowledged, what is stored is kept and goes on being delivered; will keep trying");
  }
  code_ = fault.code();
  p_.stats.trouble = text(words, "; since ", format_time(since_));
  if (begins) p_.groups.tell_room();  // there is none: inputs pause
}

void Unwritten::tell_end_of_trouble() {
  if (!p_.stats.trouble.empty()) {
    LOG_INFO("log: writing again, after ", format_duration(p_.loop.now() - at_));
  }
  p_.stats.trouble.clear();
  refused_ = false;
  retry_ = Duration{0};
}

// Notes what uplinks have settled meanwhile, and gives back the segments that need not be kept once that
// stands.
void Unwritten::note_settled(std::function<void()> then) {
  SettleNote::Content content{p_.epoch, serial_ + 1, p_.groups.settles, given_back_};
  // Not joined with those of the group that is being written: it may be on flash by the time this is read,
  // and what is settled in part is not counted well.
  content.settles.insert(content.settles.end(), p_.open.settles.begin(), p_.open.settles.end());
  std::vector<std::uint32_t> going = settled_on_flash(content.settles);
  if (!has_space_ || (going.empty() && settles_noted_ == p_.open.settles_seen)) return then();
  content.given_back.insert(content.given_back.end(), going.begin(), going.end());
  auto status = std::make_shared<Status>();
  p_.loop.run_blocking(
      "log", [note = file_, content, status] { *status = note->write(content); },
      [this, alive = p_.alive, status, going = std::move(going), seen = p_.open.settles_seen,
       then = std::move(then)] {
        if (!*alive) return;
        if (status->ok()) {
          ++serial_;
          settles_noted_ = seen;
          for (const std::uint32_t id : going) give_back(id);
          if (!going.empty()) retry_ = p_.options.retry_min;  // there may be room now
        } else if (!std::exchange(refused_, true)) {
          LOG_WARN("log: what uplinks settle cannot be noted: ", status->detail(),
                   "; it comes again should this process be killed, and no room is given back");
        }
        then();
      });
}

// Sealed segments that nobody wants any more by what is on flash: the cursors of the last commit, with what
// is noted. What others settled (windows, whose state moves in the same commit; dead letters) counts once it
// is committed.
std::vector<std::uint32_t> Unwritten::settled_on_flash(const std::vector<WriteSet::Settle>& noted) const {
  std::vector<std::pair<Lane, SettledSet>> cursors;
  for (const auto& [key, cursor] : p_.cursors) {
    SettledSet settled;
    const StateTable& written = p_.state.written();
    if (const auto found = written.find(cursor_key(key.first, key.second)); found != written.end()) {
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
  for (const auto& [id, segment] : p_.sealed) {
    // The last head stays until there is another: it is the one that knows the cursors.
    if (id == p_.head.id || p_.mending.waiting.contains(id)) continue;
    if (!segment.lanes[static_cast<std::size_t>(Lane::dead)].empty()) continue;
    const auto wanted = [&, &segment = segment](const auto& cursor) {
      return wants(segment, cursor.first, cursor.second);
    };
    if (std::none_of(cursors.begin(), cursors.end(), wanted)) ids.push_back(id);
  }
  return ids;
}

// The note stands: the file goes now, not after the commit that cannot be written. No group is in the
// writer's hands here.
void Unwritten::give_back(std::uint32_t id) {
  if (p_.sealed.erase(id) == 0) return;
  const std::string key = segment_key(id);
  given_back_.push_back(id);
  p_.state.drop(key);
  if (p_.groups.writing->fresh_head) {
    p_.groups.writing->state.erase(key);
  } else {
    std::erase_if(p_.groups.writing->changed, [&](const auto& change) { return change.first == key; });
    p_.groups.writing->changed.emplace_back(key, nullptr);
  }
  p_.open.dirty = true;
  p_.loop.run_blocking(
      "read", [reader = p_.reader, id] { reader->forget(id); }, [] {});
  // What stays for an error goes at the next start, where no table names it.
  for (const char* suffix : {"", "-wal", "-shm"}) (void)p_.folder.remove(segment_name(id) + suffix);
}

void Unwritten::try_again() {
  if (p_.stopping && p_.groups.stopped) return end_unwritten();
  p_.groups.retry_timer = p_.loop.after(retry_, [this] { p_.groups.write(); });
}

// Asked to stop while the disk refuses: what waits stays in the inbox and with the senders, who were told
// nothing.
void Unwritten::end_unwritten() {
  p_.groups.retry_timer.reset();
  *p_.alive = false;
  for (auto* dones : {&p_.groups.writing_dones, &p_.open.dones}) {
    for (Log::Done& done : *dones) done({Code::closed, "the log could not be written: " + p_.stats.trouble});
  }
  p_.mending.end();
  p_.loop.post(std::exchange(p_.groups.stopped, nullptr));
}

void Unwritten::take_note_space() {
  if (has_space_ || p_.stopping) return;
  auto status = std::make_shared<Status>();
  p_.loop.run_blocking(
      "log", [note = file_, status] { *status = note->take_space(); },
      [this, alive = p_.alive, status] {
        if (*alive) has_space_ = status->ok();
      });
}

void Unwritten::try_again_later() {
  retry_ = std::clamp(retry_ * 2, p_.options.retry_min, p_.options.retry_max);
  note_settled([this] { try_again(); });
}

void Unwritten::on_committed() {
  given_back_.clear();
  take_note_space();
}

void Unwritten::take_space_now() {
  if (const Status status = file_->take_space(); !status.ok()) LOG_WARN("log: ", status.detail());
  else has_space_ = true;
}

// What the last process could only note is settled, and the segments it gave back are not missing.
Status Unwritten::take_over_note() {
  auto read = file_->read();
  if (!read.ok()) return read.status();
  const auto& note = read.value();
  if (!note) return {};
  serial_ = note->serial;
  if (note->epoch != p_.epoch || note->serial <= p_.state.number("noted", 0)) return {};
  for (const WriteSet::Settle& noted : note->settles) {
    p_.open.settle(noted);
    add_settle(p_.open.settles, noted);
  }
  for (const std::uint32_t id : note->given_back) {
    if (p_.sealed.erase(id) == 0) continue;
    given_back_.push_back(id);
    p_.state.drop(segment_key(id));
  }
  p_.open.dirty = true;
  LOG_INFO("log: the last process could not commit; what uplinks had settled and ", note->given_back.size(),
           " segments it gave back are known from its note");
  return {};
}

}  // namespace millrace
