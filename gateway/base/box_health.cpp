#include "base/box_health.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/files.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr int zones_max = 32;
constexpr double coldest = -60, warmest = 200;  // what a sensor that is broken says lies beyond

std::uint64_t kilobytes(std::string_view meminfo, std::string_view key) {
  for (const std::string_view line : split(meminfo, '\n')) {
    if (!line.starts_with(key)) continue;
    const std::string_view number = trim(line.substr(key.size()));
    std::uint64_t value = 0;
    std::from_chars(number.data(), number.data() + number.size(), value);
    return value * 1024;
  }
  return 0;
}

std::optional<double> number_in(const std::string& path) {
  const auto content = read_file(path, 4096);
  if (!content.ok()) return std::nullopt;
  const std::string_view word = trim(content.value());
  double value = 0;
  return std::from_chars(word.data(), word.data() + word.size(), value).ec == std::errc{}
             ? std::optional(value)
             : std::nullopt;
}

}  // namespace

BoxHealth box_health(const std::string& root) {
  BoxHealth box;
  box.load = number_in(root + "/proc/loadavg");
  if (const auto meminfo = read_file(root + "/proc/meminfo", 16 << 10); meminfo.ok()) {
    box.memory_total = kilobytes(meminfo.value(), "MemTotal:");
    box.memory_left = kilobytes(meminfo.value(), "MemAvailable:");
  }
  for (int zone = 0; zone < zones_max; ++zone) {
    const std::string folder = text(root, "/sys/class/thermal/thermal_zone", zone);
    const auto millidegrees = number_in(folder + "/temp");
    if (!millidegrees) {
      if (::access(folder.c_str(), F_OK) != 0) break;
      continue;  // a zone that is switched off
    }
    const double celsius = *millidegrees / 1000;
    if (celsius > coldest && celsius < warmest)
      box.celsius = std::max(box.celsius.value_or(celsius), celsius);
  }
  return box;
}

}  // namespace millrace
