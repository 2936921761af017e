#include "cli/disk_warnings.h"

#include <sys/stat.h>

#include "base/files.h"
#include "base/text.h"

namespace millrace {
namespace {

std::string at_line(const std::string& path, int line) {
  return line > 0 ? text(path, ":", line, ": ") : std::string();
}

std::string size_of(std::uint64_t bytes) { return format_size(static_cast<double>(bytes)); }

// What of the path is there and no folder, so that none can be made; empty: nothing is.
std::string in_the_way_of(const std::string& folder) {
  for (std::size_t end = folder.find('/', 1);; end = folder.find('/', end + 1)) {
    const std::string part = folder.substr(0, end);
    struct stat info {};
    if (::stat(part.c_str(), &info) != 0) return {};
    if (!S_ISDIR(info.st_mode)) return part;
    if (end == std::string::npos) return {};
  }
}

}  // namespace

std::vector<std::string> disk_warnings(const LoadedConfig& loaded, const std::string& path,
                                       const DiskSpace& disk, std::uint64_t log_bytes) {
  const LogConfig& log = loaded.config.log;
  std::vector<std::string> warnings;
  const std::string here = text(at_line(path, log.path_line), "log.path ", log.path, " is on ");
  if (disk.read_only) {
    warnings.push_back(text(here, disk.kind, ", mounted read-only: nothing can be stored"));
  }
  if (disk.in_memory) {
    warnings.push_back(text(here, disk.kind,
                            ", which is memory: after a reboot or a power cut it is empty, and what was "
                            "acknowledged is lost"));
  }
  const std::string size =
      text(at_line(path, log.size_line), "log.max_size, ", size_of(log.max_size), ", is more than ");
  const std::string of = text(" (", disk.kind, ", ", size_of(disk.total), ")");
  if (log.max_size > disk.total) {
    warnings.push_back(text(size, "the file system of ", log.path, " holds", of,
                            ": it is full before the log is, and then inputs pause"));
  } else if (log.max_size > disk.free + log_bytes) {
    const std::string beside = log_bytes > 0 ? text(", beside the ", size_of(log_bytes), " the log has") : "";
    warnings.push_back(text(size, "there is room for now: ", size_of(disk.free),
                            " are free on the file system of ", log.path, of, beside,
                            ". When it is full before the log is, inputs pause"));
  }
  return warnings;
}

std::vector<std::string> disk_warnings(const LoadedConfig& loaded, const std::string& path) {
  std::vector<std::string> blocked;
  const LogConfig& log = loaded.config.log;
  if (const std::string file = in_the_way_of(log.path); !file.empty())
    blocked.push_back(text(at_line(path, log.path_line), "log.path ", log.path, ": ", file,
                           " is no folder; the gateway cannot start"));
  const std::string& runtime = loaded.config.gateway.runtime_dir;
  if (const std::string file = in_the_way_of(runtime); !file.empty())
    blocked.push_back(
        text("gateway.runtime_dir ", runtime, ": ", file, " is no folder; the gateway cannot start"));
  for (const std::string& file : {log.path + "/lock", runtime + "/lock", runtime + "/inbox"}) {
    struct stat info {};
    if (::stat(file.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
      blocked.push_back(
          text(file, " is no file, and a file of the gateway is to lie there; it cannot start"));
  }
  for (const auto& [key, folder] :
       {std::pair{"log.path", &log.path}, std::pair{"gateway.runtime_dir", &runtime}}) {
    if (folder->starts_with("/proc/") || folder->starts_with("/sys/"))
      blocked.push_back(text(key, " ", *folder,
                             ": the kernel's own, no files can be made there; the gateway cannot start"));
  }
  if (!blocked.empty()) return blocked;
  const auto disk = disk_space(loaded.config.log.path);
  if (!disk.ok()) return {};
  const auto folder = open_folder(loaded.config.log.path);
  std::uint64_t bytes = 0;
  if (const auto names = folder->list(); names.ok()) {
    for (const std::string& name : names.value()) bytes += folder->size_of(name);
  }
  return disk_warnings(loaded, path, disk.value(), bytes);
}

}  // namespace millrace
