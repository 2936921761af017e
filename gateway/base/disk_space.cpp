#include "base/disk_space.h"

#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstdio>

namespace millrace {
namespace {

// The magic numbers of statfs(2); glibc names few of them.
constexpr struct {
  std::uint32_t magic;
  const char* name;
  bool in_memory;
} kinds[] = {
    {0x01021994, "tmpfs", true},      {0x858458F6, "ramfs", true},  {0xEF53, "ext4", false},
    {0xF2F52010, "f2fs", false},      {0x9123683E, "btrfs", false}, {0x58465342, "xfs", false},
    {0x794C7630, "overlayfs", false}, {0x24051905, "ubifs", false}, {0x72B6, "jffs2", false},
    {0x4D44, "vfat", false},          {0x2011BAB0, "exfat", false}, {0x6969, "nfs", false},
    {0x73717368, "squashfs", false},
};

}  // namespace

Result<DiskSpace> disk_space(const std::string& path) {
  struct statfs info {};
  std::string at = path;
  while (::statfs(at.c_str(), &info) != 0) {
    const int error = errno;
    const auto slash = at.find_last_of('/');
    const bool missing = error == ENOENT || error == ENOTDIR;
    if (!missing || slash == std::string::npos || at == "/") {
      return status_from_errno(error, "look at the file system of " + path);
    }
    at = slash == 0 ? "/" : at.substr(0, slash);
  }
  DiskSpace space;
  const auto block = static_cast<std::uint64_t>(info.f_bsize);
  space.free = block * info.f_bavail;
  space.total = block * (info.f_blocks - (info.f_bfree - info.f_bavail));
  if (info.f_files > 0) space.files_left = info.f_ffree;
  space.read_only = (static_cast<std::uint64_t>(info.f_flags) & ST_RDONLY) != 0;
  const auto magic = static_cast<std::uint32_t>(info.f_type);
  for (const auto& kind : kinds) {
    if (kind.magic != magic) continue;
    space.kind = kind.name;
    space.in_memory = kind.in_memory;
  }
  if (space.kind.empty()) {
    char number[16];
    std::snprintf(number, sizeof number, "0x%x", magic);
    space.kind = number;
  }
  return space;
}

}  // namespace millrace
