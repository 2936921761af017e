#include "uplink/kafka/kafka_trial.h"

#include <algorithm>
#include <atomic>
#include <set>

#include "base/text.h"
#include "loop/uv_loop.h"
#include "net/http_client.h"
#include "uplink/kafka/kafka_messages.h"
#include "uplink/kafka/kafka_producer.h"
#include "uplink/kafka/schema_registry.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
constexpr Duration patience = 15s;

class Trials {
 public:
  Trials(const KafkaUplinkConfig& config, const std::string& gateway) : config_(config), gateway_(gateway) {}

  std::vector<Trial> take() { return std::move(trials_); }

  // Whether the rest is worth trying.
  bool brokers() {
    auto producer = KafkaProducer::make(loop_, config_, "", wanted_);
    if (!producer.ok()) {
      bad("settings", producer.status().detail());
      return false;
    }
    plain_ = std::move(producer).value();
    if (const KafkaAnswer answer = plain_->reach(patience); !answer.ok()) {
      bad("brokers", answer.text);
      return false;
    }
    good("brokers", "answer, and take our login");
    return true;
  }

  void topics() {
    const auto form = NameTemplate::parse(config_.topic, !form_called(config_.format).of_rows());
    if (form.value().of_record()) {
      unsure("topic " + config_.topic,
             "depends on each record; each must exist, or the broker must be allowed to make it");
    } else {
      for (const Lane lane : {Lane::alarm, Lane::window, Lane::raw}) {
        if (std::ranges::find(config_.drain.lanes, lane_name(lane)) == config_.drain.lanes.end()) continue;
        std::string name;
        form.value().render(gateway_, lane, nullptr, name);
        make_topic_name(name);
        topics_.insert(name);
      }
    }
    for (const std::string& name : topics_) all_exist_ = topic(name) && all_exist_;
  }

  void marker() {
    const std::string& name = config_.marker_topic;
    if (!topic(name)) {
      all_exist_ = false;
      return;
    }
    const KafkaTopicPolicy policy = plain_->cleanup_policy(name, patience);
    const std::string what = text("topic ", name, ": cleanup.policy");
    if (!policy.answer.ok())
      unsure(what, text("cannot be seen (", policy.answer.text,
                        "; it needs the right DESCRIBE_CONFIGS); it must be compact"));
    else if (policy.value != "compact")
      bad(what,
          text("is \"", policy.value, "\" and must be \"compact\": else the cursor is deleted some day"));
    else good(what, "compact");
    const KafkaKept kept =
        read_last_committed(loop_, config_, name, text(gateway_, "/", config_.name), patience, wanted_);
    if (kept.answer.ok())
      good(text("topic ", name, ": reading"), kept.value.empty() ? "works; no marker of this uplink yet"
                                                                 : "works; there is a marker of this uplink");
    else bad(text("topic ", name, ": reading"), kept.answer.text);
  }

  // Which rights there are to write is only told to who tries. A transaction registers its topics before
  // anything is sent to them; with a long linger nothing is, and the transaction is given up.
  void rights(bool beside) {
    const std::string what = "rights to write";
    if (!config_.exactly_once)
      return unsure(what,
                    "cannot be tried without writing; the first record shows them (without exactly_once)");
    if (beside)
      return unsure(what, "not tried: the running daemon has this transactional id, and would be fenced");
    if (!all_exist_) return unsure(what, "not tried: topics are missing");
    std::set<std::string> all = topics_;
    all.insert(config_.marker_topic);
    const KafkaAnswer together = may_write(all);
    if (together.ok())
      return good(what,
                  text("there are: ", all.size(), " topics, transactional id ", config_.transactional_id));
    bool named = false;
    for (const std::string& name : all) {
      if (const KafkaAnswer one = may_write({name}); !one.ok()) {
        bad(text(what, " to ", name), one.text);
        named = true;
      }
    }
    if (!named) bad(what, together.text);
  }

  void registry() {
    const std::string what = "schema registry " + config_.schema_registry;
    auto request = schema_registry_request(config_, "GET", "/subjects");
    if (!request.ok()) return bad(what, request.status().detail());
    TlsClient tls(loop_, config_.schema_registry_tls, {}, http_alpn());
    const HttpCall call(loop_, tls, std::move(request).value(), [&](const Result<HttpAnswer>& answer) {
      if (!answer.ok()) bad(what, answer.status().detail());
      else if (answer.value().status != 200) bad(what, text("HTTP ", answer.value().status));
      else good(what, "answers");
      loop_.stop();
    });
    loop_.run();
  }

 private:
  void good(const std::string& what, const std::string& words) {
    trials_.push_back({Trial::State::good, what, words});
  }
  void unsure(const std::string& what, const std::string& words) {
    trials_.push_back({Trial::State::unsure, what, words});
  }
  void bad(const std::string& what, const std::string& words) {
    trials_.push_back({Trial::State::bad, what, words});
  }

  bool topic(const std::string& name) {
    const KafkaTopic found = plain_->find_topic(name, patience);
    if (found.answer.ok())
      good("topic " + name,
           text("exists, with ", found.partitions, found.partitions == 1 ? " partition" : " partitions"));
    else bad("topic " + name, found.answer.text);
    return found.answer.ok();
  }

  KafkaAnswer may_write(const std::set<std::string>& topics) {
    KafkaUplinkConfig lingering = config_;
    lingering.linger = 10min;
    auto made = KafkaProducer::make(loop_, lingering, config_.transactional_id, wanted_);
    if (!made.ok()) return {-1, made.status().detail(), false, false};
    const auto producer = std::move(made).value();
    producer->attend({});  // an abort waits until each message's end was looked at
    if (KafkaAnswer answer = producer->init_transactions(patience); !answer.ok()) return answer;
    if (KafkaAnswer answer = producer->begin(); !answer.ok()) return answer;
    KafkaMessage message;
    message.key = message.value = "never sent";
    // The coordinator answers within a round trip, but only a refusal shows: the transaction takes no more
    // messages then, and its commit says why.
    bool refused = false;
    for (const Instant until = loop_.now() + 3s; loop_.now() < until && !refused;) {
      for (const std::string& name : topics) {
        message.topic = name;
        refused = refused || producer->produce(message, -1, 0) != 0;
      }
      const auto wait = loop_.after(200ms, [this] { loop_.stop(); });
      loop_.run();
    }
    KafkaAnswer why, aborted;
    loop_.run_blocking(
        "kafka",
        [&] {
          if (refused) why = producer->commit(patience);
          aborted = producer->abort(patience);
        },
        [this] { loop_.stop(); });
    loop_.run();
    return why.ok() ? aborted : why;
  }

  UvLoop loop_;
  const KafkaUplinkConfig& config_;
  const std::string& gateway_;
  const KafkaWanted wanted_ = std::make_shared<std::atomic<bool>>(true);
  std::shared_ptr<KafkaProducer> plain_;
  std::set<std::string> topics_;
  bool all_exist_ = true;
  std::vector<Trial> trials_;
};

}  // namespace

std::vector<Trial> try_kafka(const KafkaUplinkConfig& config, const std::string& gateway, bool beside) {
  Trials trials(config, gateway);
  if (trials.brokers()) {
    trials.topics();
    if (config.exactly_once) trials.marker();
    trials.rights(beside);
  }
  if (!config.schema_registry.empty()) trials.registry();
  return trials.take();
}

}  // namespace millrace
