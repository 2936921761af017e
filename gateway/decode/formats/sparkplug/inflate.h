// What a Sparkplug payload was compressed with (DEFLATE in zlib's frame or bare, GZIP), undone with zlib, its
// one home. Bounded: what would become larger than `most` is refused, however small it came.
#pragma once

#include "base/bytes.h"
#include "base/status.h"

namespace millrace::sparkplug {

Status inflate_body(BytesView given, std::size_t most, Bytes& out);

}  // namespace millrace::sparkplug
