// A small HTTP/1.1 server for loopback faces (metrics, health, the page): GET and HEAD only, one request a
// connection, bounded connections, header bytes and time. On the loop.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "loop/loop.h"
#include "net/http_request.h"
#include "net/tls.h"

namespace millrace {

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string_view, std::string_view>> headers{};  // constants
  // Where it is given the answer is a head without a length, and who takes the stream goes on with it.
  std::function<void(std::unique_ptr<Stream>)> goes_on{};
};

class HttpServer {
 public:
  // Answers by calling `reply` once, now or later, on the loop. Where the asker has left meanwhile that does
  // nothing.
  using Reply = std::function<void(HttpResponse)>;
  using Handler = std::function<void(const HttpRequest& request, Reply reply)>;

  static constexpr std::size_t connections_max = 16;
  // to read an answer, before somebody else may have the place
  static constexpr Duration grace = std::chrono::seconds(1);
  static constexpr Duration deadline = std::chrono::seconds(10);  // from accept to the last byte sent

  // `io` or `invalid` when the address cannot be bound.
  // `tls`: https.
  static Result<std::unique_ptr<HttpServer>> listen(Loop& loop, const std::string& address, Handler handler,
                                                    std::unique_ptr<TlsServer> tls = {});
  ~HttpServer();

  std::uint16_t port() const { return listener_->port(); }

 private:
  struct Connection;
  HttpServer(Loop& loop, Handler handler);
  void accept(std::unique_ptr<Stream> stream);
  void received(const std::shared_ptr<Connection>& connection, BytesView bytes);
  void answer(const std::shared_ptr<Connection>& connection, HttpResponse response);
  bool make_room();
  void drop(const Connection* connection);

  Loop& loop_;
  Handler handler_;
  std::unique_ptr<TlsServer> tls_;
  std::unique_ptr<Listener> listener_;
  std::list<std::shared_ptr<Connection>> connections_;
};

}  // namespace millrace
