#include "base/http_url.h"

#include <algorithm>

#include "base/text.h"
#include "base/without_users.h"

namespace millrace {

bool good_http_target(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte <= ' ' || byte == 0x7F || c == '#';
  });
}

Result<HttpUrl> parse_http_url(std::string_view given) {
  HttpUrl url;
  std::string_view rest = given;
  if (rest.starts_with("https://")) {
    url.secure = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return Status{Code::invalid, text("\"", without_login(given), "\" must start with http:// or https://")};
  }
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  url.path = rest.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  auto where = parse_host_port(rest.substr(0, slash), url.secure ? 443 : 80);
  bool odd = !where.ok() || rest.find('@') != std::string_view::npos ||
             rest.find('?') != std::string_view::npos || !good_http_target(rest);
  if (odd)
    return Status{Code::invalid,
                  text("\"", without_login(given),
                       "\" is not http://HOST:PORT/PATH (user and password have keys of their own)")};
  url.where = std::move(where).value();
  return url;
}

}  // namespace millrace
