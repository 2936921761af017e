#include "net/http_client.h"

#include <http_parser.h>

#include "base/text.h"

namespace millrace {

struct HttpCall::Parser {
  http_parser parser;
  http_parser_settings settings;
  std::size_t header_bytes = 0;
  bool too_large = false, complete = false;
};

namespace {
constexpr std::size_t header_bytes_max = 32 << 10;
}

HttpCall::HttpCall(Loop& loop, TlsClient& tls, HttpQuery request,
                   std::function<void(Result<HttpAnswer>)> done)
    : loop_(loop), request_(std::move(request)), done_(std::move(done)), parser_(std::make_unique<Parser>()) {
  dial_ = std::make_unique<Dial>(
      loop, request_.url.where, request_.url.secure ? &tls : nullptr, request_.timeout,
      [this](Result<std::unique_ptr<Stream>> result) { on_dialled(std::move(result)); });
}

HttpCall::~HttpCall() = default;

void HttpCall::on_dialled(Result<std::unique_ptr<Stream>> result) {
  if (!result.ok()) return finish(result.status());
  stream_ = std::move(result).value();
  http_parser_init(&parser_->parser, HTTP_RESPONSE);
  parser_->parser.data = this;
  http_parser_settings& settings = parser_->settings;
  http_parser_settings_init(&settings);
  settings.on_body = [](http_parser* parser, const char* at, std::size_t length) {
    auto* call = static_cast<HttpCall*>(parser->data);
    call->parser_->too_large = call->answer_.body.size() + length > call->request_.answer_max;
    if (!call->parser_->too_large) call->answer_.body.append(at, length);
    return call->parser_->too_large ? 1 : 0;
  };
  settings.on_message_complete = [](http_parser* parser) {
    // What comes before the answer (100 to 199; RFC 9110, section 15.2) is none.
    static_cast<HttpCall*>(parser->data)->parser_->complete = parser->status_code >= 200;
    return 0;
  };
  std::string bytes =
      text(request_.method, " ", request_.url.path, " HTTP/1.1\r\nHost: ", request_.url.where.to_string(),
           "\r\nConnection: close\r\nContent-Length: ", request_.body.size(), "\r\n");
  for (const auto& [name, value] : request_.headers) bytes += text(name, ": ", value, "\r\n");
  stream_->read([this](BytesView chunk) { on_bytes(chunk); });
  dial_.reset();
  deadline_ = loop_.after(request_.timeout, [this] {
    finish(Status{Code::timeout, text(request_.url.where.to_string(), " did not answer in time")});
  });
  stream_->write(bytes + "\r\n" + request_.body);
}

void HttpCall::on_bytes(BytesView chunk) {
  if (!done_) return;
  Parser& parser = *parser_;
  // An empty chunk is the end of the stream, and may be the end of the body (RFC 9112, section 6.3).
  const std::size_t parsed = http_parser_execute(&parser.parser, &parser.settings,
                                                 reinterpret_cast<const char*>(chunk.data()), chunk.size());
  if (parser.complete) {
    answer_.status = static_cast<int>(parser.parser.status_code);
    return finish(std::move(answer_));
  }
  parser.header_bytes += answer_.body.empty() ? chunk.size() : 0;
  if (parser.too_large || parser.header_bytes > header_bytes_max + request_.answer_max)
    return finish(Status{Code::unavailable, "the answer is too large"});
  if (parsed != chunk.size()) return finish(Status{Code::unavailable, "the answer is not HTTP"});
  if (chunk.empty()) finish(Status{Code::unavailable, "the connection was closed before the answer"});
}

void HttpCall::finish(Result<HttpAnswer> answer) {
  deadline_.reset();
  const auto done = std::exchange(done_, nullptr);
  if (done) done(std::move(answer));
}

}  // namespace millrace
