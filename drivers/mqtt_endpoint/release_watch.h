// Whether a client lets go of what it sent at QoS 2. The messages are stored, so nothing is lost while it
// does not; but a client that never sends PUBREL comes to where it can send no more, and nobody else would
// notice. Told once a connection. Pure.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace millrace {

class ReleaseWatch {
 public:
  static constexpr Duration patience = std::chrono::minutes(1);

  // `held`: identifiers it has not released; `releases`: how many it has, ever. True once, when held ones
  // have not moved for `patience`.
  bool stuck(std::size_t held, std::uint64_t releases, Instant now) {
    if (held == 0 || releases != releases_ || since_ == Instant{}) {
      releases_ = releases;
      since_ = now;
      return false;
    }
    if (told_ || now - since_ < patience) return false;
    return told_ = true;
  }

 private:
  std::uint64_t releases_ = 0;
  Instant since_;
  bool told_ = false;
};

}  // namespace millrace
