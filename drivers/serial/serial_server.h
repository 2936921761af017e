// Connects to a serial server (ser2net, a Moxa or Lantronix box in raw mode): a TCP connection that carries
// the bytes of a line and nothing else. Speed and parity are the server's to know. What it gives is a socket
// that reads and writes as a port does; one whose peer vanished without a word breaks after a minute and a
// half (keepalive). On the loop; never blocks.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/host_port.h"
#include "loop/loop.h"
#include "net/resolver.h"

namespace millrace {

class ServerDial {  // destroying it gives up
 public:
  using Done = std::function<void(Result<Fd>)>;

  // `done` runs once, later; it may destroy the ServerDial. `timeout` is the lookup's, and once more that of
  // connecting to each address.
  ServerDial(Loop& loop, HostPort where, Duration timeout, Done done);

 private:
  void try_next(Status last);
  void look();

  Loop& loop_;
  const HostPort where_;
  const Duration timeout_;
  Done done_;
  std::unique_ptr<Lookup> lookup_;
  std::vector<std::string> addresses_;  // to be tried, the next one last
  Fd socket_;
  Instant deadline_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
