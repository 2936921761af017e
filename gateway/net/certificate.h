// Certificates as values, and the one policy by which servers are judged, whichever library speaks TLS to
// them (packaging/docs/tls.md): a certificate is for the hosts of its subject alternative names, an address
// needs an address there, the common name is not looked at, a wildcard stands for one label, an extended key
// usage must name what the certificate is used for, and an RSA key has 2048 bits at least. Any thread.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "base/time.h"
#include "config/tls.h"

namespace millrace {

constexpr std::size_t rsa_bits_min = 2048;

struct Certificate {
  std::string subject;                          // "O=Plant, CN=press-1"
  std::vector<std::string> hosts, addresses;    // its alternative names
  WallTime from, to;                            // when it is valid
  bool for_servers = true, for_clients = true;  // by its extended key usage; without one it is for anything
  bool is_ca = false, self_signed = false;
  std::size_t rsa_bits = 0;  // 0: no RSA key

  // "DNS:a.example, IP:192.0.2.1"
  std::string names() const;
};

// Whether a name of a certificate ("*.example.com") stands for a host; addresses are not names.
bool name_fits(std::string_view name, std::string_view host);

// What is wrong with it for a server at `host`, a name or an address; ok: nothing. Dates and issuers are not
// looked at.
Status judge_server(const Certificate& certificate, const std::string& host);
// One from its bytes (DER).
Result<Certificate> parse_certificate(BytesView certificate);

// The certificates of a PEM file. Fails where it cannot be read, is empty, or holds none; also, but for those
// of CAs, where it holds something else beside them, as a file does that is just being written.
Result<std::vector<Certificate>> read_certificates(const std::string& path, bool of_cas = false);
// Whether the key can be read by nobody else, is a key, and is that of the first certificate in `cert`.
Status check_key(const std::string& cert, const SecretRef& key);

}  // namespace millrace
