// A log that another version of Millrace left in the folder of ours (it found a format it did not know and kept its own
// beside it, with an epoch of its own). It is drained first, uplink by uplink, and goes when nothing of it is left.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/metrics.h"
#include "log/sqlite_log.h"
#include "registry.h"

namespace millrace {

// The folder a version keeps its log in when a later one wrote the folder itself: "format-2".
std::string folder_beside(std::uint64_t format);

class Leftover {
 public:
  // The leftovers in `path` that this version can read. What cannot be opened is left where it is, and said.
  static std::vector<std::unique_ptr<Leftover>> find(Loop& loop, const std::string& path, const LogOptions& options, std::uint64_t seed);
  ~Leftover();

  // Begins to ship what `plan`'s uplink has not got; `done` once it has all of it. Several uplinks side by side.
  void drain(const UplinkPlan& plan, Rng& rng, Metrics& metrics, const std::string& gateway, std::function<void()> done);
  // Dead letters move into `log`; then the folder goes. Only when every uplink is done; `removed` runs at the end.
  void retire(Log& log, std::function<void()> removed);
  std::uint64_t records() const;  // not settled yet, over all uplinks
  bool drained() const;           // by every uplink that knows this log and is configured

 private:
  struct North {
    std::unique_ptr<Uplink> uplink;
    std::unique_ptr<Shipper> shipper;
    std::function<void()> done;
    bool finished = false;
  };
  Leftover(Loop& loop, std::string path, std::unique_ptr<Folder> folder, std::unique_ptr<SqliteLog> log);
  void look();
  void carry_letters(Log& log, Sequence from, std::function<void()> removed);
  void retry(Log& log, Sequence from, std::function<void()> removed, const Status& trouble);
  void remove(const std::function<void()>& removed);

  Loop& loop_;
  std::string path_;
  std::unique_ptr<Folder> folder_;
  std::unique_ptr<SqliteLog> log_;
  std::map<std::string, North> norths_;
  std::unique_ptr<Timer> look_timer_;
};

}  // namespace millrace
