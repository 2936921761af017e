// [[uplinks.kafka]]: Apache Kafka and what speaks its protocol, as it is configured.
#pragma once

#include <string>
#include <vector>

#include "uplink/shipping.h"

namespace millrace {

struct KafkaUplinkConfig : ShippingConfig {
  KafkaUplinkConfig() {
    connect_timeout =
        std::chrono::seconds(30);  // several exchanges of some hundred bytes: 10 s are too few at 2,400 bit/s
    send_timeout = std::chrono::minutes(2);
    batches_in_flight = 1;  // what may come twice after a kill
  }

  std::vector<std::string> servers;  // "host:9092", any of the cluster
  std::string client_id;             // default: millrace-<gateway>-up-<name>
  std::string format = "record";  // a message a record: "record" (protobuf), "json"; a message a row: "batch"
  std::string topic = "millrace.{lane}";
  std::string key;  // default: {device}, of batches {gateway}
  std::string compression = "zstd";
  Duration linger = std::chrono::milliseconds(5);
  bool exactly_once = false;
  std::string transactional_id;                   // default: millrace-<gateway>-<name>
  std::string marker_topic = "millrace-markers";  // compacted; where exactly_once keeps its cursor
  Duration transaction_timeout = std::chrono::minutes(1);
  std::size_t message_max = 1'000'000;
  std::size_t queue_size = 8 << 20;  // messages in librdkafka's hands
  std::string sasl_mechanism;        // "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"
  std::string username;
  SecretRef password, token;
  TlsConfig tls;
  std::string schema_registry;  // "http://host:8081": values in the Confluent wire format
  std::string schema_registry_username;
  SecretRef schema_registry_password;
  TlsConfig schema_registry_tls;  // its CA
};

}  // namespace millrace
