#include "uplink/kafka/kafka_uplink.h"

#include <librdkafka/rdkafka.h>

#include <algorithm>

#include "base/logger.h"
#include "base/text.h"
#include "uplink/kafka/kafka_errors.h"
#include "uplink/wire_count.h"

namespace millrace {
namespace {

KafkaMessages messages_of(const KafkaUplinkConfig& config, const std::string& gateway, std::uint64_t epoch) {
  const FormKind& form = form_called(config.format);
  auto topic = NameTemplate::parse(config.topic, !form.of_rows());
  auto key = NameTemplate::parse(config.key, !form.of_rows());
  MILLRACE_CHECK(topic.ok() && key.ok());
  return {form, std::move(topic).value(), std::move(key).value(), gateway, epoch};
}

}  // namespace

struct KafkaUplink::Attempt {
  Status made;
  std::shared_ptr<KafkaProducer> producer;
  KafkaAnswer answer;
  KafkaKept kept;
};

KafkaUplink::KafkaUplink(Loop& loop, Rng& rng, KafkaUplinkConfig config, std::string gateway,
                         std::uint64_t epoch, const std::string& state_dir, Metrics* metrics)
    : loop_(loop),
      config_(std::move(config)),
      gateway_(std::move(gateway)),
      marker_key_(gateway_ + "/" + config_.name),
      worker_("kafka:" + config_.name),
      messages_(messages_of(config_, gateway_, epoch)),
      reconnect_(
          loop, rng, {{"kafka"}, config_.initial_interval, config_.max_interval, Duration{0}},
          [this](const std::string&) { attempt(); }, [] {}),
      growth_(form_called(config_.format).of_rows(), config_.batch_size) {
  if (metrics) {
    wire_ = std::make_shared<KafkaWire>(wire_count_of(config_.name, *metrics));
    scrape_ = metrics->before_scrape([wire = wire_] { wire->look(); });
  }
  if (config_.schema_registry.empty()) return;
  registry_ = std::make_unique<SchemaRegistry>(loop_, config_, form_called(config_.format),
                                               text(state_dir, "/", schema_id_files, config_.name));
  messages_.set_prefix(registry_->prefix());
}

KafkaUplink::~KafkaUplink() {
  *alive_ = *wanted_ = false;
  drop_producer();
}

Uplink::Limits KafkaUplink::limits() const {
  if (config_.exactly_once)
    return {1, growth_.bytes(), std::min(config_.send_timeout, config_.transaction_timeout)};
  return {config_.batches_in_flight, growth_.bytes(), config_.send_timeout};
}

// ---- connecting

Status KafkaUplink::start(StateChanged changed) {
  changed_ = std::move(changed);
  reconnect_.start();
  return {};
}

void KafkaUplink::attempt() {
  ++generation_;
  // A transaction that nobody ends any more is aborted by the broker when its time is over: reading the
  // marker waits that long.
  const Duration reading = config_.transaction_timeout + std::chrono::seconds(15);
  on_worker<Attempt>(
      [&loop = loop_, config = config_, key = marker_key_, reading, wanted = wanted_,
       wire = wire_](Attempt& attempt) {
        const std::string id = config.exactly_once ? config.transactional_id : "";
        auto producer = KafkaProducer::make(loop, config, id, wanted, wire);
        if (!producer.ok()) {
          attempt.made = producer.status();
          return;
        }
        attempt.producer = std::move(producer).value();
        attempt.answer = attempt.producer->reach(config.connect_timeout);
        if (!config.exactly_once || !attempt.answer.ok()) return;
        attempt.answer = attempt.producer->init_transactions(config.transaction_timeout);
        if (!attempt.answer.ok()) return;
        attempt.kept = read_last_committed(loop, config, config.marker_topic, key, reading, wanted, wire);
        attempt.answer = attempt.kept.answer;
      },
      [this](Attempt& attempt) { on_attempt(attempt); });
}

void KafkaUplink::on_attempt(Attempt& attempt) {
  if (stopped_) return;
  producer_ = std::move(attempt.producer);
  if (!attempt.made.ok()) return lost(attempt.made.detail(), true);
  if (!attempt.answer.ok()) {
    const int code = attempt.answer.code;
    const bool no_connection = code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
                               code == RD_KAFKA_RESP_ERR__RESOLVE;
    const std::string where = no_connection ? "cannot connect: " : "";
    return lost(where + attempt.answer.text, verdict_of_kafka(code) == Verdict::blocked);
  }
  marker_ = std::move(attempt.kept.value);
  marker_partition_ = attempt.kept.partition;
  KafkaProducer::Events events;
  events.delivered = [this](std::uint64_t message, int error) { on_delivered(message, error); };
  events.delivered_some = [this] { look_at_finished(); };
  events.trouble = [this](int error, const std::string& words) { on_trouble(error, words); };
  producer_->attend(std::move(events));
  if (!registry_ || !registry_->prefix().empty()) return reached();
  registry_->ask([this, generation = generation_](const Status& status) {
    if (stopped_ || generation != generation_) return;
    if (!status.ok()) return lost(status.detail(), status.code() == Code::invalid);
    messages_.set_prefix(registry_->prefix());
    reached();
  });
}

void KafkaUplink::reached() {
  reconnect_.up();
  changed_({true, {}, false});
}

// The producer goes, and what it holds is to be sent again by the next one.
void KafkaUplink::lost(const std::string& reason, bool needs_person) {
  drop_producer();
  ++generation_;
  probing_ = ending_ = false;
  barred_.clear();
  probe_timer_.reset();
  reconnect_.gone();
  changed_({false, reason, needs_person});
  fail_sendings();
}

void KafkaUplink::drop_producer() {
  if (!producer_) return;
  producer_->leave();
  loop_.run_blocking(
      worker_, [producer = std::exchange(producer_, nullptr)] {}, [] {});
}

// librdkafka goes on by itself when brokers come and go, and keeps the order; what is in flight stays with it
// until our deadline. Whether one can be reached is asked until it can.
void KafkaUplink::on_trouble(int error, const std::string& words) {
  if (error == RD_KAFKA_RESP_ERR__FATAL || kafka_error_is_fencing(error))
    return loop_.post([this, alive = alive_, generation = generation_, words] {
      if (*alive && generation == generation_) lost("the producer is made anew: " + words);
    });
  LOG_DEBUG("uplink ", config_.name, ": ", kafka_error_text(error), ": ", words);
  const bool barred = verdict_of_kafka(error) == Verdict::blocked;
  if ((error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !barred) || !reconnect_.is_up()) return;
  if (probing_ && (!barred || barred_ == words)) return;
  if (barred) barred_ = words;
  changed_({false, words, barred});
  if (!std::exchange(probing_, true)) probe(config_.initial_interval);
}

// A producer has the password and the certificates that it was made with: one that is let in no more, and has
// nothing in its hands, is made anew, by the files as they are now.
void KafkaUplink::probe(Duration wait) {
  probe_timer_ = loop_.after(wait, [this, wait] {
    on_worker<KafkaAnswer>([producer = producer_, timeout = config_.connect_timeout](
                               KafkaAnswer& answer) { answer = producer->reach(timeout); },
                           [this, wait](const KafkaAnswer& answer) {
                             if (!probing_) return;
                             if (!answer.ok() && !barred_.empty() && sendings_.empty())
                               return lost(std::string(barred_), true);
                             if (!answer.ok()) return probe(std::min(wait * 2, config_.max_interval));
                             probing_ = false;
                             barred_.clear();
                             changed_({true, {}, false});
                           });
  });
}

void KafkaUplink::stop(std::function<void()> done) {
  stopped_ = true;
  *wanted_ = false;
  reconnect_.stop();
  probe_timer_.reset();
  ++generation_;
  drop_producer();
  // Behind the destruction of the producer on the same worker.
  loop_.run_blocking(
      worker_, [] {},
      [this, alive = alive_, done = std::move(done)] {
        if (*alive) fail_sendings();
        done();
      });
}

}  // namespace millrace
