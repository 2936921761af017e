#include "sim/world/sim_disk.h"

#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "base/time.h"

namespace millrace::sim {

struct SimDisk::Vfs {
  sqlite3_vfs vfs{};
  std::string name;
};

namespace {

struct Handle {
  sqlite3_file base;  // SQLite's part comes first
  SimDisk* disk;
  std::shared_ptr<SimDisk::File>* file;
  std::uint64_t generation;
  bool sync_folder;  // as SQLite's unix VFS: the first sync of a new WAL or journal syncs its folder, too
  bool dead() const { return generation != disk->generation; }
};

Handle& handle_of(sqlite3_file* file) { return *reinterpret_cast<Handle*>(file); }

std::string base_name(const char* path) {
  const std::string_view view = path;
  return std::string(view.substr(view.rfind('/') + 1));
}

int close(sqlite3_file* file) {
  SimDisk::File& f = **handle_of(file).file;
  if (--f.handles == 0) f.shm.clear();
  delete handle_of(file).file;
  handle_of(file).file = nullptr;
  return SQLITE_OK;
}

int read(sqlite3_file* file, void* to, int count, sqlite3_int64 offset) {
  Handle& h = handle_of(file);
  if (h.dead()) return SQLITE_IOERR_READ;
  // an open file needs no descriptor
  if (h.disk->lacking == ENOMEM && !h.disk->may_look()) return SQLITE_NOMEM;
  const std::string& bytes = (*h.file)->now;
  const auto at = static_cast<std::size_t>(offset);
  const std::size_t have =
      at >= bytes.size() ? 0 : std::min(bytes.size() - at, static_cast<std::size_t>(count));
  std::memcpy(to, bytes.data() + std::min(at, bytes.size()), have);
  if (have == static_cast<std::size_t>(count)) return SQLITE_OK;
  std::memset(static_cast<char*>(to) + have, 0, static_cast<std::size_t>(count) - have);
  return SQLITE_IOERR_SHORT_READ;
}

int write(sqlite3_file* file, const void* from, int count, sqlite3_int64 offset) {
  Handle& h = handle_of(file);
  if (h.dead() || h.disk->fail_writes || !h.disk->allowed()) return SQLITE_IOERR_WRITE;
  SimDisk::File& f = **h.file;
  const auto at = static_cast<std::size_t>(offset), size = static_cast<std::size_t>(count);
  const std::size_t grows = at + size > f.now.size() ? at + size - f.now.size() : 0;
  if (h.disk->used() + grows > h.disk->bytes_max) {
    h.disk->lacked = h.disk->full_error != ENOSPC;
    return h.disk->lacked ? SQLITE_IOERR_WRITE : SQLITE_FULL;  // as SQLite's unix VFS answers
  }
  if (grows > 0) f.now.resize(at + size);
  std::memcpy(f.now.data() + at, from, size);
  for (std::size_t s = at / SimDisk::sector; s <= (at + size - 1) / SimDisk::sector; ++s) f.dirty.insert(s);
  h.disk->bytes_written += size;
  return SQLITE_OK;
}

int truncate(sqlite3_file* file, sqlite3_int64 size) {
  Handle& h = handle_of(file);
  if (h.dead() || h.disk->fail_writes || !h.disk->allowed()) return SQLITE_IOERR_TRUNCATE;
  (*h.file)->now.resize(static_cast<std::size_t>(size));
  h.disk->given_back();
  return SQLITE_OK;
}

int sync(sqlite3_file* file, int) {
  Handle& h = handle_of(file);
  if (h.dead() || h.disk->fail_syncs || !h.disk->allowed()) return SQLITE_IOERR_FSYNC;
  SimDisk::File& f = **h.file;
  f.durable = f.now;
  f.dirty.clear();
  if (h.sync_folder) h.disk->sync_entries();
  h.sync_folder = false;
  ++h.disk->syncs;
  return SQLITE_OK;
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>((*handle_of(file).file)->now.size());
  return SQLITE_OK;
}

// One process, and our own rule of one writer: locks are always had.
int lock(sqlite3_file*, int) { return SQLITE_OK; }
int check_lock(sqlite3_file*, int* out) {
  *out = 0;
  return SQLITE_OK;
}
int control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int sector_size(sqlite3_file*) { return SimDisk::sector; }
int characteristics(sqlite3_file*) { return 0; }  // nothing is atomic, nothing is ordered

int shm_map(sqlite3_file* file, int region, int size, int extend, void volatile** out) {
  auto& slot = (*handle_of(file).file)->shm[region];
  if (!slot && !extend) {
    *out = nullptr;
    return SQLITE_OK;
  }
  if (!slot) slot = std::make_unique<std::string>(static_cast<std::size_t>(size), '\0');
  *out = slot->data();
  return SQLITE_OK;
}
int shm_lock(sqlite3_file*, int, int, int) { return SQLITE_OK; }
void shm_barrier(sqlite3_file*) {}
int shm_unmap(sqlite3_file* file, int remove) {
  if (remove) (*handle_of(file).file)->shm.clear();
  return SQLITE_OK;
}

const sqlite3_io_methods methods = {
    2,         close,      read,    write,       truncate,        sync,    file_size, lock,
    lock,      check_lock, control, sector_size, characteristics, shm_map, shm_lock,  shm_barrier,
    shm_unmap, nullptr,    nullptr};

SimDisk& disk_of(sqlite3_vfs* vfs) { return *static_cast<SimDisk*>(vfs->pAppData); }

int open_file(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  SimDisk& disk = disk_of(vfs);
  const std::string name = path ? base_name(path) : "";
  handle_of(file).base.pMethods = nullptr;
  if (!disk.may_look()) return SQLITE_CANTOPEN;
  if (++disk.opens[name] == disk.fail_open_number) {
    disk.lacked = true;
    return SQLITE_CANTOPEN;
  }
  auto found = disk.files.find(name);
  const bool fresh = found == disk.files.end();
  if (fresh) {
    if (!(flags & SQLITE_OPEN_CREATE)) return SQLITE_CANTOPEN;
    if (disk.used() + SimDisk::sector > disk.bytes_max) return SQLITE_FULL;
    found = disk.files.emplace(name, disk.make_file()).first;
  }
  Handle& h = handle_of(file);
  h.base.pMethods = &methods;
  h.disk = &disk;
  h.file = new std::shared_ptr<SimDisk::File>(found->second);
  ++found->second->handles;
  h.generation = disk.generation;
  h.sync_folder = fresh && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0;
  if (out_flags) *out_flags = flags;
  return SQLITE_OK;
}

int delete_file(sqlite3_vfs* vfs, const char* path, int sync_folder) {
  SimDisk& disk = disk_of(vfs);
  if (disk.lacking == ENOMEM && !disk.may_look()) return SQLITE_NOMEM;
  if (!disk.allowed()) return SQLITE_IOERR_DELETE;
  disk.files.erase(base_name(path));
  disk.given_back();
  if (sync_folder) disk.sync_entries();
  return SQLITE_OK;
}

int access(sqlite3_vfs* vfs, const char* path, int, int* out) {
  if (disk_of(vfs).lacking == ENOMEM && !disk_of(vfs).may_look()) return SQLITE_NOMEM;
  *out = disk_of(vfs).files.contains(base_name(path));
  return SQLITE_OK;
}

int full_path(sqlite3_vfs*, const char* name, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}

class SimFolder final : public Folder {
 public:
  explicit SimFolder(SimDisk& disk) : disk_(disk) {}
  const std::string& path() const override { return path_; }
  Result<std::vector<std::string>> list() const override {
    if (!disk_.may_look()) return lacking("list ", path_);
    std::vector<std::string> names;
    for (const auto& [name, file] : disk_.files) names.push_back(name);
    return names;
  }
  Status rename(const std::string& from, const std::string& to) override {
    if (!disk_.may_look()) return lacking("rename ", from);
    if (disk_.fail_writes || !disk_.allowed()) return {Code::io, "rename: Input/output error"};
    auto node = disk_.files.extract(from);
    if (node.empty()) return {Code::io, "rename: no such file"};
    disk_.files.erase(to);
    node.key() = to;
    disk_.files.insert(std::move(node));
    return {};
  }
  Status remove(const std::string& name) override {
    if (!disk_.may_look()) return lacking("unlink ", name);
    if (!disk_.files.contains(name)) return {};
    if (disk_.fail_writes || !disk_.allowed()) return {Code::io, "unlink: Input/output error"};
    disk_.files.erase(name);
    disk_.given_back();
    return {};
  }
  Status sync() override {
    if (!disk_.may_look()) return lacking("sync ", path_);
    if (disk_.fail_syncs || !disk_.allowed()) return {Code::io, "sync: Input/output error"};
    disk_.sync_entries();
    return {};
  }
  Result<std::uint64_t> look(const std::string& name) const override {
    if (!disk_.may_look()) return lacking("look at ", name);
    const auto found = disk_.files.find(name);
    return std::uint64_t{found == disk_.files.end() ? 0 : found->second->now.size()};
  }
  Result<Bytes> read(const std::string& name, std::uint64_t offset, std::size_t bytes_max) const override {
    if (!disk_.may_look()) return lacking("open ", name);
    const auto found = disk_.files.find(name);
    if (found == disk_.files.end() || offset >= found->second->now.size()) return Bytes{};
    return to_bytes(std::string_view(found->second->now).substr(offset, bytes_max));
  }
  Status write(const std::string& name, std::uint64_t offset, BytesView bytes) override {
    if (!disk_.may_look()) return lacking("open ", name);
    auto found = disk_.files.find(name);
    const bool fresh = found == disk_.files.end();
    if (disk_.fail_writes || !disk_.allowed()) return {Code::io, "write: Input/output error"};
    if (fresh) found = disk_.files.emplace(name, disk_.make_file()).first;
    SimDisk::File& file = *found->second;
    const std::size_t end = offset + bytes.size();
    if (disk_.used() + end - std::min(end, file.now.size()) > disk_.bytes_max) {
      if (fresh) disk_.files.erase(name);
      return status_from_errno(disk_.full_error, "write " + name);
    }
    if (end > file.now.size()) file.now.resize(end);
    std::memcpy(file.now.data() + offset, bytes.data(), bytes.size());
    for (std::size_t s = offset / SimDisk::sector; s * SimDisk::sector < end; ++s) file.dirty.insert(s);
    disk_.bytes_written += bytes.size();
    Status status;
    if (disk_.fail_syncs || !disk_.allowed()) status = {Code::io, "sync: Input/output error"};
    if (status.ok()) {
      file.durable = file.now;
      file.dirty.clear();
      ++disk_.syncs;
      if (fresh) status = sync();
    }
    if (fresh && !status.ok()) disk_.files.erase(name);  // as the real one
    return status;
  }
  Status link(const std::string& from, const std::string& to) override {
    const auto found = disk_.files.find(from);
    if (found == disk_.files.end() || disk_.fail_writes || !disk_.allowed())
      return {Code::io, "link: Input/output error"};
    disk_.files[to] = found->second;
    return {};
  }
  Result<std::string> identity(const std::string& anchor) const override {
    if (!disk_.may_look()) return lacking("look at ", anchor);
    const auto found = disk_.files.find(anchor);
    return text(disk_.identity, ":", found == disk_.files.end() ? 0 : found->second->inode);
  }

 private:
  Status lacking(const char* doing, const std::string& name) const {
    return status_from_errno(disk_.lacking, doing + name);
  }

  SimDisk& disk_;
  std::string path_ = "/sim";
};

}  // namespace

SimDisk::SimDisk(std::uint64_t seed) : rng_(seed), registered_(std::make_unique<Vfs>()) {
  static std::uint64_t count = 0;
  vfs_name_ = text("sim-disk-", ++count);
  registered_->name = vfs_name_;
  sqlite3_vfs* real = sqlite3_vfs_find(nullptr);
  sqlite3_vfs& vfs = registered_->vfs;
  vfs.iVersion = 1;
  vfs.szOsFile = sizeof(Handle);
  vfs.mxPathname = 512;
  vfs.zName = registered_->name.c_str();
  vfs.pAppData = this;
  vfs.xOpen = open_file;
  vfs.xDelete = delete_file;
  vfs.xAccess = access;
  vfs.xFullPathname = full_path;
  vfs.xRandomness = real->xRandomness;
  vfs.xSleep = [](sqlite3_vfs*, int us) { return us; };
  vfs.xCurrentTime = real->xCurrentTime;
  vfs.xGetLastError = [](sqlite3_vfs* self, int, char*) {
    const SimDisk& disk = disk_of(self);
    return !disk.lacked ? 0 : disk.full_error != ENOSPC ? disk.full_error : disk.lacking;
  };
  sqlite3_vfs_register(&vfs, 0);
}

SimDisk::~SimDisk() { sqlite3_vfs_unregister(&registered_->vfs); }

std::unique_ptr<Folder> SimDisk::folder() { return std::make_unique<SimFolder>(*this); }

std::shared_ptr<SimDisk::File> SimDisk::make_file() {
  auto file = std::make_shared<File>();
  file->inode = next_inode_++;
  return file;
}

bool SimDisk::allowed() {
  ++operations;
  return fault_at == 0 || (fault_stays ? operations < fault_at : operations != fault_at);
}

bool SimDisk::may_look() {
  ++looks;
  lacked = looks >= lack_from && looks < lack_from + lack_for;
  return !lacked;
}

std::uint64_t SimDisk::used() const {
  std::uint64_t sum = 0;
  std::set<const File*> seen;
  for (const auto& [name, file] : files) sum += seen.insert(file.get()).second ? file->now.size() : 0;
  return sum;
}

void SimDisk::given_back() {
  if (others_take_all) bytes_max = std::min(bytes_max, used());
}

void SimDisk::sync_entries() { durable_entries_ = files; }

void SimDisk::cut_power() {
  ++generation;
  fault_at = 0;
  // A name that was made, renamed or removed since the folder was synced may or may not have reached the
  // disk.
  std::map<std::string, std::shared_ptr<File>> found = durable_entries_;
  for (const auto& [name, file] : files) {
    const auto durable = durable_entries_.find(name);
    if ((durable == durable_entries_.end() || durable->second != file) && rng_.chance(0.5))
      found[name] = file;
  }
  for (const auto& [name, file] : durable_entries_) {
    if (!files.contains(name) && rng_.chance(0.5)) found.erase(name);
  }
  std::map<const File*, std::shared_ptr<File>> survivors;  // two names may be one file
  for (auto& [name, file] : found) {
    std::shared_ptr<File>& survivor = survivors[file.get()];
    if (survivor) {
      file = survivor;
      continue;
    }
    survivor = std::make_shared<File>();
    survivor->inode = file->inode;
    std::string bytes = file->durable;
    // A longer file may show its new length, with whatever reached the disk in it.
    if (file->now.size() != bytes.size() && rng_.chance(0.5)) bytes.resize(file->now.size(), '\0');
    for (const std::size_t s : file->dirty) {
      const std::size_t at = s * sector;
      if (at >= bytes.size() || at >= file->now.size()) continue;
      const std::size_t size = std::min({sector, bytes.size() - at, file->now.size() - at});
      const double fate = rng_.unit();
      if (fate < 0.5) std::memcpy(bytes.data() + at, file->now.data() + at, size);
      else if (fate < 0.55)
        for (std::size_t i = 0; i < size; ++i) bytes[at + i] = static_cast<char>(rng_.next());
    }
    survivor->now = survivor->durable = bytes;
    file = survivor;
  }
  files = found;
  durable_entries_ = found;
}

}  // namespace millrace::sim
