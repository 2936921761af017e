// Why a handshake failed, told as what it is, and whether somebody must act: what each side's alert (RFC
// 8446, section 6; RFC 5246, section 7.2) and each of the library's verdicts means to the person who can mend
// it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace millrace {

struct TlsFailure {
  bool we_serve = false;              // the other side is a client
  int error = 0;                      // mbedTLS's
  std::uint32_t flags = 0;            // its verdict on the peer's certificates; all ones: none
  std::optional<std::uint8_t> alert;  // what the peer said
  bool closed = false;                // it just closed the connection
  std::string certificate;            // what we found wrong with the peer's certificates, in words
  bool asked_for_ours = false;        // it asked for a certificate
  bool showed_ours = false;           // we have one
  bool tls13 = false;                 // this build speaks TLS 1.3
  std::vector<std::string> alpn;      // the protocols we asked for by name
  std::string host;                   // whom we wanted to reach
};

// `invalid` where somebody must act, `unavailable` where it may pass by itself.
Status tell(const TlsFailure& failure);

}  // namespace millrace
