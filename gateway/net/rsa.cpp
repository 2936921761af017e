#include "net/rsa.h"

#include <mbedtls/md.h>
#include <mbedtls/pk.h>
#include <mbedtls/version.h>

#include "net/certificate_mbedtls.h"
#include "net/digest.h"

namespace millrace {
namespace {

constexpr unsigned bits_least = 2048;  // what anybody takes for safe

struct PrivateKey {
  PrivateKey() { mbedtls_pk_init(&key); }
  ~PrivateKey() { mbedtls_pk_free(&key); }
  PrivateKey(const PrivateKey&) = delete;
  PrivateKey& operator=(const PrivateKey&) = delete;
  mbedtls_pk_context key;
};

}  // namespace

Result<std::string> rs256(std::string_view key, std::string_view text) {
  PrivateKey own;
  const std::string pem(key);  // with the zero behind it that mbedTLS wants counted
  const auto* bytes = reinterpret_cast<const unsigned char*>(pem.c_str());
#if MBEDTLS_VERSION_MAJOR >= 3
  const int rc =
      mbedtls_pk_parse_key(&own.key, bytes, pem.size() + 1, nullptr, 0, random_for_mbedtls, nullptr);
#else
  const int rc = mbedtls_pk_parse_key(&own.key, bytes, pem.size() + 1, nullptr, 0);
#endif
  if (rc != 0)
    return Status{Code::invalid, "the private key cannot be read: it must be PEM, without a password"};
  if (mbedtls_pk_get_type(&own.key) != MBEDTLS_PK_RSA || mbedtls_pk_get_bitlen(&own.key) < bits_least)
    return Status{Code::invalid, "the private key must be RSA, of 2,048 bits or more"};
  const Digest digest = sha256(text);
  std::string out(mbedtls_pk_get_len(&own.key), '\0');
  std::size_t size = 0;
  auto* to = reinterpret_cast<unsigned char*>(out.data());
#if MBEDTLS_VERSION_MAJOR >= 3
  const int made = mbedtls_pk_sign(&own.key, MBEDTLS_MD_SHA256, digest.data(), digest.size(), to, out.size(),
                                   &size, random_for_mbedtls, nullptr);
#else
  const int made = mbedtls_pk_sign(&own.key, MBEDTLS_MD_SHA256, digest.data(), digest.size(), to, &size,
                                   random_for_mbedtls, nullptr);
#endif
  if (made != 0) return Status{Code::invalid, "the private key does not sign"};
  out.resize(size);
  return out;
}

}  // namespace millrace
