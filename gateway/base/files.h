// The file system, as far as we need it: a file descriptor that closes itself, small whole-file reads, and a Folder,
// the seam through which the log lists, renames, unlinks and syncs its files, so that the simulation can cut the power.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace millrace {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset();

 private:
  int fd_ = -1;
};

// At most `bytes_max`; longer files are `full`.
Result<std::string> read_file(const std::string& path, std::size_t bytes_max);

// Replaces a file whole, or leaves it as it is: written beside it, synced, renamed. An existing file keeps owner and group;
// `mode` is what the new one has.
Status replace_file(const std::string& path, std::string_view content, unsigned mode);

// Creates the folder and its parents (mode 0750 for those it makes).
Status make_folders(const std::string& path);

// Takes an exclusive lock on `path` for the life of the Fd; `unavailable` when another process holds it.
Result<Fd> lock_file(const std::string& path);

// One folder of files that belong to us. The log's writer thread and the loop use it, never both at once.
class Folder {
 public:
  virtual ~Folder() = default;
  virtual const std::string& path() const = 0;
  virtual Result<std::vector<std::string>> list() const = 0;  // names, sorted
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& name) = 0;         // a missing file is success
  // Makes created, renamed and removed entries durable.
  virtual Status sync() = 0;
  virtual std::uint64_t size_of(const std::string& name) const = 0;  // 0 when missing
  // Up to `bytes_max` bytes from `offset`; fewer at the end of the file, none when it is missing.
  virtual Result<Bytes> read(const std::string& name, std::uint64_t offset, std::size_t bytes_max) const = 0;
  // Writes into a file, which is made when it is missing. Durable on return, and so is a new name.
  virtual Status write(const std::string& name, std::uint64_t offset, BytesView bytes) = 0;
  // A second name for the same file; not every file system has that.
  virtual Status link(const std::string& from, const std::string& to) = 0;
  // What identifies this folder on this machine, with the file `anchor` in it, which is never written again once it is
  // made: a copy of the folder, or one that was restored into the same place, has another identity.
  virtual std::string identity(const std::string& anchor) const = 0;
  std::string join(std::string_view name) const { return path() + "/" + std::string(name); }
};

std::unique_ptr<Folder> open_folder(const std::string& path);
// Removes a folder that holds nothing but files, and them.
Status remove_folder(const std::string& path);

}  // namespace millrace
