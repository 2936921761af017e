#include "base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>

#include "base/text.h"

namespace millrace {
namespace {

// Descriptors that are given up while somebody needs them, and taken back afterwards.
class Spare {
 public:
  void hold(std::size_t count) {
    const std::lock_guard lock(mutex_);
    count_ = count;
    refill();
  }
  void give_up() {
    const std::lock_guard lock(mutex_);
    ++users_;
    held_.clear();
  }
  void take_back() {
    const std::lock_guard lock(mutex_);
    if (--users_ == 0) refill();
  }
  bool any() const { return count_ > 0; }

 private:
  void refill() {
    while (held_.size() < count_) {
      Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      if (!fd.valid()) return;  // the next one who gives them back tries again
      held_.push_back(std::move(fd));
    }
  }
  std::mutex mutex_;
  std::size_t count_ = 0;
  int users_ = 0;
  std::vector<Fd> held_;
};

// The folder itself and the file that is written again and again stay open: when every descriptor is taken,
// they still work.
class SystemFolder final : public Folder {
 public:
  explicit SystemFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const override { return path_; }

  Result<std::vector<std::string>> list() const override {
    DIR* dir = ::opendir(path_.c_str());
    if (!dir && out_of_descriptors(errno)) {
      const auto guard = use_spare();
      dir = ::opendir(path_.c_str());
    }
    if (!dir) return status_from_errno(errno, "list " + path_);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      errno = 0;
    }
    const int error = errno;  // half a list would make the other half look missing
    ::closedir(dir);
    if (error != 0) return status_from_errno(error, "list " + path_);
    std::sort(names.begin(), names.end());
    return names;
  }

  Status rename(const std::string& from, const std::string& to) override {
    forget(from);
    forget(to);
    if (::rename(join(from).c_str(), join(to).c_str()) != 0)
      return status_from_errno(errno, "rename " + join(from));
    return {};
  }

  Status remove(const std::string& name) override {
    forget(name);
    if (::unlink(join(name).c_str()) != 0 && errno != ENOENT)
      return status_from_errno(errno, "unlink " + join(name));
    return {};
  }

  Status sync() override {
    const std::lock_guard lock(mutex_);
    if (!same(dir_, path_)) dir_ = open_spared(path_, O_RDONLY | O_DIRECTORY);
    if (dir_.valid() && ::fsync(dir_.get()) == 0) return {};
    const int error = errno;
    dir_.reset();  // of a file system that went away, perhaps: the next time it is opened by its name again
    return status_from_errno(error, "sync " + path_);
  }

  Result<std::uint64_t> look(const std::string& name) const override {
    struct stat info {};
    if (::stat(join(name).c_str(), &info) == 0) return static_cast<std::uint64_t>(info.st_size);
    if (errno == ENOENT || errno == ENOTDIR) return std::uint64_t{0};
    return status_from_errno(errno, "look at " + join(name));
  }

  Result<Bytes> read(const std::string& name, std::uint64_t offset, std::size_t bytes_max) const override {
    const Fd fd = open_spared(join(name), O_RDONLY);
    if (!fd.valid() && errno == ENOENT) return Bytes{};
    if (!fd.valid()) return status_from_errno(errno, "open " + join(name));
    Bytes bytes(bytes_max);
    std::size_t have = 0;
    while (have < bytes_max) {
      const ssize_t got =
          ::pread(fd.get(), bytes.data() + have, bytes_max - have, static_cast<off_t>(offset + have));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return status_from_errno(errno, "read " + join(name));
      if (got == 0) break;
      have += static_cast<std::size_t>(got);
    }
    bytes.resize(have);
    return bytes;
  }

  Status write(const std::string& name, std::uint64_t offset, BytesView bytes) override {
    bool fresh = false;
    Fd fd;
    {
      const std::lock_guard lock(mutex_);
      if (name == written_name_ && same(written_, join(name))) fd = std::move(written_);
    }
    if (!fd.valid()) {
      fd = open_spared(join(name), O_WRONLY);
      fresh = !fd.valid() && errno == ENOENT;
      if (fresh) fd = open_spared(join(name), O_WRONLY | O_CREAT);
      if (!fd.valid()) return status_from_errno(errno, "open " + join(name));
    }
    // A new name that is not durable yet must not be found here by the next try, which would take it for an
    // old one.
    const auto refused = [&](Status status) {
      if (fresh) ::unlink(join(name).c_str());
      return status;
    };
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t wrote =
          ::pwrite(fd.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return refused(status_from_errno(errno, "write " + join(name)));
      done += static_cast<std::size_t>(wrote);
    }
    if (::fdatasync(fd.get()) != 0) return refused(status_from_errno(errno, "sync " + join(name)));
    if (Status status = fresh ? sync() : Status{}; !status.ok()) return refused(std::move(status));
    {
      const std::lock_guard lock(mutex_);
      written_name_ = name;
      written_ = std::move(fd);
    }
    return {};
  }

  Status link(const std::string& from, const std::string& to) override {
    if (::link(join(from).c_str(), join(to).c_str()) != 0)
      return status_from_errno(errno, "link " + join(from));
    return {};
  }

  Result<std::string> identity(const std::string& anchor) const override {
    const auto machine = this->machine();
    if (!machine.ok()) return machine.status();
    struct stat folder {
    }, file{};
    if (::stat(path_.c_str(), &folder) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return machine.value();
      return status_from_errno(errno, "look at " + path_);
    }
    const std::string here = text(machine.value(), ":", static_cast<std::uint64_t>(folder.st_ino));
    // Copying back into the same folder gives the anchor another inode, or at least another time of change.
    if (::stat(join(anchor).c_str(), &file) != 0) {
      if (errno == ENOENT) return here;
      return status_from_errno(errno, "look at " + join(anchor));
    }
    return text(here, ":", static_cast<std::uint64_t>(file.st_ino), ":",
                static_cast<std::int64_t>(file.st_ctim.tv_sec), ".",
                static_cast<std::int64_t>(file.st_ctim.tv_nsec));
  }

  void hold_spare(std::size_t count) override { spare_->hold(count); }
  std::shared_ptr<void> use_spare() const override {
    if (!spare_->any()) return nullptr;
    spare_->give_up();
    return {spare_.get(), [spare = spare_](void*) { spare->take_back(); }};
  }

 private:
  static bool out_of_descriptors(int error) { return error == EMFILE || error == ENFILE; }

  Fd open_spared(const std::string& path, int flags) const {
    Fd fd(::open(path.c_str(), flags | O_CLOEXEC, 0640));
    if (!fd.valid() && out_of_descriptors(errno)) {
      const auto guard = use_spare();
      fd = Fd(::open(path.c_str(), flags | O_CLOEXEC, 0640));
      if (!fd.valid()) errno = EMFILE;
    }
    return fd;
  }
  // Whether an open file is still the one of this name.
  static bool same(const Fd& fd, const std::string& path) {
    struct stat open {
    }, named{};
    return fd.valid() && ::fstat(fd.get(), &open) == 0 && ::stat(path.c_str(), &named) == 0 &&
           open.st_ino == named.st_ino && open.st_dev == named.st_dev;
  }
  void forget(const std::string& name) {
    const std::lock_guard lock(mutex_);
    if (name == written_name_) written_.reset();
  }
  // Read once: the box does not become another one while we run, and later there may be no descriptor to look
  // with.
  Result<std::string> machine() const {
    const std::lock_guard lock(mutex_);
    if (machine_) return *machine_;
    std::string machine;
    const auto add = [&](const char* path, const char* before) -> Status {
      const auto id = with_spare(*this, [&] { return read_file(path, 256); });
      if (id.ok()) machine += text(before, trim(id.value().c_str()));
      // most boxes lack one or the other
      return id.ok() || id.status().code() != Code::unavailable ? Status{} : id.status();
    };
    if (Status status = add("/etc/machine-id", ""); !status.ok()) return status;
    // Images of an SD card carry the machine-id with them; the board's own serial number tells the boxes
    // apart.
    for (const char* serial :
         {"/sys/firmware/devicetree/base/serial-number", "/sys/class/dmi/id/product_uuid"}) {
      if (Status status = add(serial, ":"); !status.ok()) return status;
    }
    return *(machine_ = machine);
  }

  std::string path_;
  std::shared_ptr<Spare> spare_ = std::make_shared<Spare>();
  mutable std::mutex mutex_;  // over what follows
  mutable std::optional<std::string> machine_;
  Fd dir_, written_;
  std::string written_name_;
};

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool is_no_file(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode);
}

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return status_from_errno(errno, "open " + path);
  std::string content;
  char buffer[16384];
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return status_from_errno(errno, "read " + path);
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
    if (content.size() > bytes_max)
      return Status{Code::full, text(path, " is larger than ", format_size(static_cast<double>(bytes_max)))};
  }
}

namespace {

Status write_and_rename(const std::string& path, const std::string& fresh, std::string_view content,
                        unsigned mode) {
  const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file.valid()) return status_from_errno(errno, "create " + fresh);
  struct stat old {};
  if (::fchmod(file.get(), mode) != 0) return status_from_errno(errno, "change the mode of " + fresh);
  if (::stat(path.c_str(), &old) == 0 && ::fchown(file.get(), old.st_uid, old.st_gid) != 0)
    return status_from_errno(errno, "give away " + fresh);
  for (std::string_view left = content; !left.empty();) {
    const ssize_t written = ::write(file.get(), left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return status_from_errno(errno, "write " + fresh);
    left.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(file.get()) != 0) return status_from_errno(errno, "sync " + fresh);
  if (::rename(fresh.c_str(), path.c_str()) != 0) return status_from_errno(errno, "rename " + fresh);
  return {};
}

}  // namespace

Status replace_file(const std::string& path, std::string_view content, unsigned mode) {
  const std::string fresh = path + ".new";
  const Status status = write_and_rename(path, fresh, content, mode);
  if (!status.ok()) ::unlink(fresh.c_str());  // a disk that is full wants no piece of it
  return status;
}

Status make_folders(const std::string& path) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0750) == 0) {
      // A parent that may be entered and not read is nobody's to sync, nor is one whose file system cannot.
      const Fd parent(::open((part + "/..").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (parent.valid() && ::fsync(parent.get()) != 0 && errno != EINVAL)
        return status_from_errno(errno, "sync the folder of " + part);
    } else if (errno != EEXIST) {
      return status_from_errno(errno, "create folder " + part);
    }
  }
  struct stat there {};
  if (::stat(path.c_str(), &there) == 0 && !S_ISDIR(there.st_mode))
    return status_from_errno(ENOTDIR, "use folder " + path);
  if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0) return status_from_errno(errno, "use folder " + path);
  return {};
}

Result<Fd> lock_file(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
  if (!fd.valid()) return status_from_errno(errno, "open " + path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return Status{Code::unavailable, path + " is held by another millrace"};
    return status_from_errno(errno, "lock " + path);
  }
  return fd;
}

std::unique_ptr<Folder> open_folder(const std::string& path) { return std::make_unique<SystemFolder>(path); }

Status remove_folder(const std::string& path) {
  const auto folder = open_folder(path);
  const auto names = folder->list();
  if (!names.ok()) return names.status();
  for (const std::string& name : names.value()) {
    if (Status status = folder->remove(name); !status.ok()) return status;
  }
  return ::rmdir(path.c_str()) == 0 ? Status{} : status_from_errno(errno, "rmdir " + path);
}

}  // namespace millrace
