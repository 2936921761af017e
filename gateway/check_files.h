// What `check` says about the files that a configuration names: those that are not there yet, certificates
// that have expired or soon will, and such as will not do what they are for. Words, each with file, line and
// key; none of it keeps the daemon from running.
#pragma once

#include <string>
#include <vector>

#include "base/time.h"
#include "config/load.h"

namespace millrace {

std::vector<std::string> check_files(const LoadedConfig& loaded, WallTime now);

}  // namespace millrace
