#include "base/descriptors.h"

#include <dirent.h>
#include <sys/resource.h>

#include <algorithm>

namespace millrace {
namespace {

constexpr std::size_t assumed = 1024;
constexpr rlim_t counted_to = 1 << 30;  // "unlimited", and what does not fit size_t on a 32 bit board

std::size_t number_of(rlim_t limit) { return static_cast<std::size_t>(std::min<rlim_t>(limit, counted_to)); }

}  // namespace

DescriptorLimit descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return {assumed, assumed};
  return {number_of(limit.rlim_cur), number_of(limit.rlim_max)};
}

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return assumed;
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit wanted{limit.rlim_max, limit.rlim_max};
    // refused (seccomp's @resources): what was given counts
    if (::setrlimit(RLIMIT_NOFILE, &wanted) == 0) limit = wanted;
  }
  return number_of(limit.rlim_cur);
}

std::size_t descriptors_open() {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  std::size_t entries = 0;
  while (::readdir(folder) != nullptr) ++entries;
  ::closedir(folder);
  return entries >= 3 ? entries - 3 : 0;  // ".", "..", and the one that reads
}

}  // namespace millrace
