// A connection for who may wait: on a worker of its own, or in a command. Each call has a deadline, and ends
// early, within a tenth of a second, where nobody wants it any more. What must not wait dials (net/dial.h).
// One thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/files.h"
#include "base/host_port.h"
#include "base/status.h"
#include "base/time.h"

namespace millrace {

struct Waiter {
  const Clock& clock;
  std::function<bool()> wanted;  // any thread may change what it says

  // Until `fd` is ready for `events` of poll(2), or gone. False: not by then, or it is not wanted any more.
  // What is ready counts however late we look: whoever takes what a peer can give without an end looks at the
  // time, too.
  bool await(int fd, short events, Instant deadline) const;
  void rest(Duration duration) const;
};

class WaitingStream {  // destroying it closes the connection
 public:
  virtual ~WaitingStream() = default;
  // All of it, with the kernel. Where it fails nobody knows how much has left: the connection is of no more
  // use.
  virtual Status send(BytesView bytes, Instant deadline) = 0;
  // At least one byte, at most all of `to`: how many. `timeout`: none came by then, and it can be asked
  // again; anything else: the connection is no more.
  virtual Result<std::size_t> receive(std::span<std::byte> to, Instant deadline) = 0;
};

// A socket that does not block, connected to one of the host's addresses. Each is tried for its share of the
// time that looking the name up has left.
Result<Fd> connect_waiting(const Waiter& waiter, const HostPort& where, Instant deadline);
std::unique_ptr<WaitingStream> plain_stream(Waiter waiter, Fd socket);

}  // namespace millrace
