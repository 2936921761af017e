// One HTTP/1.1 request (RFC 9112) over net's own connections and TLS: for small questions to services. The
// connection is closed after the answer. Header and body are bounded, and so is the time. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/http_url.h"
#include "loop/loop.h"
#include "net/dial.h"
#include "net/tls.h"

namespace millrace {

// What a client of HTTP asks for in its handshake (RFC 7301): so that a port with other protocols, too, gives
// this one or says that it has not, as the one of gRPC beside that of OTLP. Uplinks go without: a server
// speaks HTTP/1.1 to who names nothing, and it is 15 bytes of each handshake, 30 where it is answered.
inline std::vector<std::string> http_alpn() { return {"http/1.1"}; }

struct HttpQuery {
  std::string method = "GET";
  HttpUrl url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  Duration timeout = std::chrono::seconds(10);  // of each: the name, the connection, the answer
  std::size_t answer_max = 1 << 20;
};

struct HttpAnswer {
  int status = 0;
  std::string body;
};

class HttpCall {  // destroying it gives up
 public:
  // `tls`: for https; it outlives the call. `done` runs once, later, unless the call dies first; it may
  // destroy it. Any status is an answer; `invalid`: somebody must act (a certificate), `unavailable` and
  // `timeout`: not now.
  HttpCall(Loop& loop, TlsClient& tls, HttpQuery request, std::function<void(Result<HttpAnswer>)> done);
  ~HttpCall();

 private:
  struct Parser;
  void on_dialled(Result<std::unique_ptr<Stream>> result);
  void on_bytes(BytesView chunk);
  void finish(Result<HttpAnswer> answer);

  Loop& loop_;
  HttpQuery request_;
  std::function<void(Result<HttpAnswer>)> done_;
  std::unique_ptr<Parser> parser_;
  std::unique_ptr<Timer> deadline_;
  std::unique_ptr<Dial> dial_;
  std::unique_ptr<Stream> stream_;
  HttpAnswer answer_;
};

}  // namespace millrace
