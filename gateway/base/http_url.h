// Where an HTTP server is, as people write it: "https://registry.example:8081/base" (RFC 3986). Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/host_port.h"
#include "base/status.h"

namespace millrace {

// With defaults of the scheme, without a user or a query.
struct HttpUrl {
  bool secure = false;
  HostPort where;
  std::string path;  // begins with '/', or is empty
};
// Whether it can stand in a request as it is: no blanks, no control characters, no fragment (RFC 9112, 3.2).
bool good_http_target(std::string_view text);
// `invalid` with words for whoever wrote it.
Result<HttpUrl> parse_http_url(std::string_view text);

}  // namespace millrace
