// What a configuration takes of the process's file descriptors, so that devices get what is left and never
// what the log needs.
#pragma once

#include <cstddef>

#include "config/config.h"

namespace millrace {

// Everything but devices: the log and its readers, uplinks and their name lookups, ports, faces, what a
// command opens. Generous: one that is missing when a segment is opened costs more than a hundred that are
// never used.
std::size_t own_descriptors(const Config& config);
// connections_max of all endpoints.
std::size_t device_descriptors(const Config& config);
// What a limit leaves for devices.
std::size_t devices_within(const Config& config, std::size_t limit);

}  // namespace millrace
