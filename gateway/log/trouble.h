// Why nothing can be committed, in words for the person who is to do something about it: whose bytes fill the
// disk, and what is left of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/disk_space.h"
#include "base/status.h"

namespace millrace {

// `used` and `max`: what the log takes, and may take (log.max_size).
std::string words_of_trouble(const Status& fault, const std::string& folder,
                             const std::optional<DiskSpace>& disk, std::uint64_t used, std::uint64_t max);

}  // namespace millrace
