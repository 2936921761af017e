#include "uplink/https/service_account.h"

#include <algorithm>
#include <vector>

#include "base/json.h"
#include "base/text.h"
#include "net/base64.h"
#include "net/rsa.h"

namespace millrace {
namespace {

// Base64url without padding (RFC 7515, appendix C).
std::string base64url(std::string_view bytes) {
  std::string out = base64(bytes_of(bytes));
  std::replace(out.begin(), out.end(), '+', '-');
  std::replace(out.begin(), out.end(), '/', '_');
  while (out.ends_with('=')) out.pop_back();
  return out;
}

}  // namespace

Result<ServiceAccount> service_account(std::string_view file) {
  std::vector<std::pair<std::string, std::string>> members;
  if (!read_flat_json(bytes_of(file), members).ok())
    return Status{Code::invalid, "it is not the JSON file of a service account"};
  ServiceAccount account;
  for (auto& [name, value] : members) {
    if (name == "client_email") account.email = std::move(value);
    else if (name == "private_key_id") account.key_id = std::move(value);
    else if (name == "private_key") account.key = std::move(value);
  }
  if (account.email.empty() || account.key.empty())
    return Status{Code::invalid, "it has no \"client_email\" and \"private_key\" of a service account"};
  return account;
}

Result<std::string> service_token(const ServiceAccount& account, std::string_view audience, WallTime now) {
  const std::int64_t from = now.us / 1'000'000;
  JsonWriter head, claims;
  head.begin_object().member("alg", "RS256").member("typ", "JWT");
  if (!account.key_id.empty()) head.member("kid", account.key_id);
  head.end_object();
  claims.begin_object().member("iss", account.email).member("sub", account.email).member("aud", audience);
  claims.member("iat", from)
      .member("exp", from + std::chrono::duration_cast<std::chrono::seconds>(service_token_life).count())
      .end_object();
  std::string token = base64url(head.text()) + "." + base64url(claims.text());
  auto signature = rs256(account.key, token);
  if (!signature.ok()) return signature.status();
  return token + "." + base64url(signature.value());
}

}  // namespace millrace
