#include "config/http_access.h"

#include "base/ascii.h"
#include "base/http_url.h"
#include "base/text.h"
#include "config/toml.h"

namespace millrace {
namespace {

using A = HttpAccess;
using K = KeysOf<A>;

constexpr Key access_keys[] = {
    K::key<&A::token>("token_file", "Authorization: Bearer (of influxdb: Token), read anew for each request")
        .like("\"/etc/millrace/history.token\""),
    K::key<&A::username>("username", "").like("\"gw7\""),
    K::key<&A::password>("password_file", "").like("\"/etc/millrace/history.password\""),
    K::key<&A::header_name>("header_name", "A login in a header of this name ...").like("\"X-API-Key\""),
    K::key<&A::header_secret>("header_file", "... and what it says").like("\"/etc/millrace/history.key\""),
    K::key<&A::proxy>("proxy", "By CONNECT; it must allow the server's port")
        .like("\"http://proxy.example:3128\""),
    K::key<&A::proxy_username>("proxy_username", "").like("\"gw7\""),
    K::key<&A::proxy_password>("proxy_password_file", "").like("\"/etc/millrace/proxy.password\""),
};

// What the request's own heads are is not for a login.
bool good_header_name(std::string_view name) {
  const std::string one = lower(name);
  if (one == "host" || one == "content-length" || one == "transfer-encoding") return false;
  return !name.empty() &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") ==
             std::string_view::npos;
}

void check_login_of(Section& section, const A& c) {
  if (c.logins() > 1) section.error("token_file", "one login: a token, a password, or a header");
  if (c.username.empty() != !c.password.given())
    section.error("username", "username and password_file go together");
  if (c.username.find(':') != std::string::npos) section.error("username", "a username has no \":\" in it");
  if (c.header_name.empty() != !c.header_secret.given())
    section.error("header_name", "header_name and header_file go together");
  if (!c.header_name.empty() && !good_header_name(c.header_name))
    section.error("header_name", text("\"", c.header_name, "\" is no name of a login's header"));
}

void check_proxy_of(Section& section, const A& c) {
  if (c.proxy_username.empty() != !c.proxy_password.given())
    section.error("proxy_username", "proxy_username and proxy_password_file go together");
  if (c.proxy_username.find(':') != std::string::npos)
    section.error("proxy_username", "a username has no \":\" in it");
  if (c.proxy.empty()) {
    if (c.proxy_password.given()) section.error("proxy_username", "there is no proxy");
    return;
  }
  const auto url = parse_http_url(c.proxy);
  if (!url.ok()) section.error("proxy", url.status().detail());
  else if (url.value().secure || !url.value().path.empty())
    section.error("proxy", text("\"", c.proxy, "\" is not http://HOST:PORT"));
}

void settle(Section& section, A& c) {
  check_proxy_of(section, c);
  check_login_of(section, c);
}

}  // namespace

const Shape http_access_shape = shape_of<A, settle>(access_keys);

}  // namespace millrace
