// As who, and by which way, we come to somebody's HTTP server: a login in a header, and a proxy. Keys that
// all who ask such servers have in common.
#pragma once

#include <string>

#include "config/keys.h"
#include "config/tls.h"

namespace millrace {

struct HttpAccess {
  std::string username;  // one login at most: a token, a password, or a header
  SecretRef password, token;
  std::string header_name;  // a login in a header of this name
  SecretRef header_secret;
  std::string proxy;  // "http://proxy.example:3128"
  std::string proxy_username;
  SecretRef proxy_password;

  int logins() const { return int{token.given()} + int{password.given()} + int{header_secret.given()}; }
};

// token_file to proxy_password_file.
extern const Shape http_access_shape;

}  // namespace millrace
