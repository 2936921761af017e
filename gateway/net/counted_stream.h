// A connection whose bytes are counted as TCP carries them: below TLS, with every head and handshake. On the
// loop.
#pragma once

#include <memory>

#include "base/metrics.h"
#include "loop/stream.h"

namespace millrace {

struct WireCount {
  Counter &sent, &received;
};

// `count` outlives it. Sent is what the kernel took.
std::unique_ptr<Stream> counted(std::unique_ptr<Stream> inner, const WireCount& count);

}  // namespace millrace
