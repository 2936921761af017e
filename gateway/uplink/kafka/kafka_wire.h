// What librdkafka's connections carry, TLS and handshakes included: it opens and closes its sockets here, and
// the kernel is asked what went through each (TCP_INFO of tcp(7)), when somebody wants to know and before it
// is closed. librdkafka itself counts without TLS, and by a JSON text of all it knows.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "net/counted_stream.h"

namespace millrace {

class KafkaWire {  // outlives the clients whose sockets it has
 public:
  // `count` outlives it.
  explicit KafkaWire(const WireCount& count) : count_(count) {}

  // As socket(2) and close(2), on librdkafka's threads.
  int open(int domain, int type, int protocol);
  int close(int socket);
  // Brings the counters up to date. Any thread.
  void look();

 private:
  struct Carried {
    std::uint64_t sent = 0, received = 0;
  };
  void note(int socket, Carried& known);

  const WireCount count_;
  std::mutex mutex_;  // no socket is asked while it is being closed
  std::map<int, Carried> open_;
};

}  // namespace millrace
