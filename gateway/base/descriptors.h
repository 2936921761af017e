// File descriptors are memory that the system counts for us: how many this process may have, and how many it
// has. A socket, a segment of the log and a certificate being read come out of the same purse, so whoever
// takes in strangers must know it.
#pragma once

#include <cstddef>

namespace millrace {

struct DescriptorLimit {
  std::size_t soft = 0, hard = 0;  // RLIMIT_NOFILE
};

// 1024 each where the system does not say (seccomp may forbid the question).
DescriptorLimit descriptor_limit();
// Makes the soft limit the hard one and returns what counts from now on. The soft limit of 1024 that systemd
// and shells give is for programs that call select(); nothing in this process does.
std::size_t raise_descriptor_limit();
// How many are open; 0 where /proc does not say.
std::size_t descriptors_open();

}  // namespace millrace
