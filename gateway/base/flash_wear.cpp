#include "base/flash_wear.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdlib>

#include "base/files.h"
#include "base/text.h"

namespace millrace {
namespace {

// "0x02 0x01": of the two kinds of memory in it the one that is used more; 0: it does not say.
std::optional<int> worse_of(std::string_view life_time) {
  long worst = 0;
  for (const std::string_view word : split(trim(life_time), ' '))
    worst = std::max(worst, std::strtol(std::string(word).c_str(), nullptr, 16));
  if (worst < 1 || worst > 11) return std::nullopt;
  return static_cast<int>(worst) * 10;
}

}  // namespace

FlashWear flash_wear_of(unsigned major, unsigned minor, const std::string& sys) {
  char* real = ::realpath(text(sys, "/dev/block/", major, ":", minor).c_str(), nullptr);
  if (!real) return {};
  std::string path = real;
  std::free(real);
  // A partition lies in the folder of its device.
  for (int up = 0; up < 2 && path.find("/block/") != std::string::npos; ++up) {
    FlashWear wear{path.substr(path.rfind('/') + 1), {}};
    const auto life = read_file(path + "/device/life_time", 64);
    if (life.ok()) wear.used_percent = worse_of(life.value());
    if (life.ok() || up == 1) return wear;
    const std::string above = path.substr(0, path.rfind('/'));
    if (above.ends_with("/block")) return wear;
    path = above;
  }
  return {};
}

FlashWear flash_wear(const std::string& folder, const std::string& sys) {
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) return {};
  return flash_wear_of(major(info.st_dev), minor(info.st_dev), sys);
}

}  // namespace millrace
