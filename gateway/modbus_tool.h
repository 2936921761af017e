// `millrace read modbus` and `millrace scan modbus`: from the command line to the driver's commissioning. A
// port that the running daemon has is left to it.
#pragma once

#include "cli/arguments.h"

namespace millrace {

int modbus_tool(const Arguments& arguments);

}  // namespace millrace
