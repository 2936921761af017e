// `millrace test`: what a route makes of a sample payload: its records, what has no value, what could not be
// read and why. From a file or standard input; nothing is stored or sent, and no daemon is asked.
#pragma once

#include "cli/arguments.h"
#include "config/load.h"

namespace millrace {

// 0: all of it became readings, or is ignored. 1: something could not be read.
int test_tool(const Arguments& arguments, const LoadedConfig& loaded);

}  // namespace millrace
