// The file system, as far as we need it: a file descriptor that closes itself, small whole-file reads, and a
// Folder, the seam through which the log lists, renames, unlinks and syncs its files, so that the simulation
// can cut the power.
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

// Whether there is something that is no regular file: to read it could keep us waiting.
bool is_no_file(const std::string& path);

// Replaces a file whole, or leaves it as it is: written beside it, synced, renamed. An existing file keeps
// owner and group; `mode` is what the new one has.
Status replace_file(const std::string& path, std::string_view content, unsigned mode);

// Creates the folder and its parents (mode 0750 for those it makes, whose names are durable on return).
Status make_folders(const std::string& path);

// Takes an exclusive lock on `path` for the life of the Fd; `unavailable` when another process holds it.
Result<Fd> lock_file(const std::string& path);

// One folder of files that belong to us. The log's workers and the loop use it; what is kept inside is
// guarded. Trouble that says nothing about the files (no descriptor left, no memory, no right to look) is
// `unavailable`, never "missing".
class Folder {
 public:
  virtual ~Folder() = default;
  virtual const std::string& path() const = 0;
  virtual Result<std::vector<std::string>> list() const = 0;  // names, sorted
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& name) = 0;  // a missing file is success
  // Makes created, renamed and removed entries durable.
  virtual Status sync() = 0;
  // The file's size, 0 when it is missing; an error when that cannot be told. Whoever gives something up for
  // missing asks this.
  virtual Result<std::uint64_t> look(const std::string& name) const = 0;
  // 0 also when it cannot be told: for sums, never for a verdict
  std::uint64_t size_of(const std::string& name) const {
    const auto size = look(name);
    return size.ok() ? size.value() : 0;
  }
  // Up to `bytes_max` bytes from `offset`; fewer at the end of the file, none when it is missing.
  virtual Result<Bytes> read(const std::string& name, std::uint64_t offset, std::size_t bytes_max) const = 0;
  // Writes into a file, which is made when it is missing. Durable on return, and so is a new name.
  virtual Status write(const std::string& name, std::uint64_t offset, BytesView bytes) = 0;
  // A second name for the same file; not every file system has that.
  virtual Status link(const std::string& from, const std::string& to) = 0;
  // What identifies this folder on this machine, with the file `anchor` in it, which is never written again
  // once it is made: a copy of the folder, or one that was restored into the same place, has another
  // identity. An error when it cannot be told, which is not the same as having changed.
  virtual Result<std::string> identity(const std::string& anchor) const = 0;
  // Descriptors put by for the day there are none left: what failed with `unavailable` is tried once more
  // while the guard lives.
  virtual void hold_spare(std::size_t /*count*/) {}
  virtual std::shared_ptr<void> use_spare() const { return nullptr; }
  std::string join(std::string_view name) const { return path() + "/" + std::string(name); }
};

std::unique_ptr<Folder> open_folder(const std::string& path);

// Does it, and when there was no descriptor left for it once more with the spare ones. `Outcome` is a Status
// or a Result.
template <typename Do>
auto with_spare(const Folder& folder, Do&& what) {
  auto outcome = what();
  const auto lacks = [](const auto& o) {
    if constexpr (requires { o.code(); }) return o.code() == Code::unavailable;
    else return !o.ok() && o.status().code() == Code::unavailable;
  };
  if (!lacks(outcome)) return outcome;
  if (const auto guard = folder.use_spare()) return what();
  return outcome;
}
// Removes a folder that holds nothing but files, and them.
Status remove_folder(const std::string& path);

}  // namespace millrace
