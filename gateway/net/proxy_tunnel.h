// A way through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6), after which the connection is the far
// side's own, so that TLS with it runs from end to end and the proxy sees a name and a port. A login is Basic
// (RFC 7617): whoever is between us and the proxy can read it. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/host_port.h"
#include "loop/loop.h"
#include "net/http_reply.h"

namespace millrace {

struct Proxy {
  HostPort where;
  std::string authorization;  // of the Proxy-Authorization header; empty: no login
};

class ProxyTunnel {  // destroying it gives up, and leaves the Stream without a reader
 public:
  // Asks on `stream`, which is connected to the proxy and outlives this. `done` runs once, later, outside of
  // the Stream's calls: then the Stream may be handed on. `invalid`: somebody must act (a login, the proxy's
  // rules); `unavailable`: not now.
  ProxyTunnel(Loop& loop, Stream& stream, const Proxy& proxy, const HostPort& target,
              std::function<void(const Status&)> done);
  ~ProxyTunnel();

 private:
  void on_bytes(BytesView bytes);
  void finish(Status status);

  Loop& loop_;
  Stream& stream_;
  const std::string proxy_;
  std::function<void(const Status&)> done_;
  HttpReplyReader reader_;
  bool over_ = false;
  Status status_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
