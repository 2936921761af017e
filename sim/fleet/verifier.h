// The central side: subscribes to everything the gateway sends, opens the batches, and enters each record in the ledger.
#pragma once

#include <memory>

#include "base/rng.h"
#include "loop/loop.h"
#include "mqtt/paho/mqtt_connection.h"
#include "sim/fleet/ledger.h"
#include "sim/fleet/scenario.h"

namespace millrace::sim {

class Verifier {
 public:
  Verifier(Loop& loop, Rng& rng, Ledger& ledger, const CentralSpec& spec);
  // `ready` runs once, when the subscription stands.
  void start(std::function<void()> ready);
  void stop(std::function<void()> done) { connection_->stop(std::move(done)); }
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Note {  // a message, copied off Paho's thread
    Bytes payload;
    std::vector<std::pair<std::string, std::string>> properties;
    std::int64_t arrived_us;
  };
  void take(const Note& note);

  Loop& loop_;
  Ledger& ledger_;
  CentralSpec spec_;
  std::function<void()> ready_;
  std::unique_ptr<MqttConnection> connection_;
  std::uint64_t messages_ = 0, bytes_ = 0;
};

}  // namespace millrace::sim
