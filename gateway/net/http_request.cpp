#include "net/http_request.h"

#include <http_parser.h>

#include "base/ascii.h"
#include "base/escapes.h"
#include "base/host_port.h"
#include "base/text.h"

namespace millrace {
namespace {

std::string query_decoded(std::string_view part) {
  std::string out = form_decoded(part);
  return good_utf8(out) ? out : std::string();
}

}  // namespace

std::string HttpRequest::value(std::string_view name) const {
  for (const std::string_view pair : split(query, '&')) {
    const std::size_t equals = pair.find('=');
    if (equals != std::string_view::npos && pair.substr(0, equals) == name)
      return query_decoded(pair.substr(equals + 1));
  }
  return {};
}

bool is_loopback_host(std::string_view host) {
  const auto named = parse_host_port(host, 80);
  return named.ok() && is_this_machine(named.value().host);
}

struct HttpRequestReader::Parser {
  http_parser parser;
  http_parser_settings settings;
  HttpRequest request;
  std::string target, name, value;
  std::size_t bytes = 0;
  bool in_value = false, has_host = false, twice = false, complete = false;

  static Parser& of(http_parser* parser) { return *static_cast<Parser*>(parser->data); }
  void end_header() {
    if (name == "host") {
      twice = twice || has_host;
      has_host = true;
      request.host = trim(value);
    }
    if (name == "accept-encoding") request.accept_encoding = value;
    if (name == "authorization") request.authorization = trim(value);
    if (name == "sec-fetch-site") request.fetch_site = trim(value);
    name.clear();
    value.clear();
    in_value = false;
  }
};

HttpRequestReader::HttpRequestReader() : parser_(std::make_unique<Parser>()) {
  Parser& p = *parser_;
  http_parser_init(&p.parser, HTTP_REQUEST);
  p.parser.data = &p;
  http_parser_settings_init(&p.settings);
  p.settings.on_url = [](http_parser* parser, const char* at, std::size_t size) {
    Parser::of(parser).target.append(at, size);
    return 0;
  };
  p.settings.on_header_field = [](http_parser* parser, const char* at, std::size_t size) {
    Parser& p = Parser::of(parser);
    if (p.in_value) p.end_header();
    for (const char c : std::string_view(at, size)) p.name += lower(c);
    return 0;
  };
  p.settings.on_header_value = [](http_parser* parser, const char* at, std::size_t size) {
    Parser& p = Parser::of(parser);
    p.in_value = true;
    p.value.append(at, size);
    return 0;
  };
  p.settings.on_headers_complete = [](http_parser* parser) {
    Parser& p = Parser::of(parser);
    p.end_header();
    p.complete = true;
    http_parser_pause(parser, 1);  // one request a connection: what is behind it stays unread
    return 0;
  };
}

HttpRequestReader::~HttpRequestReader() = default;

HttpRequestReader::State HttpRequestReader::push(BytesView bytes) {
  Parser& p = *parser_;
  p.bytes +=
      http_parser_execute(&p.parser, &p.settings, reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (p.complete) {
    if (p.twice || p.bytes > head_max) return State::broken;
    p.request.method = http_method_str(static_cast<http_method>(p.parser.method));
    const std::size_t mark = p.target.find('?');
    p.request.path = p.target.substr(0, mark);
    if (mark != std::string::npos) p.request.query = p.target.substr(mark + 1, p.target.find('#') - mark - 1);
    return State::whole;
  }
  return HTTP_PARSER_ERRNO(&p.parser) != HPE_OK || bytes.empty() || p.bytes > head_max ? State::broken
                                                                                       : State::reading;
}

const HttpRequest& HttpRequestReader::request() const { return parser_->request; }

}  // namespace millrace
