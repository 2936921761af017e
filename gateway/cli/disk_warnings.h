// What the disk under the log will do to the configuration one day: found at `check` and at start, with the
// line to change.
#pragma once

#include <string>
#include <vector>

#include "base/disk_space.h"
#include "config/load.h"

namespace millrace {

// Of a disk that looks so, while the log takes `log_bytes` of it. `path`: of the configuration.
std::vector<std::string> disk_warnings(const LoadedConfig& loaded, const std::string& path,
                                       const DiskSpace& disk, std::uint64_t log_bytes);
// Looks at the disk that is there, and whether log and runtime folder can be folders there at all; what
// cannot be looked at is for the start to say.
std::vector<std::string> disk_warnings(const LoadedConfig& loaded, const std::string& path);

}  // namespace millrace
