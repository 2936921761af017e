// The central side: hears everything the gateway sends, by MQTT or from Kafka, opens it, and enters each
// record in the ledger.
#pragma once

#include <memory>

#include "base/rng.h"
#include "loop/loop.h"
#include "mqtt/paho/mqtt_connection.h"
#include "record/record.h"
#include "sim/fleet/kafka_reader.h"
#include "sim/fleet/ledger.h"
#include "sim/fleet/scenario.h"
#include "sim/fleet/site_account.h"

namespace millrace::sim {

class Verifier {
 public:
  Verifier(Loop& loop, Rng& rng, Ledger& ledger, SiteAccount& site, const CentralSpec& spec);
  // `ready` runs once, when the subscription stands.
  void start(std::function<void()> ready);
  void stop(std::function<void()> done);
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Note {  // a message, copied off Paho's thread
    Bytes payload;
    std::vector<std::pair<std::string, std::string>> properties;
    std::int64_t arrived_us;
  };
  void connect_mqtt(Rng& rng);
  void take(const Note& note);
  void take_kafka(const Bytes& value, const KafkaReader::Headers& headers);
  void enter(const Record& record, std::uint64_t epoch, Sequence sequence, bool replay,
             std::int64_t arrived_us);

  Loop& loop_;
  Ledger& ledger_;
  SiteAccount& site_;
  CentralSpec spec_;
  std::function<void()> ready_;
  std::unique_ptr<MqttConnection> connection_;  // one of the two
  std::unique_ptr<KafkaReader> kafka_;
  std::uint64_t messages_ = 0, bytes_ = 0;
};

}  // namespace millrace::sim
