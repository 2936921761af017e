#include "net/http_login.h"

#include <algorithm>

#include "base/http_url.h"
#include "base/text.h"
#include "config/secret.h"
#include "net/base64.h"

namespace millrace {
namespace {

// What would end a header, or begin another one.
bool fits_a_header(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

}  // namespace

Result<std::pair<std::string, std::string>> login_header(const HttpAccess& access,
                                                         std::string_view token_scheme) {
  if (access.logins() == 0) return std::pair<std::string, std::string>{};
  const bool token = access.token.given(), password = access.password.given();
  const SecretRef& ref = token ? access.token : password ? access.password : access.header_secret;
  auto secret = read_secret(ref);
  const char* key = token ? "token_file" : password ? "password_file" : "header_file";
  if (!secret.ok()) return Status{Code::invalid, text(key, ": ", secret.status().detail())};
  if (!fits_a_header(secret.value()))
    return Status{Code::invalid, text(key, ": it has line ends or control characters in it")};
  if (token)
    return std::pair<std::string, std::string>{"Authorization", text(token_scheme, " ", secret.value())};
  if (!password) return std::pair<std::string, std::string>{access.header_name, secret.value()};
  return std::pair<std::string, std::string>{"Authorization", basic_login(access.username, secret.value())};
}

Result<std::optional<Proxy>> proxy_of(const HttpAccess& access) {
  if (access.proxy.empty()) return std::optional<Proxy>{};
  Proxy proxy{parse_http_url(access.proxy).value().where, ""};
  if (!access.proxy_password.given()) return std::optional(std::move(proxy));
  auto secret = read_secret(access.proxy_password);
  if (!secret.ok()) return Status{Code::invalid, text("proxy_password_file: ", secret.status().detail())};
  proxy.authorization = basic_login(access.proxy_username, secret.value());
  return std::optional(std::move(proxy));
}

void need_http_access(NeededFiles& files, const HttpAccess& access) {
  need_secret(files, "token_file", access.token);
  need_secret(files, "password_file", access.password);
  need_secret(files, "header_file", access.header_secret);
  need_secret(files, "proxy_password_file", access.proxy_password);
}

}  // namespace millrace
