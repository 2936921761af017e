#include "net/peer_chain.h"

#include <mutex>

namespace millrace {
namespace {

std::mutex mutex;
std::map<PeerOwner, PeerCertificate> by_owner;  // as many as the configurations since the start have had

}  // namespace

void note_peer_certificate(const PeerOwner& owner, PeerCertificate peer) {
  if (owner.name.empty()) return;
  const std::lock_guard lock(mutex);
  by_owner[owner] = std::move(peer);
}

std::map<PeerOwner, PeerCertificate> peer_certificates() {
  const std::lock_guard lock(mutex);
  return by_owner;
}

}  // namespace millrace
