// An address as it may be shown to anybody. Logins have keys of their own, and an address that has one in it
// is refused; but the refusal, and the configuration in a bundle for strangers, must not say it. Pure.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// What stands for what was left out.
constexpr std::string_view left_out = "(left out)";

// One address: what stands before @, and behind ?, is left out, whether a scheme begins it or not.
std::string without_login(std::string_view address);
// A text between quotes, or without: the same of each address with a scheme in it.
std::string without_users(std::string_view text);

}  // namespace millrace
