// A producer of librdkafka: what may be called on the loop, what blocks and belongs on a worker, and its
// events brought to the loop. Idempotent, acks=all; it keeps what was given until it is delivered or the
// producer dies, never longer: the log is the buffer. The one home of librdkafka, with kafka_errors.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "uplink/kafka/kafka_config.h"
#include "loop/loop.h"
#include "uplink/kafka/kafka_messages.h"
#include "uplink/kafka/kafka_names.h"

struct rd_kafka_s;
struct rd_kafka_queue_s;
struct rd_kafka_topic_s;

namespace millrace {

// How a blocking call ended. `code` 0: well.
struct KafkaAnswer {
  int code = 0;
  std::string text;
  bool retriable = false, must_abort = false;  // of transactions: try the same again; abort, and all is known
  bool ok() const { return code == 0; }
};

struct KafkaTopic {
  KafkaAnswer answer;
  int partitions = 0;
};
struct KafkaTopicPolicy {
  KafkaAnswer answer;
  std::string value;  // of cleanup.policy
};

// Whether anybody still wants the answer: what blocks looks at it every second.
using KafkaWanted = std::shared_ptr<const std::atomic<bool>>;

class KafkaProducer : public std::enable_shared_from_this<KafkaProducer> {
 public:
  // On the loop.
  struct Events {
    std::function<void(std::uint64_t message, int error)> delivered;  // each produce() once, in any order
    std::function<void()> delivered_some;                             // after a bundle of them
    // connections, credentials; fatal ones too
    std::function<void(int error, const std::string& text)> trouble;
  };

  // `transactional_id`: empty for none. Reads secrets; any thread. No event comes before attend(). `wire`:
  // what counts its connections' bytes.
  static Result<std::shared_ptr<KafkaProducer>> make(Loop& loop, const KafkaUplinkConfig& config,
                                                     const std::string& transactional_id, KafkaWanted wanted,
                                                     std::shared_ptr<KafkaWire> wire = {});
  // Blocks until its threads are gone: the last reference belongs to the worker.
  ~KafkaProducer();

  // ---- on the loop
  void attend(Events events);
  // No event comes afterwards.
  void leave() {
    events_ = {};
    token_timer_.reset();
  }
  // 0, or why not: _QUEUE_FULL (try again after deliveries), MSG_SIZE_TOO_LARGE, ... `partition` -1: by the
  // key, murmur2 as Java's clients do.
  int produce(const KafkaMessage& message, int partition, std::uint64_t id);
  // Quick: a question to librdkafka's own thread.
  KafkaAnswer begin();

  // ---- these block; on a worker
  KafkaAnswer reach(Duration timeout);  // a broker answers
  KafkaAnswer init_transactions(Duration timeout);
  KafkaAnswer commit(Duration timeout);
  KafkaAnswer abort(Duration timeout);
  KafkaTopic find_topic(const std::string& name, Duration timeout);
  KafkaTopicPolicy cleanup_policy(const std::string& topic, Duration timeout);

 private:
  KafkaProducer(Loop& loop, const KafkaUplinkConfig& config, KafkaWanted wanted,
                std::shared_ptr<KafkaWire> wire);
  template <typename Call>
  KafkaAnswer in_slices(Duration timeout, Call call) const;
  void drain();
  bool take_reason(KafkaAnswer& answer);
  std::string words_for(int error, const std::string& words) const;
  void refresh_token();
  void keep_token_fresh();

  Loop& loop_;
  const KafkaUplinkConfig config_;
  const KafkaWanted wanted_;
  KafkaNames names_;
  rd_kafka_s* kafka_ = nullptr;
  rd_kafka_queue_s* queue_ = nullptr;
  std::string topic_name_;  // of the last message
  rd_kafka_topic_s* topic_ = nullptr;
  Events events_;
  std::unique_ptr<Timer> token_timer_;
  std::atomic<bool> woken_{false}, attended_{false};
};

// The last committed value under `key` in a topic, from the partition that murmur2 gives the key; empty when
// there is none. Waits for open transactions of others that could hide it. Blocks; on a worker.
struct KafkaKept {
  KafkaAnswer answer;
  Bytes value;
  int partition = 0;
};
KafkaKept read_last_committed(Loop& loop, const KafkaUplinkConfig& config, const std::string& topic,
                              const std::string& key, Duration timeout, const KafkaWanted& wanted,
                              const std::shared_ptr<KafkaWire>& wire = {});

}  // namespace millrace
