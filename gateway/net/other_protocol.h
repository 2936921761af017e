// What somebody speaks who came to the wrong port: told by the first bytes, so that a person hears of it and
// not of a fault in a protocol that nobody spoke.
#pragma once

#include "base/bytes.h"

namespace millrace {

enum class Speaks : std::uint8_t {
  unknown,  // too little of it, or nothing that is known
  tls,      // a ClientHello (RFC 8446, section 5.1)
  http,     // a request (RFC 9112, section 3)
  mqtt,     // a CONNECT (MQTT 5, section 3.1)
};

// By the beginning of what a client sends.
Speaks spoken_by(BytesView begin);

}  // namespace millrace
