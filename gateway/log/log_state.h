// The log's state, under names: what the log keeps of itself (cursors, the segment table, numbers), and what
// pipeline and inputs keep in it (is_user_key). The first lies in the head's table whole; of the second the
// table has what changed lately, and the rest lies in side files (state_file.h). Knows what is to be written,
// and what is written. Of groups it fills what concerns state, files that go with them included. Itself it
// reads side files at start, and removes some where there is no room: remove_retired().
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "log/segment.h"
#include "log/state_file.h"
#include "log/state_table.h"

namespace millrace {

class LogState {
 public:
  // `user_bytes_max`: of what pipeline and inputs keep, names included; of that `kept_max` are for names that
  // begin with `kept_for` alone.
  LogState(std::uint64_t user_bytes_max, std::uint64_t kept_max, std::string_view kept_for)
      : user_bytes_max_(user_bytes_max), kept_max_(kept_max), kept_for_(user_key(kept_for)) {}

  // ---- as it stands in memory
  void put(const std::string& key, Bytes bytes);
  void drop(const std::string& key);
  const StateTable& table() const { return table_; }
  // Null: there is none.
  std::shared_ptr<const Bytes> get(std::string_view key) const;
  std::uint64_t number(std::string_view key, std::uint64_t otherwise) const {
    return one_varint(table_, key, otherwise);
  }
  std::uint64_t user_bytes() const { return taken_.all; }
  // What Log::fits promises.
  Status fits(const std::vector<WriteSet::State>& states) const;
  std::vector<std::string> user_names(std::string_view prefix) const;

  // ---- groups
  // Names that changed since the last group, for who holds groups back; add_changed() gives them back.
  const std::set<std::string>& changed() const { return changed_; }
  std::set<std::string> take_changed() { return std::exchange(changed_, {}); }
  void add_changed(std::set<std::string> names) { changed_.merge(names); }
  // What changed goes into `group`; of a fresh head the whole table. More than `table_bytes` of what pipeline
  // and inputs keep goes into a file of its own; `anew`: all of it, and the files there were go.
  void give(GroupWrite& group, std::uint64_t table_bytes, bool anew = false);
  // How many entries the table has once this is written: should some be hidden by damage, that can be told.
  // Last of all.
  void count_entries(GroupWrite& group) const;
  void on_committed(GroupWrite& group);
  // The table as of the last group on flash; and with what `group` changes, for a head that begins with it.
  const StateTable& written() const { return written_; }
  StateTable written_with(const GroupWrite& group) const;

  // ---- side files
  std::uint64_t file_bytes() const;  // on disk, those included that only the head before this one names
  bool has_files() const { return !files_.empty(); }
  // What all that pipeline and inputs keep would take in one file, at most. Known without a look at each
  // entry: a log that is full asks with each commit.
  std::uint64_t bytes_in_one_file() const { return taken_.all + taken_.names; }
  // Whether files take more than a new one that holds all would: by `table_bytes` at least, and by an eighth.
  // Once they were written anew they do not, until so much has changed again.
  bool wasteful(std::uint64_t table_bytes) const;
  // For when there is no room: they were for the day this head is lost.
  void remove_retired(Folder& folder);

  // ---- at start
  struct Found {
    Status status;              // `unavailable`: nothing can be said now
    std::uint64_t damaged = 0;  // entries; they are told by name
    bool doubtful = false;
  };
  // Files in the order in which they were written, then the table over them.
  Found restore(const HeadContents& contents, const Folder& folder);
  // Those the table does not name were the last head's, or never named at all: they go with the next
  // roll-over.
  void note_files(const std::vector<std::string>& names, const Folder& folder);

 private:
  struct Taken {
    std::uint64_t all = 0, kept = 0;  // by whom something is kept free
    std::uint64_t names = 0;          // of all: what names take
  };
  bool is_kept(std::string_view key) const { return kept_max_ > 0 && key.starts_with(kept_for_); }
  void count(std::string_view key, std::uint64_t before, std::uint64_t now, Taken& taken) const;
  std::uint64_t with_kept_free(const Taken& taken) const {
    return taken.all + (kept_max_ - std::min(kept_max_, taken.kept));
  }
  void note_overlay();
  void spill(GroupWrite& group, std::uint64_t table_bytes, bool anew);
  StateTable head_table() const;
  void list_changes(GroupWrite& group);
  void lay_over(StateTable users);

  const std::uint64_t user_bytes_max_, kept_max_;
  const std::string kept_for_;
  StateTable table_, written_;
  std::set<std::string> changed_;
  Taken taken_;
  // Which user's entries lie in the head's table (removed names too), and what that takes; the rest is in
  // files.
  std::map<std::string, std::uint64_t> overlay_;
  std::uint64_t overlay_bytes_ = 0;
  std::vector<StateFile> files_;
  std::uint32_t highest_file_ = 0;
  // Files that the head before this one may still name: kept until there is another head. And those that this
  // one names until the group that is on its way is committed.
  std::vector<StateFile> retired_, retiring_;
};

}  // namespace millrace
