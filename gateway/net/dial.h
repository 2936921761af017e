// Makes a connection to a named host: resolves the name, tries its addresses in order until one answers, and shakes hands
// by TLS where asked to. What blocks (the resolver, reading certificates) runs on the "resolve" worker. On the loop.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/host_port.h"
#include "loop/loop.h"
#include "net/tls.h"

namespace millrace {

class Dial {  // destroying it gives up
 public:
  // A stream that is connected and, with TLS, whose peer is who he should be: call read() on it inside `done`. Or
  // `invalid`: somebody must act (a certificate); `unavailable`, `timeout`: not now.
  using Done = std::function<void(Result<std::unique_ptr<Stream>>)>;

  // `tls`: none, without TLS; it outlives the Dial. `done` runs once, later, unless the Dial dies first; it may destroy it.
  // Each address gets its share of what is left of `timeout`.
  Dial(Loop& loop, HostPort where, TlsClient* tls, Duration timeout, Done done);
  ~Dial();

 private:
  struct Prepared;  // what the worker makes
  void on_prepared(Prepared& prepared);
  void try_next(Status last);
  void on_connected(Status status);
  void finish(Result<std::unique_ptr<Stream>> result);

  Loop& loop_;
  HostPort where_;
  TlsClient* tls_;
  Instant deadline_;
  Done done_;
  std::shared_ptr<std::atomic<bool>> wanted_ = std::make_shared<std::atomic<bool>>(true);
  std::vector<std::string> addresses_;  // numeric, to be tried; the next one first
  std::shared_ptr<TlsClient::Credentials> credentials_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
