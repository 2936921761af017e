// Makes a connection to a named host: looks the name up, tries its addresses until one answers, and shakes
// hands by TLS where asked to. An address that is merely slow goes on being tried beside those after it.
// Through a proxy, where there is one, which looks the name up by itself. On the loop; certificates are read
// on the "tls" worker.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/host_port.h"
#include "loop/loop.h"
#include "net/counted_stream.h"
#include "net/proxy_tunnel.h"
#include "net/resolver.h"
#include "net/tls.h"

namespace millrace {

// How it goes there, where not straight and uncounted.
struct DialWay {
  std::optional<Proxy> proxy;
  const WireCount* count = nullptr;  // outlives every connection
};

class Dial {  // destroying it gives up
 public:
  // A stream that is connected and, with TLS, whose peer is who he should be: call read() on it inside
  // `done`. Or `invalid`: somebody must act (a certificate); `unavailable`, `timeout`: not now.
  using Done = std::function<void(Result<std::unique_ptr<Stream>>)>;

  // `tls`: none, without TLS; it outlives the Dial. `done` runs once, later, unless the Dial dies first; it
  // may destroy it. `timeout` is the lookup's, and once more that of connecting with TLS: name servers that
  // are slow do not eat the time that the peer needs. The next address is tried when one has failed, or has
  // used up its share of the time.
  Dial(Loop& loop, HostPort where, TlsClient* tls, Duration timeout, Done done, DialWay way = {});
  ~Dial();

 private:
  struct Try {
    unsigned number = 0;
    std::unique_ptr<Stream> stream;
  };
  void read_certificates();
  void look_up();
  void on_addresses(Result<std::vector<std::string>> addresses);
  void try_next();
  void on_tried(unsigned number, Status status);
  void ask_proxy();
  void shake_hands();
  void finish(Result<std::unique_ptr<Stream>> result);

  Loop& loop_;
  HostPort where_;
  TlsClient* tls_;
  Duration timeout_;
  Instant deadline_;  // of connecting
  Done done_;
  const DialWay way_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Lookup> lookup_;
  std::vector<std::string> addresses_;  // numeric, to be tried; the next one first
  std::vector<Try> tries_;              // none has answered yet
  unsigned tried_ = 0;
  Status last_;  // why the last one failed
  std::shared_ptr<TlsClient::Credentials> credentials_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<ProxyTunnel> tunnel_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace millrace
