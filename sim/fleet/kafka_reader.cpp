#include "sim/fleet/kafka_reader.h"

#include <librdkafka/rdkafka.h>

#include "base/logger.h"

namespace millrace::sim {

KafkaReader::KafkaReader(Loop& loop, std::string servers, std::vector<std::string> topics, Take take)
    : loop_(loop), servers_(std::move(servers)), topics_(std::move(topics)), take_(std::move(take)) {}

KafkaReader::~KafkaReader() {
  *alive_ = false;
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void KafkaReader::start(std::function<void()> ready) {
  ready_ = std::move(ready);
  thread_ = std::thread([this] { read(); });
}

void KafkaReader::read() {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char words[256] = {};
  for (const auto& [name, value] :
       {std::pair<const char*, const char*>{"bootstrap.servers", servers_.c_str()},
        {"group.id", "millrace-sim"},
        {"enable.auto.commit", "false"},
        {"isolation.level", "read_committed"},
        {"auto.offset.reset", "earliest"}}) {
    rd_kafka_conf_set(conf, name, value, words, sizeof words);
  }
  rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char* facility, const char* line) {
    LOG_DEBUG("verifier: ", facility, ": ", line);
  });
  rd_kafka_t* kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, words, sizeof words);
  if (!kafka) {
    LOG_ERROR("verifier: ", static_cast<const char*>(words));
    return;
  }
  rd_kafka_poll_set_consumer(kafka);
  rd_kafka_topic_partition_list_t* partitions = rd_kafka_topic_partition_list_new(8);
  for (const std::string& name : topics_) {
    rd_kafka_topic_t* topic = rd_kafka_topic_new(kafka, name.c_str(), nullptr);
    int count = 0;
    while (count == 0 && !stopping_) {
      const rd_kafka_metadata_t* metadata = nullptr;
      if (rd_kafka_metadata(kafka, 0, topic, &metadata, 1000) != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      count = metadata->topics[0].partition_cnt;
      rd_kafka_metadata_destroy(metadata);
      if (count == 0) (void)rd_kafka_poll(kafka, 200);
    }
    for (int partition = 0; partition < count; ++partition) {
      std::int64_t low = 0, high = 0;
      rd_kafka_query_watermark_offsets(kafka, name.c_str(), partition, &low, &high, 5000);
      rd_kafka_topic_partition_list_add(partitions, name.c_str(), partition)->offset = high;
    }
    rd_kafka_topic_destroy(topic);
  }
  rd_kafka_assign(kafka, partitions);
  rd_kafka_topic_partition_list_destroy(partitions);
  const auto on_loop = [this](auto task) {
    loop_.post([alive = alive_, task = std::move(task)] {
      if (*alive) task();
    });
  };
  on_loop([this] { ready_(); });
  while (!stopping_) {
    rd_kafka_message_t* message = rd_kafka_consumer_poll(kafka, 200);
    if (!message) continue;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      const auto* at = static_cast<const std::byte*>(message->payload);
      Headers headers;
      rd_kafka_headers_t* raw = nullptr;
      if (rd_kafka_message_headers(message, &raw) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        for (std::size_t i = 0;
             rd_kafka_header_get_all(raw, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; ++i) {
          headers.emplace_back(name, std::string(static_cast<const char*>(value), size));
        }
      }
      on_loop([this, value = Bytes(at, at + message->len), headers = std::move(headers)] {
        take_(value, headers);
      });
    }
    rd_kafka_message_destroy(message);
  }
  rd_kafka_consumer_close(kafka);
  rd_kafka_destroy(kafka);
}

}  // namespace millrace::sim
