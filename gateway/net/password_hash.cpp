#include "net/password_hash.h"

#include <mbedtls/md.h>
#include <mbedtls/pkcs5.h>

#include <charconv>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "base/text.h"
#include "net/base64.h"

namespace millrace {
namespace {

constexpr std::size_t salt_bytes = 12, hash_bytes = 64;

std::vector<std::uint8_t> derive(std::string_view password, const std::vector<std::uint8_t>& salt,
                                 unsigned iterations, std::size_t bytes) {
  std::vector<std::uint8_t> out(bytes);
  mbedtls_md_context_t md;
  mbedtls_md_init(&md);
  MILLRACE_CHECK(mbedtls_md_setup(&md, mbedtls_md_info_from_type(MBEDTLS_MD_SHA512), 1) == 0);
  const int rc = mbedtls_pkcs5_pbkdf2_hmac(&md, reinterpret_cast<const unsigned char*>(password.data()),
                                           password.size(), salt.data(), salt.size(), iterations,
                                           static_cast<std::uint32_t>(out.size()), out.data());
  mbedtls_md_free(&md);
  MILLRACE_CHECK(rc == 0);
  return out;
}

struct Stored {
  unsigned iterations = 0;
  std::vector<std::uint8_t> salt, hash;
};

Status parse(std::string_view text, Stored& out) {
  const auto parts = split(text, '$');
  if (parts.size() != 5 || !parts[0].empty()) return {Code::invalid, "not $7$iterations$salt$hash"};
  if (parts[1] != "7")
    return {Code::invalid, text.starts_with("$6$") ? "a $6$ hash without PBKDF2: set the password again"
                                                   : "not a $7$ hash (PBKDF2 with SHA-512)"};
  const auto parsed = std::from_chars(parts[2].data(), parts[2].data() + parts[2].size(), out.iterations);
  if (parsed.ptr != parts[2].data() + parts[2].size() || out.iterations == 0 ||
      out.iterations > password_iterations_max) {
    return {Code::invalid, millrace::text("the number of iterations is 1 to ", password_iterations_max)};
  }
  if (!unbase64(parts[3], out.salt) || out.salt.empty() || !unbase64(parts[4], out.hash) ||
      out.hash.size() < 16 || out.hash.size() > hash_bytes) {
    return {Code::invalid, "salt or hash is not base64"};
  }
  return {};
}

}  // namespace

std::string hash_password(std::string_view password, unsigned iterations) {
  std::vector<std::uint8_t> salt(salt_bytes);
  fill_from_kernel(salt.data(), salt.size());
  const std::vector<std::uint8_t> hash = derive(password, salt, iterations, hash_bytes);
  return text("$7$", iterations, "$", base64(std::as_bytes(std::span(salt))), "$",
              base64(std::as_bytes(std::span(hash))));
}

Status check_hash(std::string_view stored) {
  Stored parsed;
  return parse(stored, parsed);
}

bool check_password(std::string_view stored, std::string_view password) {
  Stored parsed;
  if (!parse(stored, parsed).ok()) return false;
  const auto derived = derive(password, parsed.salt, parsed.iterations, parsed.hash.size());
  unsigned different = 0;
  for (std::size_t i = 0; i < derived.size(); ++i)
    different |= static_cast<unsigned>(derived[i] ^ parsed.hash[i]);
  return different == 0;
}

Digest keyed_digest(const Digest& key, std::string_view text) {
  Digest out{};
  MILLRACE_CHECK(mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), key.data(), key.size(),
                                 reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                                 out.data()) == 0);
  return out;
}

Digest random_key() {
  Digest key{};
  fill_from_kernel(key.data(), key.size());
  return key;
}

}  // namespace millrace
