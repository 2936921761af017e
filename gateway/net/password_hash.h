// Passwords as salted PBKDF2 hashes (RFC 8018, HMAC-SHA-512), in the words of mosquitto's password files:
// "$7$iterations$salt$hash", salt and hash in base64. Files made by mosquitto_passwd can be used as they are.
// Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

constexpr unsigned password_iterations = 100'000;
// a check is to take seconds at most, on a small board too
constexpr unsigned password_iterations_max = 1'000'000;

// A new hash with a salt from the kernel. Takes a tenth of a second and more: not for the loop.
std::string hash_password(std::string_view password, unsigned iterations = password_iterations);
// Whether `stored` is a hash that check_password() can use; says what is wrong with it.
Status check_hash(std::string_view stored);
// Takes as long as hash_password(). Compares in constant time.
bool check_password(std::string_view stored, std::string_view password);

using Digest = std::array<std::uint8_t, 32>;
// HMAC-SHA-256 (RFC 2104): what is remembered of a password that was right, under a key that lives as long as
// the process.
Digest keyed_digest(const Digest& key, std::string_view text);
Digest random_key();

}  // namespace millrace
