// Where a certificate, its key and a secret lie, for everybody who speaks TLS or logs in.
#pragma once

#include <string>
#include <vector>

namespace millrace {

// Where a secret lies, never the secret: a path, or a systemd credential by name.
struct SecretRef {
  std::string path;  // empty: none
  bool given() const { return !path.empty(); }
};

struct TlsConfig {
  bool enabled = false;
  std::string ca;    // PEM; the system's own store when empty
  std::string cert;  // PEM, with the chain; none: no client certificate
  SecretRef key;
  std::vector<std::string> alpn;  // protocols that are asked for, where the file says which
  bool skip_verify = false;       // anybody may answer in the server's place: what is deliberate and told
};

}  // namespace millrace
