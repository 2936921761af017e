#include "log/trouble.h"

#include "base/text.h"

namespace millrace {
namespace {

constexpr std::uint64_t next_to_nothing = 256 << 10;  // a new head needs about as much
constexpr std::uint64_t files_of_a_head = 3;          // itself, its WAL and the index of that

// Where there is room for bytes: some file systems make inodes of that as they are wanted.
bool few_files(const DiskSpace& disk) {
  return disk.files_left <= files_of_a_head && disk.free > next_to_nothing;
}

std::string size_of(std::uint64_t bytes) { return format_size(static_cast<double>(bytes)); }

// "INSERT OR REPLACE INTO rows(...) VALUES(...): Disk quota exceeded": what people want of it.
std::string last_part(const std::string& detail) {
  const auto at = detail.rfind(": ");
  return at == std::string::npos ? detail : detail.substr(at + 2);
}

std::string who_fills(const DiskSpace& disk, std::uint64_t used, std::uint64_t max) {
  if (few_files(disk)) return "other files must go, however small";
  if (disk.free > next_to_nothing) return "there is room all the same: a quota, or room kept for others";
  if (max > disk.total) {
    return "log.max_size is more than this file system holds: lower it, or give the log a larger one";
  }
  const std::uint64_t taken = disk.total - disk.free;
  return text("something else takes ", size_of(taken - std::min(taken, used)), " of it and fills it");
}

}  // namespace

std::string words_of_trouble(const Status& fault, const std::string& folder,
                             const std::optional<DiskSpace>& disk, std::uint64_t used, std::uint64_t max) {
  if (!disk) return fault.detail();
  std::string left = text(folder, " (", disk->kind, disk->read_only ? ", mounted read-only" : "", ") has ",
                          size_of(disk->free), " free");
  // Of this SQLite says no more than that it cannot open a file.
  if (few_files(*disk)) left += text(" but ", disk->files_left == 0 ? "no" : "too few", " inodes");
  if (fault.code() != Code::full)
    return text(fault.detail(), "; ", left, few_files(*disk) ? ": other files must go" : "");
  return text(last_part(fault.detail()), ": ", left, " of ", size_of(disk->total), ", the log takes ",
              size_of(used), " of its ", size_of(max), "; ", who_fills(*disk, used, max));
}

}  // namespace millrace
