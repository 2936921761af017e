#include "config/descriptor_needs.h"

namespace millrace {
namespace {

// Open in an idle gateway without inputs and uplinks: 25 (loop, locks, inbox, spare ones), and three of the
// log's head (database, -wal, mark). The log's reader has up to four segments open, each a database and
// perhaps its -wal; a backup, an eviction and a leftover of another version have as many while they work.
constexpr std::size_t base = 28, log = 4 * 8;
// HttpServer and ControlServer: their listeners and their connections_max; beside them page_streams
constexpr std::size_t faces = 1 + 16 + 1 + 8;
constexpr std::size_t pushing = 3 + lookup_descriptors;  // OtlpPush: its sockets while it connects
// files a rotated certificate, a users file, a reload open for a moment
constexpr std::size_t a_command = 16;

}  // namespace

std::size_t own_descriptors(const Config& config) {
  std::size_t all =
      base + log + faces + (config.observe.has_page() ? config.observe.page_streams : 0) + a_command;
  if (config.observe.otlp.given()) all += pushing;
  for (const std::vector<PartConfig>* parts : {&config.inputs, &config.uplinks}) {
    for (const PartConfig& part : *parts) {
      all += part.kind->descriptors;
      if (part.kind->more_descriptors) all += part.kind->more_descriptors(part.values.get());
    }
  }
  return all;
}

std::size_t device_descriptors(const Config& config) {
  std::size_t all = 0;
  for (const PartConfig& input : config.inputs) {
    if (input.kind->devices) all += input.kind->devices(input.values.get());
  }
  return all;
}

std::size_t devices_within(const Config& config, std::size_t limit) {
  const std::size_t own = own_descriptors(config);
  return limit > own ? limit - own : 0;
}

}  // namespace millrace
