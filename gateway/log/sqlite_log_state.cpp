// State: what the head's table holds of it and what lies in files beside, and what is done about damaged entries.
#include <algorithm>

#include "base/logger.h"
#include "log/sqlite_log.h"
#include "log/state_table.h"
#include "record/varint.h"

namespace millrace {
namespace {

constexpr std::uint64_t overlay_bytes_min = 32 << 10;
constexpr std::size_t state_files_max = 8;
constexpr std::size_t damage_lines_max = 20;

const std::shared_ptr<const Bytes>& removed() {
  static const auto empty = std::make_shared<const Bytes>();
  return empty;
}

std::uint64_t bytes_of_files(const std::vector<StateFile>& files) {
  std::uint64_t sum = 0;
  for (const StateFile& file : files) sum += file.bytes;
  return sum;
}

}  // namespace

// ---- written ---------------------------------------------------------------------------------------------------------

// What this group changes of a user's state lies in the head's table from now on.
void SqliteLog::note_overlay() {
  for (auto at = changed_.lower_bound(user_key("")); at != changed_.end() && is_user_key(*at); ++at) {
    const auto found = state_.find(*at);
    std::uint64_t& cost = overlay_[*at];
    overlay_bytes_ -= cost;
    cost = state_cost(*at, found == state_.end() ? 0 : found->second->size());
    overlay_bytes_ += cost;
    if (found == state_.end() && state_files_.empty()) {  // nobody else knows the name
      overlay_bytes_ -= cost;
      overlay_.erase(*at);
    }
  }
}

// More of it than a quarter of a segment goes into a file of its own; when the files hold more that is gone than that is left,
// into one that holds all of it, and the others go.
void SqliteLog::spill_state(GroupWrite& group) {
  std::vector<StateFile> going;
  if (group.fresh_head) going = std::exchange(retired_state_files_, {});  // the sealed head does not name them
  if (overlay_bytes_ > std::max(options_.segment_bytes / 4, overlay_bytes_min)) {
    const bool all = bytes_of_files(state_files_) + overlay_bytes_ > 2 * state_bytes_ || state_files_.size() >= state_files_max;
    StateEntries entries;
    if (all) {
      for (auto at = state_.lower_bound(user_key("")); at != state_.end() && is_user_key(at->first); ++at) entries.emplace_back(at->first, at->second);
      retired_state_files_.insert(retired_state_files_.end(), state_files_.begin(), state_files_.end());
      state_files_.clear();
    }
    for (const auto& [key, cost] : overlay_) {
      const auto found = state_.find(key);
      if (!all) entries.emplace_back(key, found == state_.end() ? nullptr : found->second);
      changed_.insert(key);  // it leaves the table
    }
    StateFile named;
    Bytes content = encode_state_file(++highest_state_file_, entries, named);
    group.state_file.emplace(state_file_name(named.id), std::move(content));
    state_files_.push_back(named);
    overlay_.clear();
    overlay_bytes_ = 0;
    put_state("files", encode_state_files(state_files_));
  }
  for (const StateFile& file : going) group.remove_after.push_back(state_file_name(file.id));
}

// The table as a fresh head begins with it.
StateTable SqliteLog::head_table() const {
  StateTable table;
  for (const auto& [key, value] : state_) {
    if (!is_user_key(key)) table.emplace_hint(table.end(), key, value);
  }
  for (const auto& [key, cost] : overlay_) {
    const auto found = state_.find(key);
    table[key] = found == state_.end() ? removed() : found->second;
  }
  return table;
}

void SqliteLog::list_changes(GroupWrite& group) {
  for (const std::string& key : std::exchange(changed_, {})) {
    const auto found = state_.find(key);
    if (is_user_key(key) && !overlay_.contains(key)) group.changed.emplace_back(key, nullptr);
    else if (found != state_.end()) group.changed.emplace_back(key, found->second);
    else group.changed.emplace_back(key, is_user_key(key) ? removed() : nullptr);
  }
}

// How many entries the table has once this is written: should some be hidden by damage, that can be told.
void SqliteLog::count_entries(GroupWrite& group) const {
  static const std::string key = "entries";
  std::erase_if(group.changed, [](const auto& change) { return change.first == key; });
  std::uint64_t count = written_.size() + (written_.contains(key) ? 0 : 1);
  if (group.fresh_head) {
    group.state[key] = removed();
    count = group.state.size();
    group.state[key] = std::make_shared<const Bytes>(varints({count}));
    return;
  }
  for (const auto& [name, value] : group.changed) {
    const bool there = written_.contains(name);
    if (value && !there) ++count;
    if (!value && there) --count;
  }
  group.changed.emplace_back(key, std::make_shared<const Bytes>(varints({count})));
}

// ---- read back -------------------------------------------------------------------------------------------------------

// Files in the order in which they were written, then the table over them.
Status SqliteLog::restore_state(const HeadContents& contents) {
  written_ = contents.state;
  state_ = contents.state;
  state_.erase("entries");
  if (const auto found = state_.find("files"); found != state_.end()) state_files_ = decode_state_files(*found->second);
  StateTable users;
  for (const StateFile& file : state_files_) {
    highest_state_file_ = std::max(highest_state_file_, file.id);
    StateFileContents held = read_state_file(folder_, file);
    if (held.status.code() == Code::unavailable) return held.status;
    if (!held.status.ok()) {
      LOG_ERROR("log: ", held.status.detail(), ": ", file.entries, " entries of state begin anew");
      stats_.damaged_states += file.entries;
      users.clear();  // what lies below it may be older than what it held
    }
    for (auto& [key, value] : held.entries) {
      if (value) users[key] = std::move(value);
      else users.erase(key);
    }
    for (const std::string& key : held.damaged) {
      LOG_ERROR("log: ", state_file_name(file.id), ": ", key, " is damaged; it begins anew");
      ++stats_.damaged_states;
      users.erase(key);
      seal_next_ = open_dirty_ = true;
    }
    if (!held.status.ok() || !held.damaged.empty()) state_doubtful_ = seal_next_ = open_dirty_ = true;
  }
  overlay_.clear();
  overlay_bytes_ = state_bytes_ = 0;
  for (auto at = state_.lower_bound(user_key("")); at != state_.end() && is_user_key(at->first);) {
    overlay_bytes_ += overlay_[at->first] = state_cost(at->first, at->second->size());
    if (!at->second->empty()) {
      users.erase(at->first);
      ++at;
      continue;
    }
    users.erase(at->first);
    at = state_.erase(at);
  }
  state_.merge(users);
  for (const auto& [key, value] : state_) state_bytes_ += is_user_key(key) ? state_cost(key, value->size()) : 0;
  return {};
}

// Those the table does not name were the last head's, or never named at all: they go with the next roll-over.
void SqliteLog::note_state_files(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const auto id = state_file_id(name);
    if (!id) continue;
    highest_state_file_ = std::max(highest_state_file_, *id);
    if (std::none_of(state_files_.begin(), state_files_.end(), [&](const StateFile& file) { return file.id == *id; })) {
      retired_state_files_.push_back({*id, folder_.size_of(name), 0, 0});
    }
  }
}

// A damaged entry is never believed. Of what the log itself keeps, the segment before knows an older value: records come again
// under their identity. What pipeline and inputs keep begins anew, and that is told by name.
Status SqliteLog::mend_state(std::uint32_t head, const std::vector<std::uint32_t>& ids, HeadContents& contents) {
  state_doubtful_ = seal_next_ = open_dirty_ = true;
  std::size_t lines = 0;
  for (const std::string& key : contents.damaged) {
    ++stats_.damaged_states;
    if (++lines <= damage_lines_max) LOG_ERROR("log: ", segment_name(head), ": the entry ", key, " fails its checksum and is not believed");
    if (is_user_key(key)) contents.state[key] = removed();  // nor what a file remembers of it
  }
  if (contents.lacks_state) {
    ++stats_.damaged_states;
    LOG_ERROR("log: ", segment_name(head), ": entries of state are missing");
  }
  StateTable older;
  for (const std::uint32_t id : ids) {
    if (id >= head) continue;
    auto before = look_into(folder_, segment_name(id), options_.vfs);
    if (!before.ok() && before.status().code() == Code::unavailable) return before.status();
    if (!before.ok() || before.value().state.contains("rebuilt")) continue;
    older = std::move(before.value().state);
    break;
  }
  for (auto& [key, value] : older) {
    if (contents.state.contains(key) || is_user_key(key) || key == "head" || key == "last" || key == "clean" || key == "inbox" || key == "files" ||
        key == "entries" || key.starts_with("segment/")) {
      continue;
    }
    LOG_WARN("log: ", key, " is taken from the segment before");
    contents.state[key] = std::move(value);
    for (const Lane lane : all_lanes) {
      const std::string prefix = cursor_key("", lane);
      if (key.starts_with(prefix)) doubtful_cursors_.insert({key.substr(prefix.size()), lane});
    }
  }
  state_lost_ = true;  // a cursor of which nothing is known any more begins with the oldest record there is
  return {};
}

// The table may have lost its word of a segment: then a file it does not name is no remains of an unlink.
Status SqliteLog::adopt_unnamed(const std::vector<std::uint32_t>& ids) {
  for (const std::uint32_t id : ids) {
    if (id >= head_.id || sealed_.contains(id)) continue;
    const auto contents = look_into(folder_, segment_name(id), options_.vfs);
    if (!contents.ok() && contents.status().code() == Code::unavailable) return contents.status();
    SegmentInfo info;
    info.id = id;
    if (contents.ok()) {
      info.file_bytes = contents.value().bytes;
      info.lanes = contents.value().lanes;
    }
    sealed_[id] = info;  // what cannot be read is mended when somebody wants it
    put_state(segment_key(id), encode_segment(info));
    for (const LaneSpan& span : info.lanes) committed_ = std::max(committed_, span.last);
    LOG_WARN("log: ", segment_name(id), " is taken into the table again");
  }
  return {};
}

// What is unsettled by the books is what can be read behind the cursor. Where the books know of more the cursor may have run
// ahead of them: it begins with the oldest record there is, under its identity. Looked at where no checksum vouches.
Status SqliteLog::check_cursors(const HeadContents& head) {
  if (cursors_.empty()) return {};
  std::map<Sequence, Row> rows;
  for (const Row& row : head.rows) rows.emplace(row.first, row);
  for (const auto& [id, segment] : sealed_) {
    if (id == head_.id) continue;
    const auto contents = look_into(folder_, segment_name(id), options_.vfs);
    if (!contents.ok() && contents.status().code() == Code::unavailable) return contents.status();
    if (!contents.ok()) return {};  // damaged: what it lacks is counted when it is mended
    for (const Row& row : contents.value().rows) {
      if (row.first <= segment.valid_through) rows.emplace(row.first, row);
    }
  }
  for (auto& [who, cursor] : cursors_) {
    const auto there = [&rows, &who = who, &cursor = cursor] {  // clang 14 captures no structured binding by itself
      std::uint64_t sum = 0;
      for (const auto& [first, row] : rows) {
        if (row.lane != who.second) continue;
        for (const Range& part : cursor.settled.unsettled_in({row.first, row.last()})) sum += part.last - part.first + 1;
      }
      return sum;
    };
    std::uint64_t found = there();
    const std::uint64_t booked = cursor.ledger.unsettled();
    const bool doubtful = doubtful_cursors_.contains(who);
    if (found == booked || (!doubtful && found > booked)) continue;
    if (!doubtful) {
      LOG_ERROR("log: the cursor of ", who.first, " in lane ", lane_name(who.second), " leaves ", found, " records unsettled, the ledger ", booked,
                "; it begins again with the oldest");
      ++stats_.damaged_states;
      cursor.settled = SettledSet();
      found = there();
    }
    LOG_WARN("log: ", who.first, ": up to ", found, " records of lane ", lane_name(who.second), " are sent again, under their identity");
    std::uint64_t settled = 0;
    for (const std::uint64_t n : cursor.ledger.settled) settled += n;
    cursor.ledger.admitted = settled + found;
    cursor.admitted_through = std::max(cursor.admitted_through, committed_);
    open_dirty_ = true;
  }
  return {};
}

}  // namespace millrace
