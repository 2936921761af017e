#include "net/digest.h"

#include <mbedtls/md.h>

#include "base/bytes.h"
#include "base/check.h"

namespace millrace {
namespace {

const unsigned char* raw(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
const mbedtls_md_info_t* algorithm() {
  const mbedtls_md_info_t* info = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
  MILLRACE_CHECK(info != nullptr);  // TLS needs it as well
  return info;
}

}  // namespace

Digest sha256(std::string_view text) {
  Digest out;
  // fails for want of memory only
  MILLRACE_CHECK(mbedtls_md(algorithm(), raw(text), text.size(), out.data()) == 0);
  return out;
}

Digest hmac_sha256(std::string_view key, std::string_view text) {
  Digest out;
  MILLRACE_CHECK(mbedtls_md_hmac(algorithm(), raw(key), key.size(), raw(text), text.size(), out.data()) == 0);
  return out;
}

std::string hex_of(const Digest& digest) { return to_hex(bytes_of(text_of(digest))); }

}  // namespace millrace
