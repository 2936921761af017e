// What servers showed of themselves: of the chain by which a server was verified, the certificate that ends
// first. Noted at each full handshake, by whichever library speaks TLS; read by who watches certificates. Any
// thread.
#pragma once

#include <compare>
#include <map>
#include <string>

#include "net/certificate.h"

namespace millrace {

// Who connects, and by which key of his: "uplink", "central", "servers". Nobody: a trial, of which nothing is
// noted.
struct PeerOwner {
  std::string side, name, key;
  auto operator<=>(const PeerOwner&) const = default;
};

struct PeerCertificate {
  std::string host;
  Certificate certificate;
};

// The last server of each owner counts.
void note_peer_certificate(const PeerOwner& owner, PeerCertificate peer);
std::map<PeerOwner, PeerCertificate> peer_certificates();

}  // namespace millrace
