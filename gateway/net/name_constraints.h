// Which names a CA may certify (RFC 5280, section 4.2.1.10). mbedTLS passes over the extension where it is
// not critical, and it is held to here: hosts, addresses, and directory names, which are compared byte for
// byte. Names of other kinds are nothing that a peer is known by. Pure, any thread.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "net/certificate.h"

namespace millrace {

struct NameConstraints {
  struct Subtrees {
    std::vector<std::string> hosts;   // "example.com": it and all below; ".example.com": all below
    std::vector<std::string> ranges;  // an address and a mask, 8 or 32 bytes
    std::vector<std::string> names;   // RDNs in DER, the beginning of a subject's
    bool none() const { return hosts.empty() && ranges.empty() && names.empty(); }
  };
  Subtrees permitted, excluded;
  bool none() const { return permitted.none() && excluded.none(); }
};

// Those among a certificate's extensions (DER: a SEQUENCE of them). Fails where they cannot be read.
Result<NameConstraints> name_constraints_of(BytesView extensions);

// Which of a certificate's names is not allowed by them; empty: none. `subject`: its whole subject in DER.
std::string forbidden_name(const NameConstraints& constraints, const Certificate& certificate,
                           BytesView subject);

}  // namespace millrace
