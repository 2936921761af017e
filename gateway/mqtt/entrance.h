// A way in over the loopback for one client of this process: a listener on a port of the kernel's choice,
// open until somebody shows the token as the user name of his CONNECT. Who shows nothing or something else is
// closed, whoever came first: neither another process of this machine nor one that guesses the port gets
// through. On the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "loop/loop.h"
#include "mqtt/packet.h"

namespace millrace::mqtt {

class Entrance {
 public:
  // Runs once; the Entrance may be destroyed inside. `connect` is valid during the call; nothing follows it
  // until it is answered.
  using Admitted = std::function<void(std::unique_ptr<Stream> client, const Packet& connect)>;

  Entrance(Loop& loop, Admitted admitted);
  ~Entrance();
  // Not ok: nothing listens.
  Status open();
  std::uint16_t port() const { return listener_ ? listener_->port() : std::uint16_t{0}; }
  const std::string& token() const { return token_; }

 private:
  struct Guest;
  using Guests = std::list<std::unique_ptr<Guest>>;
  void arrived(std::unique_ptr<Stream> stream);
  void said(Guests::iterator guest, BytesView chunk);

  Loop& loop_;
  Admitted admitted_;
  const std::string token_;
  std::unique_ptr<Listener> listener_;
  Guests guests_;  // who have not shown anything yet, the oldest first
};

}  // namespace millrace::mqtt
