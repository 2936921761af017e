// Tells systemd how we are (sd_notify(3)): one datagram to $NOTIFY_SOCKET, written by hand.
#pragma once

#include <memory>
#include <string>

#include "base/time.h"
#include "loop/loop.h"

namespace millrace {

// "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=..."; does nothing outside systemd.
void sd_notify(const std::string& state);

// Beats the watchdog of the service, where it has one (WatchdogSec=), from the loop itself: a loop that hangs
// is what it is there to see.
class WatchdogBeat {
 public:
  explicit WatchdogBeat(Loop& loop) : loop_(loop) {}
  void beat();

 private:
  Loop& loop_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
