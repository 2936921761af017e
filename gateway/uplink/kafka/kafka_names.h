// The names of Kafka's brokers, whose they are, and what goes there. librdkafka looks them up on its brokers'
// threads, for whose end its own end waits: they get what net/resolver finds, with a deadline, and at once
// when nobody wants it any more.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "base/time.h"
#include "net/peer_chain.h"
#include "uplink/kafka/kafka_wire.h"

struct addrinfo;
struct rd_kafka_conf_s;

namespace millrace {

class KafkaNames {  // outlives the client that is made of `conf`
 public:
  KafkaNames(const Clock& clock, Duration timeout, std::shared_ptr<const std::atomic<bool>> wanted,
             PeerOwner owner = {}, std::shared_ptr<KafkaWire> wire = {})
      : owner(std::move(owner)),
        clock_(clock),
        timeout_(timeout),
        wanted_(std::move(wanted)),
        wire_(std::move(wire)) {}
  const PeerOwner owner;
  void serve(rd_kafka_conf_s* conf);
  // Lookups end at once from here on: before the client is destroyed.
  void leave() { leaving_ = true; }
  // Why the last lookup found nothing, as "cannot resolve HOST: ...". Any thread.
  std::string trouble() const;

 private:
  static int resolve(const char* host, const char* service, const addrinfo* hints, addrinfo** found,
                     void* self);

  const Clock& clock_;
  const Duration timeout_;
  const std::shared_ptr<const std::atomic<bool>> wanted_;
  const std::shared_ptr<KafkaWire> wire_;  // none: nobody counts
  std::atomic<bool> leaving_{false};
  mutable std::mutex mutex_;
  std::string trouble_;
};

}  // namespace millrace
