// A disk in memory that can lose power: what was written since the last sync is kept, dropped or torn, sector by sector, by
// chance; directory entries live only once the folder was synced. SQLite sees it as a VFS, the log's folder calls go
// through a Folder. It can also be full, fail writes or syncs, and go read-only.
//
// Shared memory (-shm) is ordinary memory and gone after a cut, as after a boot.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/files.h"
#include "base/rng.h"

namespace millrace::sim {

class SimDisk {
 public:
  static constexpr std::size_t sector = 512;

  explicit SimDisk(std::uint64_t seed);
  ~SimDisk();
  SimDisk(const SimDisk&) = delete;

  const std::string& vfs() const { return vfs_name_; }
  std::unique_ptr<Folder> folder();

  // Everything not synced is subject to chance; open handles die (every later call on them fails).
  void cut_power();

  std::uint64_t bytes_max = UINT64_MAX;  // beyond it writes fail with "no space left"
  bool fail_writes = false;              // writes fail with an I/O error
  bool fail_syncs = false;               // syncs fail with an I/O error
  std::uint64_t bytes_written = 0, syncs = 0;

  struct File {
    std::string now;      // as programs see it
    std::string durable;  // as it would be found after a cut, had nothing unsynced survived
    std::set<std::size_t> dirty;  // sectors written since the last sync
    std::map<int, std::unique_ptr<std::string>> shm;
    bool entry_durable = false;
    std::string shm_key;
  };
  std::map<std::string, std::shared_ptr<File>> files;  // by name, as programs see it
  std::uint64_t generation = 0;                        // rises at each cut: older handles are dead
  std::uint64_t used() const;
  void sync_entries();

 private:
  std::string vfs_name_;
  Rng rng_;
  std::map<std::string, std::shared_ptr<File>> durable_entries_;  // names as they would be found after a cut
  struct Vfs;
  std::unique_ptr<Vfs> registered_;
};

}  // namespace millrace::sim
