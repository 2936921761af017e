// `millrace passwd`: puts a user into a users file of the MQTT endpoint, or takes one out. The password is asked for without echo,
// or read as one line where the input is no terminal; never an argument, which every process could read.
#pragma once

#include "cli/arguments.h"

namespace millrace {

int passwd_tool(const Arguments& arguments);

}  // namespace millrace
