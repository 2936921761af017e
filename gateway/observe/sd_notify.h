// Tells systemd how we are (sd_notify(3)): one datagram to $NOTIFY_SOCKET, written by hand.
#pragma once

#include <string>

#include "base/time.h"

namespace millrace {

// "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=..."; does nothing outside systemd.
void sd_notify(const std::string& state);
// How often the watchdog wants to hear from us (half of WATCHDOG_USEC); 0: not at all.
Duration watchdog_interval();

}  // namespace millrace
