// The files that an input or an uplink cannot start without: a password, certificates and their key, a token,
// a list of users. One that is not there yet, is empty, half written or not ours to read is no fault of the
// configuration: whoever needs it waits for it while everything else runs. On the loop.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "config/tls.h"

namespace millrace {

struct NeededFile {
  enum class Kind : std::uint8_t { secret, users, ca, own };  // own: the certificate that we show
  Kind kind = Kind::secret;
  std::string key;               // as it is called in the configuration: "tls_ca"
  std::string path;              // as it stands there: a path, or cred:NAME
  std::function<Status()> look;  // whether it can be used now
};
using NeededFiles = std::vector<NeededFile>;

// Does nothing where no secret is configured.
void need_secret(NeededFiles& files, const std::string& key, const SecretRef& secret);
// `prefix`: of the keys, "tls_" or "schema_registry_". What another library than mbedTLS will use need only
// be whole.
void need_tls(NeededFiles& files, const TlsConfig& tls, const std::string& prefix = "tls_",
              bool for_mbedtls = true);

// What of it is missing, and why: "tls_ca: open /etc/millrace/ca.pem: No such file or directory"; empty:
// nothing.
std::string missing_of(const NeededFiles& files);

}  // namespace millrace
