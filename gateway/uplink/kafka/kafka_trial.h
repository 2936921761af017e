// What a Kafka uplink needs of the world, tried before it runs: brokers, topics, rights, the marker topic,
// the schema registry. Nothing is written that a reader could see.
#pragma once

#include <string>
#include <vector>

#include "base/trial.h"
#include "uplink/kafka/kafka_config.h"

namespace millrace {

// Blocks, some seconds. `beside`: a daemon with this configuration runs, so its transactional id is left
// alone (to use it would fence the daemon).
std::vector<Trial> try_kafka(const KafkaUplinkConfig& config, const std::string& gateway, bool beside);

}  // namespace millrace
