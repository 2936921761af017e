#include "log/wal_index_vfs.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace millrace {
namespace {

constexpr const char* vfs_name = "millrace-wal-index";

// The index of one file, shared by the connections that have it open, and who holds which of its locks.
struct Index {
  std::mutex mutex;
  std::vector<std::unique_ptr<char[]>> regions;
  int locks[SQLITE_SHM_NLOCK] = {};  // -1: one connection, exclusively; else how many share it
};

// By the file itself: a name may have been given to another file meanwhile.
using FileId = std::pair<dev_t, ino_t>;
std::mutex registry_mutex;
std::map<FileId, std::weak_ptr<Index>>& registry() {
  static std::map<FileId, std::weak_ptr<Index>> indices;
  return indices;
}

std::shared_ptr<Index> index_of(const FileId& id) {
  const std::lock_guard lock(registry_mutex);
  std::erase_if(registry(), [](const auto& entry) { return entry.second.expired(); });
  auto& slot = registry()[id];
  auto index = slot.lock();
  if (!index) slot = index = std::make_shared<Index>();
  return index;
}

struct File {
  sqlite3_file base;   // SQLite's part comes first
  sqlite3_file* real;  // behind this one, in the same piece of memory
  FileId* id;
  std::shared_ptr<Index>* index;  // null until it is wanted
  unsigned shared, exclusive;     // locks this connection holds, a bit each
};

File& file_of(sqlite3_file* file) { return *reinterpret_cast<File*>(file); }
sqlite3_file* real_of(sqlite3_file* file) { return file_of(file).real; }

int close(sqlite3_file* file) {
  File& f = file_of(file);
  delete std::exchange(f.index, nullptr);
  delete std::exchange(f.id, nullptr);
  return f.real->pMethods->xClose(f.real);
}
int read(sqlite3_file* file, void* to, int count, sqlite3_int64 at) {
  return real_of(file)->pMethods->xRead(real_of(file), to, count, at);
}
int write(sqlite3_file* file, const void* from, int count, sqlite3_int64 at) {
  return real_of(file)->pMethods->xWrite(real_of(file), from, count, at);
}
int truncate(sqlite3_file* file, sqlite3_int64 size) {
  return real_of(file)->pMethods->xTruncate(real_of(file), size);
}
int sync(sqlite3_file* file, int flags) { return real_of(file)->pMethods->xSync(real_of(file), flags); }
int size(sqlite3_file* file, sqlite3_int64* out) {
  return real_of(file)->pMethods->xFileSize(real_of(file), out);
}
int lock(sqlite3_file* file, int level) { return real_of(file)->pMethods->xLock(real_of(file), level); }
int unlock(sqlite3_file* file, int level) { return real_of(file)->pMethods->xUnlock(real_of(file), level); }
int check_lock(sqlite3_file* file, int* out) {
  return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}
int control(sqlite3_file* file, int what, void* with) {
  return real_of(file)->pMethods->xFileControl(real_of(file), what, with);
}
int sector(sqlite3_file* file) { return real_of(file)->pMethods->xSectorSize(real_of(file)); }
int traits(sqlite3_file* file) { return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file)); }

int map(sqlite3_file* file, int region, int bytes, int extend, void volatile** out) {
  File& f = file_of(file);
  if (!f.index) f.index = new std::shared_ptr<Index>(index_of(*f.id));
  Index& index = **f.index;
  const std::lock_guard guard(index.mutex);
  const auto wanted = static_cast<std::size_t>(region);
  *out = nullptr;
  if (wanted >= index.regions.size() && !extend) return SQLITE_OK;
  while (wanted >= index.regions.size())
    index.regions.push_back(std::make_unique<char[]>(static_cast<std::size_t>(bytes)));
  *out = index.regions[wanted].get();
  return SQLITE_OK;
}

// As os_unix.c keeps them among the connections of one process.
int shm_lock(sqlite3_file* file, int first, int count, int flags) {
  File& f = file_of(file);
  if (!f.index) return SQLITE_IOERR_SHMLOCK;
  Index& index = **f.index;
  const unsigned mask = (1U << (first + count)) - (1U << first);
  const std::lock_guard guard(index.mutex);
  if (flags & SQLITE_SHM_UNLOCK) {
    for (int i = first; i < first + count; ++i) {
      if (f.exclusive & (1U << i)) index.locks[i] = 0;
      else if (f.shared & (1U << i)) --index.locks[i];
    }
    f.exclusive &= ~mask;
    f.shared &= ~mask;
    return SQLITE_OK;
  }
  if (flags & SQLITE_SHM_SHARED) {
    if (f.shared & mask) return SQLITE_OK;
    if (index.locks[first] < 0) return SQLITE_BUSY;
    ++index.locks[first];
    f.shared |= mask;
    return SQLITE_OK;
  }
  for (int i = first; i < first + count; ++i) {
    if (!(f.exclusive & (1U << i)) && index.locks[i] != 0) return SQLITE_BUSY;
  }
  for (int i = first; i < first + count; ++i) index.locks[i] = -1;
  f.exclusive |= mask;
  return SQLITE_OK;
}

void barrier(sqlite3_file* file) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (file_of(file).index) const std::lock_guard guard((*file_of(file).index)->mutex);
}

int unmap(sqlite3_file* file, int) {
  File& f = file_of(file);
  delete std::exchange(f.index, nullptr);
  f.shared = f.exclusive = 0;
  return SQLITE_OK;
}

const sqlite3_io_methods methods = {2,        close,   read,       write,   truncate, sync,   size,
                                    lock,     unlock,  check_lock, control, sector,   traits, map,
                                    shm_lock, barrier, unmap,      nullptr, nullptr};

// Only a database has an index; its WAL and journals are the real one's own.
int open(sqlite3_vfs* self, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  auto* real = static_cast<sqlite3_vfs*>(self->pAppData);
  if (!path || !(flags & SQLITE_OPEN_MAIN_DB)) return real->xOpen(real, path, file, flags, out_flags);
  File& f = file_of(file);
  f.base.pMethods = nullptr;
  f.real = reinterpret_cast<sqlite3_file*>(&f + 1);
  f.real->pMethods = nullptr;
  f.index = nullptr;
  f.shared = f.exclusive = 0;
  const int rc = real->xOpen(real, path, f.real, flags, out_flags);
  if (rc != SQLITE_OK) return rc;
  struct stat info {};
  if (::stat(path, &info) != 0) {
    (void)f.real->pMethods->xClose(f.real);
    return SQLITE_CANTOPEN;
  }
  f.id = new FileId(info.st_dev, info.st_ino);
  f.base.pMethods = &methods;
  return SQLITE_OK;
}

}  // namespace

const char* wal_index_vfs() {
  static sqlite3_vfs vfs = [] {
    sqlite3_vfs* real = sqlite3_vfs_find(nullptr);
    sqlite3_vfs ours = *real;  // what it does with paths needs nothing of its own structure
    ours.zName = vfs_name;
    ours.pNext = nullptr;
    ours.pAppData = real;
    ours.szOsFile = static_cast<int>(sizeof(File)) + real->szOsFile;
    ours.xOpen = open;
    return ours;
  }();
  static const int registered = sqlite3_vfs_register(&vfs, 0);
  return registered == SQLITE_OK ? vfs_name : nullptr;
}

}  // namespace millrace
