// The command line's side of `millrace log` and `millrace dlq`: asks the running daemon, or opens a stopped log itself, under
// its lock, and prints what comes.
#pragma once

#include "cli/arguments.h"
#include "config/config.h"

namespace millrace {

// Uplinks that are not in the configuration and that the stopped log keeps something for, a line each; empty where the log is not
// there, not ours, or a daemon holds it.
std::string absent_in_stopped_log(const Config& config);
// Returns an exit code.
int log_tool(const Arguments& arguments, const Config& config);
// `millrace log salvage FILE`: what is whole of any segment file, as JSON lines; needs no log around it.
int salvage_file(const std::string& path);

}  // namespace millrace
