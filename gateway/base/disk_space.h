// The file system that holds a folder: how large, how full, of what kind. For words and gauges, never for a
// promise: others write there, too.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace millrace {

struct DiskSpace {
  std::uint64_t total = 0, free = 0;  // bytes, without what is reserved for root
  std::string kind;                   // "ext4", "tmpfs", or its number
  bool read_only = false;
  bool in_memory = false;                 // gone after a reboot
  std::uint64_t files_left = UINT64_MAX;  // inodes; as here, where the file system does not count them
};

// Of the folder, or where it does not exist yet of the nearest one above it.
Result<DiskSpace> disk_space(const std::string& path);

}  // namespace millrace
