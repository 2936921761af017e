// A small HTTP/1.1 server for loopback faces (metrics, health): GET only, bounded connections, header bytes
// and time. The one home of http-parser. On the loop.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "loop/loop.h"

namespace millrace {

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

class HttpServer {
 public:
  using Handler = std::function<HttpResponse(const std::string& path)>;

  static constexpr std::size_t connections_max = 16;
  static constexpr std::size_t request_bytes_max = 8192;
  // to read an answer, before somebody else may have the place
  static constexpr Duration grace = std::chrono::seconds(1);
  static constexpr Duration deadline = std::chrono::seconds(10);  // from accept to the last byte sent

  // `io` or `invalid` when the address cannot be bound.
  static Result<std::unique_ptr<HttpServer>> listen(Loop& loop, const std::string& address, Handler handler);
  ~HttpServer();

  std::uint16_t port() const { return listener_->port(); }

 private:
  struct Connection;
  HttpServer(Loop& loop, Handler handler);
  void accept(std::unique_ptr<Stream> stream);
  bool make_room();
  void drop(Connection* connection);

  Loop& loop_;
  Handler handler_;
  std::unique_ptr<Listener> listener_;
  std::list<std::unique_ptr<Connection>> connections_;
};

}  // namespace millrace
