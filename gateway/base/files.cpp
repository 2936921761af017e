#include "base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/text.h"

namespace millrace {
namespace {

class SystemFolder final : public Folder {
 public:
  explicit SystemFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const override { return path_; }

  Result<std::vector<std::string>> list() const override {
    DIR* dir = ::opendir(path_.c_str());
    if (!dir) return status_from_errno(errno, "list " + path_);
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(dir);
    std::sort(names.begin(), names.end());
    return names;
  }

  Status rename(const std::string& from, const std::string& to) override {
    if (::rename(join(from).c_str(), join(to).c_str()) != 0) return status_from_errno(errno, "rename " + join(from));
    return {};
  }

  Status remove(const std::string& name) override {
    if (::unlink(join(name).c_str()) != 0 && errno != ENOENT) return status_from_errno(errno, "unlink " + join(name));
    return {};
  }

  Status sync() override {
    const Fd dir(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir.valid() || ::fsync(dir.get()) != 0) return status_from_errno(errno, "sync " + path_);
    return {};
  }

  std::uint64_t size_of(const std::string& name) const override {
    struct stat info {};
    return ::stat(join(name).c_str(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
  }

  Result<Bytes> read(const std::string& name, std::uint64_t offset, std::size_t bytes_max) const override {
    const Fd fd(::open(join(name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid() && errno == ENOENT) return Bytes{};
    if (!fd.valid()) return status_from_errno(errno, "open " + join(name));
    Bytes bytes(bytes_max);
    std::size_t have = 0;
    while (have < bytes_max) {
      const ssize_t got = ::pread(fd.get(), bytes.data() + have, bytes_max - have, static_cast<off_t>(offset + have));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return status_from_errno(errno, "read " + join(name));
      if (got == 0) break;
      have += static_cast<std::size_t>(got);
    }
    bytes.resize(have);
    return bytes;
  }

  Status write(const std::string& name, std::uint64_t offset, BytesView bytes) override {
    Fd fd(::open(join(name).c_str(), O_WRONLY | O_CLOEXEC));
    const bool fresh = !fd.valid() && errno == ENOENT;
    if (fresh) fd = Fd(::open(join(name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0640));
    if (!fd.valid()) return status_from_errno(errno, "open " + join(name));
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t wrote = ::pwrite(fd.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return status_from_errno(errno, "write " + join(name));
      done += static_cast<std::size_t>(wrote);
    }
    if (::fdatasync(fd.get()) != 0) return status_from_errno(errno, "sync " + join(name));
    return fresh ? sync() : Status{};
  }

  Status link(const std::string& from, const std::string& to) override {
    if (::link(join(from).c_str(), join(to).c_str()) != 0) return status_from_errno(errno, "link " + join(from));
    return {};
  }

  std::string identity(const std::string& anchor) const override {
    std::string machine;
    if (auto id = read_file("/etc/machine-id", 256); id.ok()) machine = trim(id.value());
    // Images of an SD card carry the machine-id with them; the board's own serial number tells the boxes apart.
    for (const char* serial : {"/sys/firmware/devicetree/base/serial-number", "/sys/class/dmi/id/product_uuid"}) {
      if (auto id = read_file(serial, 256); id.ok()) machine += text(":", trim(id.value().c_str()));
    }
    struct stat folder {}, file {};
    if (::stat(path_.c_str(), &folder) != 0) return machine;
    machine += text(":", static_cast<std::uint64_t>(folder.st_ino));
    // Copying back into the same folder gives the anchor another inode, or at least another time of change.
    if (::stat(join(anchor).c_str(), &file) != 0) return machine;
    return machine + text(":", static_cast<std::uint64_t>(file.st_ino), ":", static_cast<std::int64_t>(file.st_ctim.tv_sec), ".",
                          static_cast<std::int64_t>(file.st_ctim.tv_nsec));
  }

 private:
  std::string path_;
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
    if (content.size() > bytes_max) return Status{Code::full, text(path, " is larger than ", format_size(static_cast<double>(bytes_max)))};
  }
}

Status replace_file(const std::string& path, std::string_view content, unsigned mode) {
  const std::string fresh = path + ".new";
  const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file.valid()) return status_from_errno(errno, "create " + fresh);
  struct stat old {};
  if (::fchmod(file.get(), mode) != 0) return status_from_errno(errno, "change the mode of " + fresh);
  if (::stat(path.c_str(), &old) == 0 && ::fchown(file.get(), old.st_uid, old.st_gid) != 0) return status_from_errno(errno, "give away " + fresh);
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

Status make_folders(const std::string& path) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0750) != 0 && errno != EEXIST) return status_from_errno(errno, "create folder " + part);
  }
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
