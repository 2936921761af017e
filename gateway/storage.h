// Where the daemon keeps what it accepted: the log's folder and the runtime folder, each under a lock, the
// log in one, the inbox in the other, and logs that other versions left. Opened once, at start; what is
// damaged is taken over as far as it is whole.
#pragma once

#include <memory>
#include <vector>

#include "base/files.h"
#include "config/config.h"
#include "gateway_clock.h"
#include "ingest/mapped_inbox.h"
#include "leftover.h"
#include "log/sqlite_log.h"
#include "loop/uv_loop.h"

namespace millrace {

// Of this boot of the machine; 0: it cannot be told.
std::uint64_t boot_id();

class Storage {
 public:
  // An exit code; what was wrong is logged.
  int open(const Config& config, UvLoop& loop, const GatewayClock& clock);

  SqliteLog& log() { return *log_; }
  MappedInbox& inbox() { return *inbox_; }
  std::vector<std::unique_ptr<Leftover>>& leftovers() { return leftovers_; }
  const std::vector<std::unique_ptr<Leftover>>& leftovers() const { return leftovers_; }
  // The log's folder belongs to a later version; ours is beside it.
  bool newer_beside() const { return newer_beside_; }

 private:
  int take_folders(const Config& config);
  Status open_log(const Config& config, UvLoop& loop, const LogOptions& options);
  Status open_inbox(const Config& config, UvLoop& loop);

  Fd runtime_lock_, log_lock_;
  std::unique_ptr<Folder> folder_, runtime_folder_;
  std::unique_ptr<InboxRegion> region_;
  std::unique_ptr<MappedInbox> inbox_;
  std::unique_ptr<SqliteLog> log_;
  std::vector<std::unique_ptr<Leftover>> leftovers_;
  bool newer_beside_ = false;
};

}  // namespace millrace
