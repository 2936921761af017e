// A configuration as it may be shown to strangers: its text, without what could be a secret. Secrets are
// paths by rule (config/secret.h); this is for those who found a way around it. Pure.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// Each line as it is, but for: the value of a key whose name says password, secret, token, credential or key
// (and not that it is a file), what stands between :// and @ in an address, and comments, which may hold
// anything.
std::string without_secrets(std::string_view toml);

}  // namespace millrace
