// A connection to an HTTP server that is kept for one request after the other (RFC 9112), over net's own
// dialling and TLS. One request is on its way at a time, so that an answer can only be the answer to it. On
// the loop.
//
// An answer that may be a promise counts only when it cannot be anything else: it came after the server's
// kernel had the whole request, nothing lay on the connection before it and nothing behind it. A connection
// on which that is not so is given up.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "net/dial.h"
#include "net/http_client.h"
#include "net/http_reply.h"
#include "net/upload_turns.h"

namespace millrace {

struct HttpAsk {
  std::string method = "POST";
  std::string target;                                        // path and query, encoded
  std::vector<std::pair<std::string, std::string>> headers;  // but for Host and Content-Length
  std::string body;
};

struct HttpAnswered {
  Status status;  // ok: `reply` is there, whatever it says
  HttpReply reply;
  bool late = false;     // no answer in time, or the request did not move
  bool hung_up = false;  // the server took all of it and closed without a byte
  // so at once, on a connection that had been good before, or had rested: it may have crossed our request
  bool stale = false;
  Duration after{};  // since the request was sent
};

class HttpConnection {  // destroying it closes; no callback runs afterwards
 public:
  struct Options {
    // of the lookup, and once more of connecting with TLS
    Duration connect_timeout = std::chrono::seconds(10);
    // Without a byte of the request that moves, and once more for the whole answer; all of it within four
    // times that.
    Duration answer_timeout = std::chrono::seconds(30);
    std::size_t answer_max = 256 << 10;
    DialWay way{};
    UploadTurns* upload = nullptr;  // of requests, with others; it outlives this
  };
  // `tls`: for https; it outlives this. `connected` runs once, later; `closed` when the connection ends while
  // nothing is asked. Both may destroy this.
  HttpConnection(Loop& loop, HttpUrl where, TlsClient* tls, Options options,
                 std::function<void(const Status&)> connected, std::function<void()> closed);
  ~HttpConnection();

  // Whether something can be asked now.
  bool idle() const { return stream_ && !answered_; }
  // `answered` runs once, later, and may destroy this, and ask again where the connection is still idle().
  void ask(HttpAsk ask, std::function<void(HttpAnswered)> answered);

 private:
  void on_dialled(Result<std::unique_ptr<Stream>> result);
  void send();
  void feed(std::size_t size);
  void on_bytes(BytesView bytes);
  void on_reply();
  void watch();
  void finish(HttpAnswered answer);

  Loop& loop_;
  HttpUrl where_;
  Options options_;
  std::function<void(const Status&)> connected_;
  std::function<void()> closed_;
  std::unique_ptr<Dial> dial_;
  std::unique_ptr<Stream> stream_;
  HttpAsk ask_;
  std::function<void(HttpAnswered)> answered_;
  std::unique_ptr<HttpReplyReader> reader_;
  std::unique_ptr<Timer> timer_;
  bool sent_ = false, early_ = false, rested_ = false;
  Instant dialled_;
  unsigned asked_ = 0;  // on this connection
  std::string unsent_;  // a request that has its turns on the link; what is written_ of it went
  // of this request; and what the server's kernel had at the last look
  std::uint64_t written_ = 0, moved_bytes_ = 0;
  Duration allowance_{};  // that the link's share of it takes
  std::unique_ptr<UploadTurns::Place> turn_;
  Instant begun_, moved_;
};

// As the Host header has it: without the scheme's usual port.
std::string host_of(const HttpUrl& url);
// Text for a query or a path's segment: everything but letters, digits and -._~ as %XX (RFC 3986,
// section 2.1).
std::string percent_encoded(std::string_view text, bool keep_slash = false);

}  // namespace millrace
