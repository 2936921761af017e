#include "net/http_server.h"

#include <http_parser.h>

#include <algorithm>

#include "base/text.h"

namespace millrace {

struct HttpServer::Connection {
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Timer> deadline;
  Instant since;
  http_parser parser;
  std::string path;
  std::size_t bytes = 0;
  bool complete = false;
};

namespace {

const char* status_text(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 503: return "Service Unavailable";
    default: return "Error";
  }
}

}  // namespace

HttpServer::HttpServer(Loop& loop, Handler handler) : loop_(loop), handler_(std::move(handler)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::listen(Loop& loop, const std::string& address,
                                                       Handler handler) {
  std::unique_ptr<HttpServer> server(new HttpServer(loop, std::move(handler)));
  auto listener = loop.listen(
      address, [raw = server.get()](std::unique_ptr<Stream> stream) { raw->accept(std::move(stream)); });
  if (!listener.ok()) return listener.status();
  server->listener_ = std::move(listener).value();
  return server;
}

void HttpServer::accept(std::unique_ptr<Stream> stream) {
  // closed at once: a flood of scrapers costs nothing more
  if (connections_.size() >= connections_max && !make_room()) return;
  auto& connection = connections_.emplace_back(std::make_unique<Connection>());
  Connection* c = connection.get();
  c->stream = std::move(stream);
  c->since = loop_.now();
  c->deadline = loop_.after(deadline, [this, c] { drop(c); });
  http_parser_init(&c->parser, HTTP_REQUEST);
  c->parser.data = c;
  c->stream->read([this, c](BytesView bytes) {
    if (bytes.empty()) return drop(c);
    if (c->complete) return;  // one request a connection
    c->bytes += bytes.size();
    http_parser_settings settings;
    http_parser_settings_init(&settings);
    settings.on_url = [](http_parser* parser, const char* at, std::size_t length) {
      static_cast<Connection*>(parser->data)->path.append(at, length);
      return 0;
    };
    settings.on_headers_complete = [](http_parser* parser) {
      static_cast<Connection*>(parser->data)->complete = true;
      return 0;
    };
    const std::size_t parsed =
        http_parser_execute(&c->parser, &settings, reinterpret_cast<const char*>(bytes.data()), bytes.size());
    HttpResponse response;
    if (c->complete) {
      if (c->parser.method != HTTP_GET) response = {405, "text/plain", "only GET\n"};
      else response = handler_(c->path.substr(0, c->path.find('?')));
    } else if (parsed != bytes.size() || c->bytes > request_bytes_max) {
      c->complete = true;
      response = {400, "text/plain", "bad request\n"};
    } else {
      return;
    }
    c->stream->write(text("HTTP/1.1 ", response.status, " ", status_text(response.status),
                          "\r\nContent-Type: ", response.content_type, "\r\nContent-Length: ",
                          response.body.size(), "\r\nConnection: close\r\n\r\n", response.body));
    c->stream->finish([this, c] { drop(c); });
  });
}

// Whoever sits there without asking goes first, the oldest; then who is slow to read, once he had time to.
bool HttpServer::make_room() {
  const Instant now = loop_.now();
  for (const bool asked : {false, true}) {
    const auto oldest = std::find_if(connections_.begin(), connections_.end(), [&](const auto& c) {
      return c->complete == asked && (!asked || now - c->since >= grace);
    });
    if (oldest == connections_.end()) continue;
    connections_.erase(oldest);
    return true;
  }
  return false;
}

void HttpServer::drop(Connection* connection) {
  connections_.remove_if([connection](const auto& c) { return c.get() == connection; });
}

}  // namespace millrace
