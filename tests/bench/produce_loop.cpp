// librdkafka's own loop: reads all messages of a topic, then produces the same keys and values to another
// one, and says what that cost. usage: produce_loop SERVER FROM TO COMPRESSION; prints
// {"messages":N,"bytes":N,"cpu_seconds":C,"seconds":S}
#include <librdkafka/rdkafka.h>
#include <sys/resource.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

double cpu() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}
double now() {
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<double>(ts.tv_sec) + 1e-9 * static_cast<double>(ts.tv_nsec);
}
rd_kafka_t* make(rd_kafka_type_t type, std::vector<std::pair<const char*, const char*>> settings) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char words[256];
  for (const auto& [name, value] : settings) {
    if (rd_kafka_conf_set(conf, name, value, words, sizeof words) != RD_KAFKA_CONF_OK)
      std::fprintf(stderr, "%s\n", words), std::exit(1);
  }
  rd_kafka_t* kafka = rd_kafka_new(type, conf, words, sizeof words);
  if (!kafka) std::fprintf(stderr, "%s\n", words), std::exit(1);
  return kafka;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 64;
  std::vector<std::pair<std::string, std::string>> messages;
  rd_kafka_t* reader =
      make(RD_KAFKA_CONSUMER, {{"bootstrap.servers", argv[1]}, {"enable.partition.eof", "true"}});
  rd_kafka_topic_t* from = rd_kafka_topic_new(reader, argv[2], nullptr);
  rd_kafka_consume_start(from, 0, RD_KAFKA_OFFSET_BEGINNING);
  for (bool end = false; !end;) {
    rd_kafka_message_t* message = rd_kafka_consume(from, 0, 1000);
    if (!message) continue;
    end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      messages.emplace_back(std::string(static_cast<char*>(message->key), message->key_len),
                            std::string(static_cast<char*>(message->payload), message->len));
    }
    rd_kafka_message_destroy(message);
  }
  rd_kafka_consume_stop(from, 0);
  rd_kafka_topic_destroy(from);
  rd_kafka_destroy(reader);
  rd_kafka_t* producer = make(RD_KAFKA_PRODUCER, {{"bootstrap.servers", argv[1]},
                                                  {"enable.idempotence", "true"},
                                                  {"linger.ms", "5"},
                                                  {"compression.type", argv[4]},
                                                  {"partitioner", "murmur2_random"},
                                                  {"queue.buffering.max.messages", "100000"}});
  rd_kafka_topic_t* to = rd_kafka_topic_new(producer, argv[3], nullptr);
  std::size_t bytes = 0;
  const double cpu_before = cpu(), begin = now();
  for (const auto& [key, value] : messages) {
    while (rd_kafka_produce(to, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, const_cast<char*>(value.data()),
                            value.size(), key.data(), key.size(), nullptr) != 0) {
      rd_kafka_poll(producer, 10);  // the queue is full
    }
    bytes += key.size() + value.size();
  }
  rd_kafka_flush(producer, 60'000);
  std::printf("{\"messages\":%zu,\"bytes\":%zu,\"cpu_seconds\":%.3f,\"seconds\":%.3f}\n", messages.size(),
              bytes, cpu() - cpu_before, now() - begin);
  rd_kafka_topic_destroy(to);
  rd_kafka_destroy(producer);
}
