// A configuration as it may be shown to strangers: its text, without what could be a secret. Secrets are
// paths by rule (config/secret.h); this is for those who found a way around it. Pure.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// Each line as it is, but for: the whole value of a key whose name says password, secret, token, credential,
// cookie, signature, key or user name (some clouds take a token as one), and not that it is a file, be it a
// string of several lines; what stands between
// :// and @, and behind ?, in an address; and comments, which may hold anything. A text that is no TOML is
// shown, too, rather with less than with more.
std::string without_secrets(std::string_view toml);

}  // namespace millrace
