#include "net/base64.h"

#include <mbedtls/base64.h>

#include "base/check.h"
#include "base/text.h"

namespace millrace {

std::string base64(BytesView bytes) {
  std::string out(4 * (bytes.size() / 3 + 1) + 1, '\0');
  std::size_t size = 0;
  MILLRACE_CHECK(mbedtls_base64_encode(reinterpret_cast<unsigned char*>(out.data()), out.size(), &size,
                                       reinterpret_cast<const unsigned char*>(bytes.data()),
                                       bytes.size()) == 0);
  out.resize(size);
  return out;
}

bool unbase64(std::string_view text, std::vector<std::uint8_t>& out) {
  out.resize(text.size() + 1);
  std::size_t size = 0;
  if (mbedtls_base64_decode(out.data(), out.size(), &size,
                            reinterpret_cast<const unsigned char*>(text.data()), text.size()) != 0)
    return false;
  out.resize(size);
  return true;
}

std::string basic_login(std::string_view username, std::string_view password) {
  return "Basic " + base64(bytes_of(text(username, ":", password)));
}

}  // namespace millrace
