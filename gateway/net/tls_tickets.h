// Keys of TLS session tickets (RFC 5077): tickets are sealed with AES-256-GCM, keys change every twelve hours
// and the one before still opens. They are kept in a file, so that devices resume after a restart or a power
// cut of the gateway: a fleet that comes back at once then costs a twentieth of the CPU.
//
// A ticket is bound to the policy it was issued under (whether certificates are asked for, whose, and by
// whom): it lets nobody past a check that has become stricter since, also not after a restart with the same
// keys. On the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/bytes.h"
#include "base/time.h"

namespace millrace {

class TicketKeys {
 public:
  static constexpr std::int64_t rotate_after_us = 12ll * 3600 * 1'000'000;
  static constexpr std::int64_t lifetime_us = 24ll * 3600 * 1'000'000;

  // Reads `path`; new keys are given to `keep`, which replaces that file, with mode 0600 and without holding
  // up the loop. A file that cannot be used is replaced; one that cannot be written leaves keys that live as
  // long as the process. `policy`: bytes that are equal where the policy is.
  using Keep = std::function<void(const std::string& path, std::string content)>;
  TicketKeys(std::string path, std::string policy, Keep keep);

  // Seals `session`; empty when that fails.
  Bytes seal(BytesView session, WallTime now);
  // What was sealed; empty for anything that is not ours, of another policy, or too old.
  Bytes open(BytesView ticket, WallTime now) const;

 private:
  struct Key {
    std::uint8_t name[16] = {};
    std::uint8_t key[32] = {};
    std::int64_t made_us = 0;  // 0: none
  };
  void read();
  void rotate(WallTime now);

  std::string path_, policy_;
  Keep keep_;
  Key keys_[2];  // the newest first
};

}  // namespace millrace
