// A service account of Google's as its file has it, and the token that it signs for itself (RFC 7519;
// "service account authorization without OAuth" and AIP-4111 of Google's documentation): the services take it
// as it is, so that no other server is asked for one. Pure but for the randomness that blinds the signature.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "base/time.h"

namespace millrace {

struct ServiceAccount {
  std::string email, key_id, key;  // key: PEM
};
// The file that the console gives: JSON with "client_email", "private_key" and "private_key_id". `invalid` in
// words.
Result<ServiceAccount> service_account(std::string_view file);

constexpr Duration service_token_life = std::chrono::hours(1);  // the longest that is allowed
// For `audience`, from `now` on, which is the far side's clock as far as it is known.
Result<std::string> service_token(const ServiceAccount& account, std::string_view audience, WallTime now);

}  // namespace millrace
