#include "uplink/kafka/kafka_names.h"

#include <librdkafka/rdkafka.h>
#include <netdb.h>

#include "net/resolver.h"

namespace millrace {

void KafkaNames::serve(rd_kafka_conf_s* conf) {
  rd_kafka_conf_set_opaque(conf, this);
  rd_kafka_conf_set_resolve_cb(conf, &KafkaNames::resolve);
  if (!wire_) return;
  rd_kafka_conf_set_socket_cb(conf, [](int domain, int type, int protocol, void* self) {
    return static_cast<KafkaNames*>(self)->wire_->open(domain, type, protocol);
  });
  rd_kafka_conf_set_closesocket_cb(
      conf, [](int socket, void* self) { return static_cast<KafkaNames*>(self)->wire_->close(socket); });
}

std::string KafkaNames::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

// As getaddrinfo(3). Without a host: what it gave is to be freed, as one list (freeaddrinfo takes any part of
// one, or several).
int KafkaNames::resolve(const char* host, const char* service, const addrinfo* hints, addrinfo** found,
                        void* self) {
  if (!host) {
    if (*found) ::freeaddrinfo(*found);
    return 0;
  }
  auto& names = *static_cast<KafkaNames*>(self);
  const auto numbers = look_up_waiting(names.clock_, host, names.timeout_,
                                       [&names] { return *names.wanted_ && !names.leaving_; });
  {
    const std::lock_guard lock(names.mutex_);
    names.trouble_ = numbers.ok() ? "" : numbers.status().detail();
  }
  *found = nullptr;
  if (!numbers.ok()) return EAI_AGAIN;
  addrinfo wanted{};
  if (hints) wanted = *hints;
  wanted.ai_flags = AI_NUMERICHOST;
  addrinfo** end = found;
  for (const std::string& number : numbers.value()) {
    // of a family that is not wanted
    if (::getaddrinfo(number.c_str(), service, &wanted, end) != 0) continue;
    while (*end) end = &(*end)->ai_next;
  }
  return *found ? 0 : EAI_NONAME;
}

}  // namespace millrace
