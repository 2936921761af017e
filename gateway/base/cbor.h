// Reading CBOR (RFC 8949), and sequences of it (RFC 8742), as a walk that tells a LenientHandler what it
// would tell of JSON: numbers in JSON's spelling (a float's exact value), byte strings as text in hex, keys
// that are numbers as their digits, null and undefined, NaN and infinities as no value. Tags are passed over,
// but for decimal fractions (4), which are numbers, and bignums (2, 3), which are none we can read. At most
// 32 levels.
#pragma once

#include "base/lenient_json.h"

namespace millrace {

// Not ok: the handler stopped. Text is valid until the call returns. Bytes that make no sense end what is
// read: broken().
Status read_cbor(BytesView bytes, LenientHandler& handler, std::size_t& documents);

}  // namespace millrace
