// A disk in memory that can lose power: what was written since the last sync is kept, dropped or torn, sector
// by sector, by chance; directory entries live only once the folder was synced. SQLite sees it as a VFS, the
// log's folder calls go through a Folder. It can also be full, fail writes or syncs, stop at its n-th
// operation: once, or from then on; and have no descriptor or memory left at any call.
//
// Shared memory (-shm) is ordinary memory and gone after a cut, as after a boot.
#pragma once

#include <cstdint>
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
  bool others_take_all = false;          // who fills the disk takes what we give back, too
  int full_error = 28;                   // ENOSPC, or EDQUOT
  bool fail_writes = false;              // writes fail with an I/O error
  bool fail_syncs = false;               // syncs fail with an I/O error
  // Operations that change something (write, truncate, sync, rename, link, remove) are counted; number
  // `fault_at` fails with an I/O error, or it and all that follow: a process that dies there has done all
  // before it and nothing after.
  std::uint64_t operations = 0, fault_at = 0;
  bool fault_stays = true;
  std::uint64_t bytes_written = 0, syncs = 0;
  // Calls that need a descriptor (EMFILE), or memory (ENOMEM: reads of open files too), are counted:
  // `lack_for` of them from number `lack_from` on fail with `lacking`. That says nothing about any file.
  std::uint64_t looks = 0, lack_from = UINT64_MAX / 2, lack_for = 0;
  int lacking = 24;  // EMFILE
  bool lacked = false;
  std::map<std::string, int> opens;  // by SQLite, of each name; the one of this number fails, as above
  int fail_open_number = 0;
  std::string identity = "sim";  // of the machine and the folder

  struct File {
    std::string now;              // as programs see it
    std::string durable;          // as it would be found after a cut, had nothing unsynced survived
    std::set<std::size_t> dirty;  // sectors written since the last sync
    std::map<int, std::unique_ptr<std::string>> shm;
    std::uint64_t inode = 0;
    // the last one to close takes the shared memory with it: the next process begins it anew
    int handles = 0;
  };
  std::shared_ptr<File> make_file();
  // Counts an operation; false when it must fail.
  bool allowed();
  bool may_look();
  std::map<std::string, std::shared_ptr<File>> files;  // by name, as programs see it
  std::uint64_t generation = 0;                        // rises at each cut: older handles are dead
  std::uint64_t used() const;
  void given_back();  // something of ours was removed, or cut off
  void sync_entries();

 private:
  std::string vfs_name_;
  Rng rng_;
  std::uint64_t next_inode_ = 1;
  std::map<std::string, std::shared_ptr<File>> durable_entries_;  // names as they would be found after a cut
  struct Vfs;
  std::unique_ptr<Vfs> registered_;
};

}  // namespace millrace::sim
