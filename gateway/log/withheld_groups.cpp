#include "log/withheld_groups.h"

#include <algorithm>

#include "base/logger.h"
#include "log/log_parts.h"
#include "log/state_table.h"

namespace millrace {

// The uplinks keep up when what they lack is what is withheld, and nothing older.
bool WithheldGroups::may_hold(const GroupWrite& group, bool must_write) const {
  if (!journal_ || !p_.options.hold_back || must_write || p_.open.urgent || p_.open.due || p_.stopping ||
      flush_next || !p_.stats.trouble.empty())
    return false;
  if (!p_.open.copies.empty() || !p_.open.removals.empty() || !p_.open.replacements.empty() ||
      group.mark_before)
    return false;
  std::uint64_t records[lane_count] = {}, bytes = bytes_;
  for (const auto* rows : {&rows_, &group.rows}) {
    for (const Row& row : *rows) records[static_cast<std::size_t>(row.lane)] += row.count;
  }
  for (const Row& row : group.rows) bytes += row.columns->size();
  if (bytes > p_.options.cache_bytes / 2 || journal_->bytes() > 4 * p_.options.cache_bytes) return false;
  bool anybody = false;
  for (const auto& [key, cursor] : p_.cursors) {
    if (!cursor.subscribed() || key.first.front() == '@') continue;
    anybody = true;
    if (cursor.ledger.unsettled() > records[static_cast<std::size_t>(key.second)]) return false;
  }
  return anybody;
}

// Shows the group as if it were committed. False when the journal cannot be written: then flash must do.
bool WithheldGroups::hold(GroupWrite& group) {
  if (rows_.empty() && changed_.empty()) journal_->rewind();
  changed_.insert(p_.state.changed().begin(), p_.state.changed().end());
  // The first entry in the file stands for all that was withheld before it.
  const bool first = journal_->bytes() == 0;
  WithheldJournal::Entry entry{p_.epoch, ++serial_, group.rows, {}};
  if (first) entry.rows.insert(entry.rows.begin(), rows_.begin(), rows_.end());
  for (const std::string& key : first ? changed_ : p_.state.changed())
    entry.changed.emplace_back(key, p_.state.get(key));
  if (Status status = journal_->append(entry); !status.ok()) {
    LOG_WARN("log: cannot hold commits back: ", status.detail());
    return false;
  }
  (void)p_.state.take_changed();
  if (rows_.empty()) since_ = p_.loop.now();
  inbox_ = p_.inbox;
  const bool new_rows = !group.rows.empty();
  for (Row& row : group.rows) {
    bytes_ += row.columns->size();
    p_.cache.add(row);
    rows_.push_back(std::move(row));
  }
  for (Done& done : p_.open.dones) dones_.push_back(std::move(done));
  p_.open.dones.clear();
  p_.open.dirty = false;
  p_.committed = p_.next - 1;
  ++p_.stats.withheld_groups;
  if (!timer_ && !rows_.empty()) {
    timer_ = p_.loop.after(std::max(Duration{0}, p_.options.unsent_max - (p_.loop.now() - since_)), [this] {
      timer_.reset();
      flush();
    });
  }
  if (new_rows) p_.groups.tell_shown();
  let_go();
  return true;
}

// All that is withheld has been settled by everybody: it need never touch flash. What it came from is given
// back.
void WithheldGroups::let_go() {
  if (rows_.empty() || p_.groups.writing) return;
  if (!std::all_of(rows_.begin(), rows_.end(), [this](const Row& row) { return row_settled(row); })) return;
  for (const Row& row : rows_) p_.stats.unwritten_records += row.count;
  rows_.clear();
  bytes_ = 0;
  timer_.reset();
  journal_->rewind();
  if (p_.durable_hook && inbox_) p_.durable_hook(*inbox_);
  for (const Done& done : std::exchange(dones_, {})) done({});
}

bool WithheldGroups::row_settled(const Row& row) const {
  SegmentInfo only;
  only.lanes[static_cast<std::size_t>(row.lane)].add(row.first, row.last(), row.count, 0);
  return !p_.cursors.wanted(only, row.lane);
}

void WithheldGroups::flush() {
  if (rows_.empty() && changed_.empty()) return;
  flush_next = p_.open.dirty = true;
  p_.groups.schedule_close();
}

// What is withheld goes with the group that is about to be written; what everybody has settled meanwhile does
// not.
void WithheldGroups::take(GroupWrite& group) {
  flush_next = false;
  timer_.reset();
  std::vector<Row> rows;
  for (Row& row : rows_) {
    if (row_settled(row)) p_.stats.unwritten_records += row.count;
    else rows.push_back(std::move(row));
  }
  rows_.clear();
  bytes_ = 0;
  group.rows.insert(group.rows.begin(), rows.begin(), rows.end());
  p_.state.add_changed(std::exchange(changed_, {}));
  p_.open.dones.insert(p_.open.dones.begin(), std::make_move_iterator(dones_.begin()),
                       std::make_move_iterator(dones_.end()));
  dones_.clear();
  if (journal_) p_.state.put("journal", varints({serial_}));
}

// What a killed process withheld: its rows are written with the first group, its state is the state.
Status WithheldGroups::recover(HeadContents& contents) {
  if (!p_.options.withheld_folder) return {};
  journal_ = std::make_unique<WithheldJournal>(*p_.options.withheld_folder);
  serial_ = one_varint(contents.state, "journal", 0);
  std::uint64_t records = 0;
  const std::uint64_t written = contents.damaged.empty() ? 0 : one_varint(contents.state, "last", 0);
  auto entries = journal_->read(one_varint(contents.state, "epoch", 0), serial_);
  if (!entries.ok()) return entries.status();
  for (WithheldJournal::Entry& entry : entries.value()) {
    serial_ = entry.serial;
    for (auto& [key, value] : entry.changed) {
      changed_.insert(key);
      if (value) contents.state[key] = std::move(value);
      // removed, whatever a file says
      else if (is_user_key(key)) contents.state[key] = std::make_shared<const Bytes>();
      else contents.state.erase(key);
    }
    for (Row& row : entry.rows) {
      if (row.last() <= written) continue;  // where the journal's serial was lost: it is in the log
      records += row.count;
      rows_.push_back(std::move(row));
    }
  }
  if (records > 0)
    LOG_INFO("log: ", records, " records were held back from flash by the last process; writing them");
  if (!rows_.empty()) flush_next = p_.open.dirty = true;
  return {};
}

// Behind a damaged head there may be rows on flash that are younger than what was withheld: then the cache
// lacks them.
void WithheldGroups::show_recovered() {
  p_.durable = rows_.empty() ? p_.committed : rows_.front().first - 1;
  const bool all_held = !rows_.empty() && rows_.back().last() == p_.committed;
  p_.cache.begin_after(all_held ? p_.durable : p_.committed);
  for (const Row& row : rows_) p_.cache.add(row);
  if (p_.options.withheld_folder && !journal_)
    journal_ = std::make_unique<WithheldJournal>(*p_.options.withheld_folder);
}

}  // namespace millrace
