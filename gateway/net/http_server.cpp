#include "net/http_server.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {

struct HttpServer::Connection {
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Timer> deadline;
  Instant since;
  HttpRequestReader reader;
  bool asked = false, answered = false;
};

namespace {

const char* status_text(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 421: return "Misdirected Request";
    case 429: return "Too Many Requests";
    case 503: return "Service Unavailable";
    default: return "Error";
  }
}

std::string head_of(const HttpResponse& response) {
  std::string head = text("HTTP/1.1 ", response.status, " ", status_text(response.status),
                          "\r\nContent-Type: ", response.content_type, "\r\n");
  if (!response.goes_on) head += text("Content-Length: ", response.body.size(), "\r\n");
  for (const auto& [name, value] : response.headers) head += text(name, ": ", value, "\r\n");
  return head + "Connection: close\r\n\r\n";
}

}  // namespace

HttpServer::HttpServer(Loop& loop, Handler handler) : loop_(loop), handler_(std::move(handler)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::listen(Loop& loop, const std::string& address,
                                                       Handler handler, std::unique_ptr<TlsServer> tls) {
  std::unique_ptr<HttpServer> server(new HttpServer(loop, std::move(handler)));
  server->tls_ = std::move(tls);
  auto listener = loop.listen(
      address, [raw = server.get()](std::unique_ptr<Stream> stream) { raw->accept(std::move(stream)); });
  if (!listener.ok()) return listener.status();
  server->listener_ = std::move(listener).value();
  return server;
}

void HttpServer::accept(std::unique_ptr<Stream> stream) {
  // closed at once: a flood of scrapers costs nothing more
  if (connections_.size() >= connections_max && !make_room()) return;
  const auto& connection = connections_.emplace_back(std::make_shared<Connection>());
  if (tls_) {
    stream =
        tls_->accept(std::move(stream), [this, c = connection.get()](const Status& status, const TlsPeer&) {
          if (!status.ok()) drop(c);
        });
  }
  connection->stream = std::move(stream);
  connection->since = loop_.now();
  connection->deadline = loop_.after(deadline, [this, c = connection.get()] { drop(c); });
  connection->stream->read([this, weak = std::weak_ptr(connection)](BytesView bytes) {
    if (const auto there = weak.lock()) received(there, bytes);
  });
}

void HttpServer::received(const std::shared_ptr<Connection>& connection, BytesView bytes) {
  if (bytes.empty()) return drop(connection.get());
  if (connection->asked) return;  // one request a connection
  const auto state = connection->reader.push(bytes);
  if (state == HttpRequestReader::State::reading) return;
  connection->asked = true;
  if (state == HttpRequestReader::State::broken)
    return answer(connection, {400, "text/plain", "bad request\n"});
  HttpRequest request = connection->reader.request();
  request.peer = connection->stream->peer_address();
  if (request.method != "GET" && request.method != "HEAD") {
    return answer(connection, {405, "text/plain", "only GET and HEAD\n", {{"Allow", "GET, HEAD"}}});
  }
  handler_(request, [this, weak = std::weak_ptr(connection)](HttpResponse response) {
    if (const auto there = weak.lock()) answer(there, std::move(response));
  });
}

void HttpServer::answer(const std::shared_ptr<Connection>& connection, HttpResponse response) {
  if (std::exchange(connection->answered, true) || !connection->stream) return;
  std::string bytes = head_of(response);
  if (connection->reader.request().method == "HEAD") {
    response.goes_on = nullptr;
  } else {
    bytes += response.body;
  }
  connection->stream->write(std::move(bytes));
  if (response.goes_on) {
    std::unique_ptr<Stream> stream = std::move(connection->stream);
    drop(connection.get());
    return response.goes_on(std::move(stream));
  }
  connection->stream->finish([this, c = connection.get()] { drop(c); });
}

// Whoever sits there without asking goes first, the oldest; then who is slow to read, once he had time to.
bool HttpServer::make_room() {
  const Instant now = loop_.now();
  for (const bool asked : {false, true}) {
    const auto oldest = std::find_if(connections_.begin(), connections_.end(), [&](const auto& c) {
      return c->asked == asked && (!asked || now - c->since >= grace);
    });
    if (oldest == connections_.end()) continue;
    connections_.erase(oldest);
    return true;
  }
  return false;
}

void HttpServer::drop(const Connection* connection) {
  connections_.remove_if([connection](const auto& c) { return c.get() == connection; });
}

}  // namespace millrace
