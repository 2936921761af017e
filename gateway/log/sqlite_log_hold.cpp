// commit = "when-unsent": while the uplinks keep up, groups are numbered and shown but not written to flash. What every
// consumer has settled by then never is.
#include <algorithm>

#include "base/logger.h"
#include "log/sqlite_log.h"
#include "log/state_table.h"

namespace millrace {

// The uplinks keep up when what they lack is what is held, and nothing older.
bool SqliteLog::may_hold(const GroupWrite& group, bool must_write) const {
  if (!journal_ || !options_.hold_back || must_write || open_urgent_ || open_due_ || stopping_ || flush_next_ || !stats_.trouble.empty()) return false;
  if (!open_copies_.empty() || !open_removals_.empty() || !open_replacements_.empty() || group.mark_before) return false;
  std::uint64_t records[lane_count] = {}, bytes = held_bytes_;
  for (const auto* rows : {&held_rows_, &group.rows}) {
    for (const Row& row : *rows) records[static_cast<std::size_t>(row.lane)] += row.count;
  }
  for (const Row& row : group.rows) bytes += row.columns->size();
  if (bytes > options_.cache_bytes / 2 || journal_->bytes() > 4 * options_.cache_bytes) return false;
  bool anybody = false;
  for (const auto& [key, cursor] : cursors_) {
    if (!cursor.subscribed() || key.first.front() == '@') continue;
    anybody = true;
    if (cursor.ledger.unsettled() > records[static_cast<std::size_t>(key.second)]) return false;
  }
  return anybody;
}

// Shows the group as if it were committed. False when the journal cannot be written: then flash must do.
bool SqliteLog::hold(GroupWrite& group) {
  if (held_rows_.empty() && held_changed_.empty()) journal_->rewind();
  held_changed_.insert(changed_.begin(), changed_.end());
  // The first entry in the file stands for all that was held before it.
  const bool first = journal_->bytes() == 0;
  HeldJournal::Entry entry{epoch_, ++journal_serial_, group.rows, {}};
  if (first) entry.rows.insert(entry.rows.begin(), held_rows_.begin(), held_rows_.end());
  for (const std::string& key : first ? held_changed_ : changed_) {
    const auto found = state_.find(key);
    entry.changed.emplace_back(key, found == state_.end() ? nullptr : found->second);
  }
  if (Status status = journal_->append(entry); !status.ok()) {
    LOG_WARN("log: cannot hold commits back: ", status.detail());
    return false;
  }
  changed_.clear();
  if (held_rows_.empty()) held_since_ = loop_.now();
  inbox_held_ = inbox_;
  for (Row& row : group.rows) {
    held_bytes_ += row.columns->size();
    cache(row);
    held_rows_.push_back(std::move(row));
  }
  for (Done& done : open_dones_) held_dones_.push_back(std::move(done));
  open_dones_.clear();
  open_dirty_ = false;
  committed_ = next_ - 1;
  ++stats_.held_groups;
  if (!hold_timer_ && !held_rows_.empty()) {
    hold_timer_ = loop_.after(std::max(Duration{0}, options_.unsent_max - (loop_.now() - held_since_)), [this] {
      hold_timer_.reset();
      flush_held();
    });
  }
  for (const auto& [id, listener] : listeners_) {
    if (listener.committed) listener.committed();
  }
  let_go_of_settled();
  return true;
}

// All that is held has been settled by everybody: it need never touch flash. What it came from is given back.
void SqliteLog::let_go_of_settled() {
  if (held_rows_.empty() || writing_) return;
  if (!std::all_of(held_rows_.begin(), held_rows_.end(), [this](const Row& row) { return row_settled(row); })) return;
  for (const Row& row : held_rows_) stats_.unwritten_records += row.count;
  held_rows_.clear();
  held_bytes_ = 0;
  hold_timer_.reset();
  journal_->rewind();
  if (durable_hook_ && inbox_held_) durable_hook_(*inbox_held_);
  for (const Done& done : std::exchange(held_dones_, {})) done({});
}

bool SqliteLog::row_settled(const Row& row) const {
  SegmentInfo only;
  only.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count, 0);
  return settled_by_all(only, row.lane);
}

void SqliteLog::flush_held() {
  if (held_rows_.empty() && held_changed_.empty()) return;
  flush_next_ = open_dirty_ = true;
  schedule_close();
}

// What is held goes with the group that is about to be written; what everybody has settled meanwhile does not.
void SqliteLog::take_held(GroupWrite& group) {
  flush_next_ = false;
  hold_timer_.reset();
  std::vector<Row> rows;
  for (Row& row : held_rows_) {
    if (row_settled(row)) stats_.unwritten_records += row.count;
    else rows.push_back(std::move(row));
  }
  held_rows_.clear();
  held_bytes_ = 0;
  group.rows.insert(group.rows.begin(), rows.begin(), rows.end());
  changed_.merge(std::exchange(held_changed_, {}));
  open_dones_.insert(open_dones_.begin(), std::make_move_iterator(held_dones_.begin()), std::make_move_iterator(held_dones_.end()));
  held_dones_.clear();
  if (journal_) put_state("journal", varints({journal_serial_}));
}

// What a killed process held: its rows are written with the first group, its state is the state.
Status SqliteLog::recover_held(HeadContents& contents) {
  if (!options_.held_folder) return {};
  journal_ = std::make_unique<HeldJournal>(*options_.held_folder);
  journal_serial_ = one_varint(contents.state, "journal", 0);
  std::uint64_t records = 0;
  const std::uint64_t written = contents.damaged.empty() ? 0 : one_varint(contents.state, "last", 0);
  auto entries = journal_->read(one_varint(contents.state, "epoch", 0), journal_serial_);
  if (!entries.ok()) return entries.status();
  for (HeldJournal::Entry& entry : entries.value()) {
    journal_serial_ = entry.serial;
    for (auto& [key, value] : entry.changed) {
      held_changed_.insert(key);
      if (value) contents.state[key] = std::move(value);
      else if (is_user_key(key)) contents.state[key] = std::make_shared<const Bytes>();  // removed, whatever a file says
      else contents.state.erase(key);
    }
    for (Row& row : entry.rows) {
      if (row.last() <= written) continue;  // where the journal's serial was lost: it is in the log
      records += row.count;
      held_rows_.push_back(std::move(row));
    }
  }
  if (records > 0) LOG_INFO("log: ", records, " records were held back from flash by the last process; writing them");
  if (!held_rows_.empty()) flush_next_ = open_dirty_ = true;
  return {};
}

}  // namespace millrace
