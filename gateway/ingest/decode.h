// How the payloads of an input become records: what Router::decode (decode/router.h) does and promises, or a
// decoder of an input's own.
#pragma once

#include <functional>
#include <vector>

#include "base/status.h"
#include "ingest/arrival.h"
#include "record/record.h"

namespace millrace {

struct Unread;

using Decode = std::function<Status(const Arrival&, std::vector<Record>&, Unread&)>;

}  // namespace millrace
