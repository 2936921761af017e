#include "net/http_reply.h"

#include <http_parser.h>

#include <algorithm>

#include "base/ascii.h"

namespace millrace {
namespace {
constexpr std::size_t interim_max = 16;
}

std::string_view HttpReply::header(std::string_view name) const {
  const auto found =
      std::find_if(headers.begin(), headers.end(), [&](const auto& h) { return h.first == name; });
  return found == headers.end() ? std::string_view{} : found->second;
}

struct HttpReplyReader::Parser {
  http_parser parser;
  http_parser_settings settings;
  std::size_t body_max = 0, head_bytes = 0, interim = 0;
  HttpReply reply;
  std::string fault;
  bool to_head = false, in_value = false, heard = false, begun = false, ahead = false, complete = false;

  static Parser& of(http_parser* parser) { return *static_cast<Parser*>(parser->data); }
  int give_up(const char* words) {
    if (fault.empty()) fault = words;
    return 1;
  }
  int head(std::size_t bytes) {
    head_bytes += bytes;
    return head_bytes > head_max ? give_up("the answer's head is too large") : 0;
  }
  int name(std::string_view part) {
    if (in_value || reply.headers.empty()) reply.headers.emplace_back();
    in_value = false;
    for (const char c : part) reply.headers.back().first += lower(c);
    return head(part.size() + 4);  // ": " and the line's end
  }
  int value(std::string_view part) {
    if (reply.headers.empty()) return give_up("the answer is not HTTP");
    in_value = true;
    reply.headers.back().second += part;
    return head(part.size());
  }
  int body(std::string_view part) {
    if (reply.body.size() + part.size() > body_max) return give_up("the answer is too large");
    reply.body += part;
    return 0;
  }
  int end() {
    reply.status = static_cast<int>(parser.status_code);
    if (reply.status < 200) {
      if (reply.status == 101) return give_up("the answer changes the protocol");
      if (++interim > interim_max) return give_up("interim answers without an end");
      reply = {};
      in_value = begun = false;
      return 0;
    }
    reply.keeps = http_should_keep_alive(&parser) != 0;
    reply.framed = reply.framed || reply.status == 204 || reply.status == 304;
    complete = true;
    http_parser_pause(&parser, 1);  // what is behind it stays unread
    return 0;
  }
};

HttpReplyReader::HttpReplyReader(std::size_t body_max, bool head) : parser_(std::make_unique<Parser>()) {
  Parser& p = *parser_;
  p.body_max = body_max;
  p.to_head = head;
  http_parser_init(&p.parser, HTTP_RESPONSE);
  p.parser.data = &p;
  http_parser_settings_init(&p.settings);
  p.settings.on_message_begin = [](http_parser* parser) {
    Parser::of(parser).begun = true;
    return 0;
  };
  p.settings.on_status = [](http_parser* parser, const char*, std::size_t size) {
    return Parser::of(parser).head(size + 16);
  };
  p.settings.on_header_field = [](http_parser* parser, const char* at, std::size_t size) {
    return Parser::of(parser).name({at, size});
  };
  p.settings.on_header_value = [](http_parser* parser, const char* at, std::size_t size) {
    return Parser::of(parser).value({at, size});
  };
  p.settings.on_body = [](http_parser* parser, const char* at, std::size_t size) {
    return Parser::of(parser).body({at, size});
  };
  p.settings.on_headers_complete = [](http_parser* parser) {
    Parser& p = Parser::of(parser);
    const bool no_body = p.to_head && parser->status_code >= 200;
    // Flags are gone once the message is over.
    p.reply.framed = no_body || (parser->flags & (F_CHUNKED | F_CONTENTLENGTH)) != 0;
    return no_body ? 1 : 0;  // 1: there is no body to be read
  };
  p.settings.on_message_complete = [](http_parser* parser) { return Parser::of(parser).end(); };
}

HttpReplyReader::~HttpReplyReader() = default;

HttpReplyReader::State HttpReplyReader::push(BytesView bytes) {
  Parser& p = *parser_;
  p.heard = p.heard || !bytes.empty();
  const std::size_t size =
      http_parser_execute(&p.parser, &p.settings, reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (p.complete) {
    p.ahead = size < bytes.size();
    return State::whole;
  }
  const bool wrong = HTTP_PARSER_ERRNO(&p.parser) != HPE_OK || size != bytes.size();
  if (!wrong && !bytes.empty()) return State::reading;
  if (p.fault.empty()) {
    if (!p.heard) p.fault = "the connection was closed before the answer";
    else p.fault = bytes.empty() ? "the connection was closed within the answer" : "the answer is not HTTP";
  }
  return State::broken;
}

bool HttpReplyReader::heard() const { return parser_->heard; }
bool HttpReplyReader::begun() const { return parser_->begun; }
bool HttpReplyReader::ahead() const { return parser_->ahead; }
const std::string& HttpReplyReader::fault() const { return parser_->fault; }
HttpReply HttpReplyReader::take() { return std::move(parser_->reply); }

}  // namespace millrace
