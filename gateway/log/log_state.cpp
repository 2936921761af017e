#include "log/log_state.h"

#include <algorithm>

#include "base/logger.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::size_t files_max = 8;

const std::shared_ptr<const Bytes>& removed() {
  static const auto empty = std::make_shared<const Bytes>();
  return empty;
}

std::uint64_t bytes_of_files(const std::vector<StateFile>& files) {
  std::uint64_t sum = 0;
  for (const StateFile& file : files) sum += file.bytes;
  return sum;
}

void apply_changes(const GroupWrite& group, StateTable& table) {
  for (const auto& [key, value] : group.changed) {
    if (value) table[key] = value;
    else table.erase(key);
  }
}

}  // namespace

// ---- as it stands in memory

void LogState::count(std::string_view key, std::uint64_t before, std::uint64_t now, Taken& taken) const {
  taken.all = taken.all - std::min(taken.all, before) + now;
  if (is_kept(key)) taken.kept = taken.kept - std::min(taken.kept, before) + now;
  taken.names += now > 0 ? key.size() : 0;
  taken.names -= before > 0 ? key.size() : 0;
}

void LogState::put(const std::string& key, Bytes bytes) {
  auto& slot = table_[key];
  if (slot && *slot == bytes) return;
  if (is_user_key(key))
    count(key, slot ? state_cost(key, slot->size()) : 0, state_cost(key, bytes.size()), taken_);
  slot = std::make_shared<const Bytes>(std::move(bytes));
  changed_.insert(key);
}

void LogState::drop(const std::string& key) {
  const auto found = table_.find(key);
  if (found == table_.end()) return;
  if (is_user_key(key)) count(key, state_cost(key, found->second->size()), 0, taken_);
  table_.erase(found);
  changed_.insert(key);
}

std::shared_ptr<const Bytes> LogState::get(std::string_view key) const {
  const auto found = table_.find(key);
  return found == table_.end() ? nullptr : found->second;
}

Status LogState::fits(const std::vector<WriteSet::State>& states) const {
  Taken now = taken_;
  for (const WriteSet::State& state : states) {
    const std::string key = user_key(state.name);
    const auto found = table_.find(key);
    count(key, found == table_.end() ? 0 : state_cost(key, found->second->size()),
          state.bytes.empty() ? 0 : state_cost(key, state.bytes.size()), now);
  }
  if (now.all <= taken_.all) return {};
  // Who has something kept free for him takes that, also where others are beyond their share already.
  const std::uint64_t asked = with_kept_free(now);
  if (now.all <= user_bytes_max_ && (asked <= user_bytes_max_ || asked <= with_kept_free(taken_))) return {};
  return {Code::full, text("state of ", format_size(static_cast<double>(now.all)),
                           " does not fit: its share of log.max_size, ",
                           format_size(static_cast<double>(user_bytes_max_)), ", is all it may take",
                           kept_max_ > 0 ? text("; of that ", format_size(static_cast<double>(kept_max_)),
                                                " are for windows (state_max)")
                                         : "")};
}

std::vector<std::string> LogState::user_names(std::string_view prefix) const {
  const std::string whole = user_key(prefix);
  std::vector<std::string> names;
  for (auto at = table_.lower_bound(whole); at != table_.end() && at->first.starts_with(whole); ++at) {
    names.push_back(std::string(prefix) + at->first.substr(whole.size()));
  }
  return names;
}

// ---- groups

void LogState::give(GroupWrite& group, std::uint64_t table_bytes, bool anew) {
  note_overlay();
  spill(group, table_bytes, anew);
  list_changes(group);
  if (group.fresh_head) group.state = head_table();
}

// What this group changes of a user's state lies in the head's table from now on.
void LogState::note_overlay() {
  for (auto at = changed_.lower_bound(user_key("")); at != changed_.end() && is_user_key(*at); ++at) {
    const auto found = table_.find(*at);
    std::uint64_t& cost = overlay_[*at];
    overlay_bytes_ -= cost;
    cost = state_cost(*at, found == table_.end() ? 0 : found->second->size());
    overlay_bytes_ += cost;
    if (found == table_.end() && files_.empty()) {  // nobody else knows the name
      overlay_bytes_ -= cost;
      overlay_.erase(*at);
    }
  }
}

// When the files hold more that is gone than that is left, into one that holds all of it, and the others go.
void LogState::spill(GroupWrite& group, std::uint64_t table_bytes, bool anew) {
  std::vector<StateFile> going;
  if (group.fresh_head) going = std::exchange(retired_, {});  // the sealed head does not name them
  if (anew || overlay_bytes_ > table_bytes) {
    const bool all =
        anew || bytes_of_files(files_) + overlay_bytes_ > 2 * taken_.all || files_.size() >= files_max;
    StateEntries entries;
    if (all) {
      for (auto at = table_.lower_bound(user_key("")); at != table_.end() && is_user_key(at->first); ++at)
        entries.emplace_back(at->first, at->second);
      retiring_.insert(retiring_.end(), files_.begin(), files_.end());
      files_.clear();
    }
    for (const auto& [key, cost] : overlay_) {
      const auto found = table_.find(key);
      if (!all) entries.emplace_back(key, found == table_.end() ? nullptr : found->second);
      changed_.insert(key);  // it leaves the table
    }
    StateFile named;
    Bytes content = encode_state_file(++highest_file_, entries, named);
    group.state_file.emplace(state_file_name(named.id), std::move(content));
    files_.push_back(named);
    overlay_.clear();
    overlay_bytes_ = 0;
    put("files", encode_state_files(files_));
  }
  for (const StateFile& file : going) group.remove_after.push_back(state_file_name(file.id));
}

// The table as a fresh head begins with it.
StateTable LogState::head_table() const {
  StateTable table;
  for (const auto& [key, value] : table_) {
    if (!is_user_key(key)) table.emplace_hint(table.end(), key, value);
  }
  for (const auto& [key, cost] : overlay_) {
    const auto found = table_.find(key);
    table[key] = found == table_.end() ? removed() : found->second;
  }
  return table;
}

void LogState::list_changes(GroupWrite& group) {
  for (const std::string& key : take_changed()) {
    const auto found = table_.find(key);
    if (is_user_key(key) && !overlay_.contains(key)) group.changed.emplace_back(key, nullptr);
    else if (found != table_.end()) group.changed.emplace_back(key, found->second);
    else group.changed.emplace_back(key, is_user_key(key) ? removed() : nullptr);
  }
}

void LogState::count_entries(GroupWrite& group) const {
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

void LogState::on_committed(GroupWrite& group) {
  if (group.fresh_head) written_ = std::move(group.state);
  else apply_changes(group, written_);
  retired_.insert(retired_.end(), retiring_.begin(), retiring_.end());
  retiring_.clear();
}

StateTable LogState::written_with(const GroupWrite& group) const {
  StateTable table = written_;
  apply_changes(group, table);
  return table;
}

// ---- side files

std::uint64_t LogState::file_bytes() const {
  return bytes_of_files(files_) + bytes_of_files(retired_) + bytes_of_files(retiring_);
}

bool LogState::wasteful(std::uint64_t table_bytes) const {
  const std::uint64_t anew = bytes_in_one_file();
  return bytes_of_files(files_) > anew + std::max(table_bytes, anew / 8);
}

void LogState::remove_retired(Folder& folder) {
  for (const StateFile& file : std::exchange(retired_, {})) (void)folder.remove(state_file_name(file.id));
}

// ---- at start

LogState::Found LogState::restore(const HeadContents& contents, const Folder& folder) {
  Found found;
  written_ = contents.state;
  table_ = contents.state;
  table_.erase("entries");
  if (const auto named = table_.find("files"); named != table_.end())
    files_ = decode_state_files(*named->second);
  StateTable users;
  for (const StateFile& file : files_) {
    highest_file_ = std::max(highest_file_, file.id);
    StateFileContents held = read_state_file(folder, file);
    if (held.status.code() == Code::unavailable) return {held.status, 0, false};
    if (!held.status.ok()) {
      LOG_ERROR("log: ", held.status.detail(), ": ", file.entries, " entries of state begin anew");
      found.damaged += file.entries;
      users.clear();  // what lies below it may be older than what it held
    }
    for (auto& [key, value] : held.entries) {
      if (value) users[key] = std::move(value);
      else users.erase(key);
    }
    for (const std::string& key : held.damaged) {
      LOG_ERROR("log: ", state_file_name(file.id), ": ", key, " is damaged; it begins anew");
      ++found.damaged;
      users.erase(key);
    }
    found.doubtful = found.doubtful || !held.status.ok() || !held.damaged.empty();
  }
  lay_over(std::move(users));
  return found;
}

// The table's entries over those of files; a name that was removed is empty there.
void LogState::lay_over(StateTable users) {
  overlay_.clear();
  overlay_bytes_ = 0;
  taken_ = {};
  for (auto at = table_.lower_bound(user_key("")); at != table_.end() && is_user_key(at->first);) {
    overlay_bytes_ += overlay_[at->first] = state_cost(at->first, at->second->size());
    users.erase(at->first);
    if (at->second->empty()) at = table_.erase(at);
    else ++at;
  }
  table_.merge(users);
  for (const auto& [key, value] : table_) {
    if (is_user_key(key)) count(key, 0, state_cost(key, value->size()), taken_);
  }
}

void LogState::note_files(const std::vector<std::string>& names, const Folder& folder) {
  for (const std::string& name : names) {
    const auto id = state_file_id(name);
    if (!id) continue;
    highest_file_ = std::max(highest_file_, *id);
    if (std::none_of(files_.begin(), files_.end(), [&](const StateFile& file) { return file.id == *id; })) {
      retired_.push_back({*id, folder.size_of(name), 0, 0});
    }
  }
}

}  // namespace millrace
