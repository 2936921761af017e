// TLS for who may wait (net/waiting_stream.h), as a client: the same policy of certificates as on the loop
// (packaging/docs/tls.md), and the same words where a handshake fails. A server is always verified: no key of
// Modbus switches that off.
#pragma once

#include <string>

#include "config/tls.h"
#include "net/peer_chain.h"
#include "net/waiting_stream.h"

namespace millrace {

// Reads the files, for certificates rotate, and shakes hands. `host`: the name or address that the server's
// certificate must be for. `owner`: whose server it is, for who watches certificates; nobody of a trial.
// `invalid`: somebody must act; `unavailable`, `timeout`: not now. From then on a stream says `invalid`, too,
// where the server refuses our certificate only behind the handshake, as in TLS 1.3.
Result<std::unique_ptr<WaitingStream>> secure_waiting(Waiter waiter, Fd socket, const TlsConfig& tls,
                                                      const std::string& host, const PeerOwner& owner,
                                                      Instant deadline);

}  // namespace millrace
