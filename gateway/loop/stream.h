// Byte streams on the loop: TCP and unix connections, accepted or made. All calls and callbacks on the loop.
// Destroying a Stream closes it, and no callback runs afterwards.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/bytes.h"

namespace millrace {

class Stream {
 public:
  virtual ~Stream() = default;
  // `received` gets what arrives, valid during the call; an empty view is the end (or a fault): close then.
  // May destroy the Stream inside.
  virtual void read(std::function<void(BytesView)> received) = 0;
  // Runs `readable` once, when the peer has said something (true) or has left without a word; nothing is
  // taken in: for who waits to be read. Before read(). May destroy the Stream inside.
  virtual void when_readable(std::function<void(bool said_something)> readable) = 0;
  // Leaves what comes in the kernel's buffer, which pushes back on the peer, until resume(). A closed peer is
  // noticed only then, or by unread_bytes().
  virtual void pause() = 0;
  virtual void resume() = 0;
  // Queues all of `bytes`. Unsent bytes are counted by pending_bytes(); the owner bounds them.
  virtual void write(std::string bytes) = 0;
  virtual std::size_t pending_bytes() const = 0;
  // What was written and the peer's kernel has not acknowledged: unsent bytes and those in our kernel's
  // hands. It falls while a slow link moves, when the kernel took everything long ago.
  virtual std::size_t unacknowledged_bytes() const { return pending_bytes(); }
  // What lies in the kernel's hands and was not read; nothing: the connection broke (the peer's reset, or TCP
  // gave it up).
  virtual std::optional<std::size_t> unread_bytes() const { return 0; }
  // Closes once everything written has been sent; `closed` runs then, on the loop.
  virtual void finish(std::function<void()> closed) = 0;
  // The peer's user id by SO_PEERCRED, for unix sockets only.
  virtual std::optional<std::uint32_t> peer_uid() const = 0;
  // "192.0.2.7:40112"; empty for unix sockets.
  virtual std::string peer_address() const = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;
  virtual std::uint16_t port() const = 0;  // the port that was bound; 0 for unix sockets
};

}  // namespace millrace
