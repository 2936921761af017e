// Sends rows to Apache Kafka and what speaks its protocol: a message a record (protobuf or JSON, keyed by
// device) or a message a row (the columnar batch, keyed by gateway).
//
// With exactly_once each batch travels in one transaction together with the consumer's cursor, which goes to
// a compacted topic under "gateway/uplink". At each connect, and after every transaction whose outcome is not
// known, the producer is made anew (which fences the old one) and the cursor read back: that is the truth.
// Without it, what was in flight when a connection died is sent again under its old identity. On the loop;
// what blocks is a worker's.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "uplink/kafka/kafka_config.h"
#include "net/reconnect.h"
#include "uplink/kafka/kafka_messages.h"
#include "uplink/kafka/kafka_producer.h"
#include "uplink/kafka/kafka_wire.h"
#include "uplink/kafka/schema_registry.h"
#include "uplink/batch_growth.h"
#include "uplink/uplink.h"

namespace millrace {

class KafkaUplink final : public Uplink {
 public:
  // `config` was checked: its templates and its URL parse. `state_dir`: where what the registry said is kept.
  // `metrics`: where bytes are counted; they outlive this.
  KafkaUplink(Loop& loop, Rng& rng, KafkaUplinkConfig config, std::string gateway, std::uint64_t epoch,
              const std::string& state_dir, Metrics* metrics = nullptr);
  ~KafkaUplink() override;

  Limits limits() const override;
  bool keeps_marker() const override { return config_.exactly_once; }
  Bytes marker() const override { return marker_; }
  Status start(StateChanged changed) override;
  void send(Batch batch, std::function<void(Outcome)> done) override;
  void stop(std::function<void()> done) override;

 private:
  struct Sending {
    std::uint64_t id = 0;
    Batch batch;
    std::function<void(Outcome)> done;
    std::size_t row = 0;    // being produced
    std::size_t given = 0;  // messages of that row
    bool marker_sent = false;
    std::size_t flying = 0;    // messages without a report
    std::vector<int> errors;   // a row each: the worst so far
    std::vector<bool> stored;  // rows that are there already: the sending is given once more, for the others
    bool alone = false;        // nothing else was on its way with it
    bool asked = false;        // something of it was handed to librdkafka
    bool all_given() const { return row == batch.rows.size(); }
    std::unique_ptr<Timer> deadline;
    bool moved = false, late = false;  // something was delivered since the deadline was set; it passed
    Instant begun, delivered;
    std::size_t bytes = 0;
  };
  struct Attempt;  // what the worker found out

  void attempt();
  void on_attempt(Attempt& attempt);
  void reached();
  void lost(const std::string& reason, bool needs_person = false);
  void probe(Duration wait);
  void on_trouble(int error, const std::string& text);
  void on_delivered(std::uint64_t message, int error);
  void wait_for(Sending& sending);
  void give_more();
  bool give(Sending& sending);
  bool give_alone(Sending& sending);
  void look_at_finished();
  void end_transaction(Sending& sending);
  void on_ended(const KafkaAnswer& answer, bool committed);
  void finish(Sending sending);
  void fail_sendings();
  void adapt(const Sending& sending);
  void drop_producer();
  template <typename Answer, typename Work, typename Done>
  void on_worker(Work work, Done done);

  Loop& loop_;
  KafkaUplinkConfig config_;
  const std::string gateway_, marker_key_, worker_;
  std::shared_ptr<KafkaWire> wire_;  // of all its producers, also of one that is still ending
  Metrics::Hook scrape_;
  std::unique_ptr<SchemaRegistry> registry_;  // where one is configured
  KafkaMessages messages_;
  KafkaMessage message_;
  std::pair<std::uint64_t, std::size_t> making_;  // which row of which sending `messages_` makes
  StateChanged changed_;
  Reconnect reconnect_;
  // false: we are stopping
  std::shared_ptr<std::atomic<bool>> wanted_ = std::make_shared<std::atomic<bool>>(true);
  std::shared_ptr<KafkaProducer> producer_;
  std::uint64_t generation_ = 0;  // of the producer: answers about an older one are dropped
  Bytes marker_;                  // what was last committed, as far as that is known
  int marker_partition_ = 0;
  std::deque<Sending> sendings_;  // in order; only the first that is not all given produces
  std::uint64_t next_sending_ = 1;
  BatchGrowth growth_;
  // Brokers refuse a set of messages for one of them. While this many are to go, sendings fly one at a time,
  // so that who is refused has only itself to blame.
  int alone_ = 0;
  bool probing_ = false, ending_ = false, stopped_ = false;
  std::string barred_;  // while it probes: why it is not let in; empty: nobody said so
  std::unique_ptr<Timer> probe_timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// `work` on the worker, `done` on the loop unless we are gone or have another producer by then.
template <typename Answer, typename Work, typename Done>
void KafkaUplink::on_worker(Work work, Done done) {
  auto answer = std::make_shared<Answer>();
  loop_.run_blocking(
      worker_, [answer, work = std::move(work)] { work(*answer); },
      [this, answer, done = std::move(done), alive = alive_, generation = generation_] {
        if (*alive && generation == generation_) done(*answer);
      });
}

}  // namespace millrace
