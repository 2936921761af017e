#include "uplink/kafka/kafka_wire.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace millrace {
namespace {

// Of the kernel's own struct tcp_info, which only ever grows at its end; libc's own of that name
// ends before these. What was sent is there since Linux 4.19, with what came again, which is told, too.
constexpr int tcp_info_option = 11;  // TCP_INFO
constexpr std::size_t received_at = 128, sent_at = 200, again_at = 208, needed = 216;

std::uint64_t number_at(const unsigned char* info, std::size_t at) {
  std::uint64_t number = 0;
  std::memcpy(&number, info + at, sizeof number);
  return number;
}

}  // namespace

int KafkaWire::open(int domain, int type, int protocol) {
  const int socket = ::socket(domain, type | SOCK_CLOEXEC, protocol);
  if (socket < 0) return socket;
  const std::lock_guard lock(mutex_);
  open_[socket] = {};
  return socket;
}

int KafkaWire::close(int socket) {
  const std::lock_guard lock(mutex_);
  if (const auto known = open_.find(socket); known != open_.end()) {
    note(socket, known->second);
    open_.erase(known);
  }
  return ::close(socket);
}

void KafkaWire::look() {
  const std::lock_guard lock(mutex_);
  for (auto& [socket, known] : open_) note(socket, known);
}

void KafkaWire::note(int socket, Carried& known) {
  unsigned char info[256];
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, tcp_info_option, info, &size) != 0 || size < needed) return;
  const Carried now{number_at(info, sent_at) - number_at(info, again_at), number_at(info, received_at)};
  if (now.sent > known.sent) count_.sent.add(now.sent - known.sent);
  if (now.received > known.received) count_.received.add(now.received - known.received);
  known = now;
}

}  // namespace millrace
