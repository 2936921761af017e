// A payload of JSON, as the standard has it or, unless a route is strict, as devices write it.
#pragma once

#include "base/lenient_json.h"
#include "decode/unread.h"

namespace millrace {

// Not ok: it is none, or the handler stopped. What was odd about a lenient one is told in `unread`.
inline Status read_json_payload(BytesView bytes, bool strict, LenientHandler& handler, Unread& unread) {
  if (strict) return read_json(bytes, handler);
  LenientJson found;
  Status status = read_lenient_json(bytes, handler, found);
  unread.latin1 = found.latin1;
  if (found.documents == 0) ++unread.no_value;
  return status;
}

}  // namespace millrace
