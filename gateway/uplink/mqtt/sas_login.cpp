#include "uplink/mqtt/sas_login.h"

#include <vector>

#include "base/text.h"
#include "net/base64.h"
#include "net/digest.h"
#include "net/http_connection.h"

namespace millrace {

Result<std::string> sas_login(std::string_view resource, std::string_view key, WallTime until) {
  std::vector<std::uint8_t> raw;
  if (key.empty() || !unbase64(key, raw) || raw.empty())
    return Status{Code::invalid, "it is no key in base64"};
  const std::string what = percent_encoded(resource);
  const std::int64_t seconds = until.us / 1'000'000;
  const Digest signature =
      hmac_sha256({reinterpret_cast<const char*>(raw.data()), raw.size()}, text(what, "\n", seconds));
  return text("SharedAccessSignature sr=", what,
              "&sig=", percent_encoded(base64(bytes_of(text_of(signature)))), "&se=", seconds);
}

}  // namespace millrace
