// A log that another version of Millrace left in the folder of ours (it found a format it did not know and
// kept its own beside it, with an epoch of its own). It is drained first, uplink by uplink, and goes when
// nothing of it is left: also nothing of an uplink that is no longer configured, until somebody forgets that.
// A standby has no part in it: what is here waits for the uplink itself. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "base/text.h"
#include "log/sqlite_log.h"
#include "parts.h"

namespace millrace {

// The folder a version keeps its log in when a later one wrote the folder itself: "format-3".
std::string folder_beside(std::uint64_t format);
bool is_folder_beside(std::string_view name);

class Leftover {
 public:
  // The leftovers in `path` that this version can read, oldest first. What cannot be opened is left where it
  // is, and said.
  static std::vector<std::unique_ptr<Leftover>> find(Loop& loop, const std::string& path,
                                                     const LogOptions& options, std::uint64_t seed);
  // How far the letters of leftovers in `path` were carried that are gone by now: a process that ended
  // between the removal of one and the commit that forgets it left that in `log`. `there`: those there are.
  static void forget_gone(Log& log, const std::string& path,
                          const std::vector<std::unique_ptr<Leftover>>& there);
  ~Leftover();

  // `make` an uplink that ships from this log, which starts when it `may_start`; `changed` when one has all
  // of it and is gone.
  using Make = std::function<std::unique_ptr<UplinkPart>(const UplinkPlan&, Log&)>;
  void begin(Make make, std::function<bool(const UplinkPlan&)> may_start, std::function<void()> changed);
  // The uplinks as they are configured now.
  void want(const std::vector<UplinkPlan>& plans);
  void go_on() { uplinks_->go_on(); }
  // Whether this uplink has all of it, and nothing runs here under its name or with what it claims.
  bool done_with(const UplinkPlan& plan) const;
  void forget(const std::string& uplink);
  // Uplinks that are no longer configured do not stop here by themselves either.
  void stop(std::function<void()> done) { uplinks_->stop(std::move(done)); }
  const Uplinks& uplinks() const { return *uplinks_; }
  SqliteLog& log() { return *log_; }

  std::uint64_t records() const;  // not settled yet, over all uplinks
  std::uint64_t records_of(const std::string& uplink) const;
  std::vector<std::string> absent_uplinks() const;  // that it holds something for
  // By every uplink, configured or not.
  bool drained() const;
  // Dead letters move into `log`; then the folder goes. Only when it is drained; `removed` runs at the end.
  void retire(Log& log, std::function<void()> removed);
  bool retiring() const { return retiring_; }

 private:
  static constexpr std::string_view carried_prefix = "leftover/";

  Leftover(Loop& loop, std::string path, std::unique_ptr<Folder> folder, std::unique_ptr<SqliteLog> log,
           const LogOptions& options);
  void look();
  void carry_letters(Log& log, Sequence from, std::function<void()> removed);
  Sequence add_letters(const std::vector<Row>& rows, Sequence from, const Log& log, WriteSet& set) const;
  Record loss_of(const Row& row, Sequence from) const;
  void retry(Log& log, Sequence from, std::function<void()> removed, const Status& trouble);
  void remove(Log& log, const std::function<void()>& removed);
  std::string carried_name() const { return text(carried_prefix, log_->epoch()); }
  Sequence carried_through(const Log& log) const;
  void update();

  Loop& loop_;
  std::string path_;
  const std::uint64_t boot_id_;
  const std::function<bool()> clock_trusted_;
  std::unique_ptr<Folder> folder_;
  std::unique_ptr<SqliteLog> log_;
  std::unique_ptr<Uplinks> uplinks_;
  std::vector<UplinkPlan> plans_;
  std::set<std::string> finished_;  // uplinks that have all of it
  std::function<void()> changed_;
  std::unique_ptr<Timer> look_timer_;
  bool retiring_ = false;
};

}  // namespace millrace
