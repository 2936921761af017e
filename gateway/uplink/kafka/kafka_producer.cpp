#include "uplink/kafka/kafka_producer.h"

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "base/host_port.h"
#include "base/logger.h"
#include "base/text.h"
#include "config/secret.h"
#include "net/certificate.h"
#include "net/certificate_time.h"
#include "uplink/kafka/kafka_certificates.h"
#include "uplink/kafka/kafka_errors.h"

namespace millrace {
namespace {

constexpr Duration token_life = std::chrono::minutes(5);

KafkaAnswer answer_of(rd_kafka_error_t* error) {
  if (!error) return {};
  KafkaAnswer answer{rd_kafka_error_code(error), rd_kafka_error_string(error),
                     rd_kafka_error_is_retriable(error) != 0, rd_kafka_error_txn_requires_abort(error) != 0};
  rd_kafka_error_destroy(error);
  return answer;
}
KafkaAnswer answer_of(rd_kafka_resp_err_t error) {
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  return {error, kafka_error_text(error), false, false};
}

int ms(Duration duration) {
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

void log_it(const rd_kafka_t*, int, const char* facility, const char* line) {
  LOG_DEBUG("librdkafka: ", facility, ": ", line);
}

// Within the time that connecting may take, so that whoever waits for that hears why there is no connection.
Duration lookup_time(const KafkaUplinkConfig& config) { return config.connect_timeout * 3 / 4; }

// Our policy for servers (net/certificate.h) after OpenSSL's own, on librdkafka's threads: OpenSSL would look
// at a common name, which the other clients do not. Dates are judged anew only where the wall clock is known
// to be behind: else OpenSSL's own words are the better ones. `broker`: "host:port".
int judge_broker(rd_kafka_t*, const char* broker, std::int32_t, int* error, int depth,
                 const char* certificate, std::size_t size, char* why, std::size_t why_size, void* names) {
  constexpr int by_application = 50;  // X509_V_ERR_APPLICATION_VERIFICATION
  const WallTime wall = SystemClock().wall();
  if (certificate_time(wall) > wall) {
    std::string faults;
    if (!judge_dates(*error, bytes_of({certificate, size}), wall, faults)) {
      std::snprintf(why, why_size, "%s", faults.c_str());
      return 0;
    }
  }
  if (*error != 0) return 0;
  // The topmost comes first, the broker's own last.
  thread_local std::optional<Certificate> ends_first;
  thread_local int last_depth = 0;
  if (depth >= std::exchange(last_depth, depth)) ends_first.reset();
  const auto one = parse_certificate(bytes_of({certificate, size}));
  if (one.ok() && (!ends_first || one.value().to < ends_first->to)) ends_first = one.value();
  if (depth > 0) return 1;
  std::string_view name(broker);
  if (const std::size_t at = name.find("://"); at != std::string_view::npos) name.remove_prefix(at + 3);
  const auto where = parse_host_port(name.substr(0, name.find('/')), 9092);
  const Status judged = !where.ok() ? where.status()
                        : !one.ok() ? one.status()
                                    : judge_server(one.value(), where.value().host);
  if (judged.ok()) {
    note_peer_certificate(static_cast<const KafkaNames*>(names)->owner, {where.value().host, *ends_first});
    return 1;
  }
  *error = by_application;
  std::snprintf(why, why_size, "%s", judged.detail().c_str());
  return 0;
}

// The settings that producers and readers share. Null when something is refused: `why` says what.
rd_kafka_conf_t* common_conf(const KafkaUplinkConfig& config, KafkaNames& names, std::string& why) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  const auto set = [&](const char* name, const std::string& value) {
    char words[256];
    if (why.empty() && rd_kafka_conf_set(conf, name, value.c_str(), words, sizeof words) != RD_KAFKA_CONF_OK)
      why = words;
  };
  std::string servers;
  for (const std::string& server : config.servers) servers += (servers.empty() ? "" : ",") + server;
  set("bootstrap.servers", servers);
  set("client.id", config.client_id);
  set("socket.keepalive.enable", "true");
  set("socket.nagle.disable", "true");
  set("socket.connection.setup.timeout.ms", text(ms(config.connect_timeout)));
  set("reconnect.backoff.ms", text(ms(config.initial_interval)));
  set("reconnect.backoff.max.ms", text(ms(std::min<Duration>(config.max_interval, std::chrono::minutes(1)))));
  set("allow.auto.create.topics", "false");
  const bool sasl = !config.sasl_mechanism.empty();
  set("security.protocol", sasl ? (config.tls.enabled ? "sasl_ssl" : "sasl_plaintext")
                                : (config.tls.enabled ? "ssl" : "plaintext"));
  if (config.tls.enabled) {
    if (!config.tls.ca.empty()) set("ssl.ca.location", config.tls.ca);
    if (!config.tls.cert.empty()) {
      set("ssl.certificate.location", config.tls.cert);
      if (Status status = check_secret(config.tls.key); !status.ok())
        why = "tls_key_file: " + status.detail();
      if (auto path = secret_path(config.tls.key); path.ok()) set("ssl.key.location", path.value());
    }
    const bool verify = !config.tls.skip_verify;
    set("enable.ssl.certificate.verification", verify ? "true" : "false");
    if (verify) rd_kafka_conf_set_ssl_cert_verify_cb(conf, judge_broker);
    // The certificate must also name the host.
    set("ssl.endpoint.identification.algorithm", verify ? "https" : "none");
  }
  if (sasl) {
    set("sasl.mechanisms", config.sasl_mechanism);
    if (config.sasl_mechanism != "OAUTHBEARER") {
      set("sasl.username", config.username);
      auto secret = read_secret(config.password);
      if (!secret.ok()) why = "password_file: " + secret.status().detail();
      else set("sasl.password", secret.value());
    }
  }
  rd_kafka_conf_set_log_cb(conf, log_it);
  names.serve(conf);
  if (why.empty()) return conf;
  rd_kafka_conf_destroy(conf);
  return nullptr;
}

// How many partitions a topic has.
KafkaAnswer count_partitions(rd_kafka_t* kafka, rd_kafka_topic_t* topic, int timeout_ms, int& count) {
  const rd_kafka_metadata_t* metadata = nullptr;
  rd_kafka_resp_err_t code = rd_kafka_metadata(kafka, 0, topic, &metadata, timeout_ms);
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
    code = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    count = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && count == 0) code = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
  }
  if (metadata) rd_kafka_metadata_destroy(metadata);
  return answer_of(code);
}

// Sets the token that a file holds; read anew each time.
std::string give_token(rd_kafka_t* kafka, const KafkaUplinkConfig& config, WallTime now) {
  auto token = read_secret(config.token);
  char words[256] = {};
  if (!token.ok()) {
    const std::string why = "token_file: " + token.status().detail();
    rd_kafka_oauthbearer_set_token_failure(kafka, why.c_str());
    return why;
  }
  const std::string principal = config.username.empty() ? "millrace" : config.username;
  const auto code =
      rd_kafka_oauthbearer_set_token(kafka, token.value().c_str(), (now.us + to_us(token_life)) / 1000,
                                     principal.c_str(), nullptr, 0, words, sizeof words);
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return "";
  rd_kafka_oauthbearer_set_token_failure(kafka, words);
  return text("token_file: ", static_cast<const char*>(words));
}

}  // namespace

// ---- the producer

KafkaProducer::KafkaProducer(Loop& loop, const KafkaUplinkConfig& config, KafkaWanted wanted,
                             std::shared_ptr<KafkaWire> wire)
    : loop_(loop),
      config_(config),
      wanted_(std::move(wanted)),
      names_(loop, lookup_time(config_), wanted_, {"uplink", config_.name, "servers"}, std::move(wire)) {}

Result<std::shared_ptr<KafkaProducer>> KafkaProducer::make(Loop& loop, const KafkaUplinkConfig& config,
                                                           const std::string& transactional_id,
                                                           KafkaWanted wanted,
                                                           std::shared_ptr<KafkaWire> wire) {
  std::shared_ptr<KafkaProducer> producer(
      new KafkaProducer(loop, config, std::move(wanted), std::move(wire)));
  std::string why;
  rd_kafka_conf_t* conf = common_conf(config, producer->names_, why);
  if (!conf) return Status{Code::invalid, why};
  const auto set = [&](const char* name, const std::string& value) {
    char words[256];
    if (why.empty() && rd_kafka_conf_set(conf, name, value.c_str(), words, sizeof words) != RD_KAFKA_CONF_OK)
      why = words;
  };
  set("enable.idempotence", "true");
  set("acks", "all");
  set("partitioner", "murmur2_random");  // as Java's
  // the uplink's own deadline counts: a timeout here would be taken for a loss
  set("message.timeout.ms", "0");
  // On a slow link a request waits for all that is before it; ours is the deadline. 300 s is the most there
  // is, and no request may outlive its transaction.
  const Duration longest = transactional_id.empty() ? std::chrono::minutes(5) : config.transaction_timeout;
  set("socket.timeout.ms",
      text(ms(std::min(std::max<Duration>(config.send_timeout, std::chrono::minutes(1)), longest))));
  set("linger.ms", text(ms(config.linger)));
  set("compression.type", config.compression);
  set("queue.buffering.max.messages", "100000");
  set("queue.buffering.max.kbytes",
      text(std::max<std::size_t>(config.queue_size, 4 * config.message_max) / 1024));
  set("message.max.bytes", text(config.message_max));
  set("topic.metadata.propagation.max.ms", "5000");  // a topic that is not known by then is missing
  set("allow.auto.create.topics", "true");           // where the broker allows it, which is his business
  if (!transactional_id.empty()) {
    set("transactional.id", transactional_id);
    set("transaction.timeout.ms", text(ms(config.transaction_timeout)));
  }
  rd_kafka_conf_set_events(
      conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH);
  char words[512] = {};
  rd_kafka_t* kafka = why.empty() ? rd_kafka_new(RD_KAFKA_PRODUCER, conf, words, sizeof words) : nullptr;
  if (!kafka) {
    rd_kafka_conf_destroy(conf);
    return Status{Code::invalid, why.empty() ? std::string(words) : why};
  }
  producer->kafka_ = kafka;
  producer->queue_ = rd_kafka_queue_get_main(kafka);
  if (config.sasl_mechanism == "OAUTHBEARER") producer->refresh_token();
  return producer;
}

KafkaProducer::~KafkaProducer() {
  if (queue_) {
    rd_kafka_queue_cb_event_enable(queue_, nullptr, nullptr);
    rd_kafka_queue_destroy(queue_);
  }
  if (!kafka_) return;
  names_.leave();
  if (topic_) rd_kafka_topic_destroy(topic_);
  rd_kafka_purge(kafka_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
  rd_kafka_destroy(kafka_);
}

// librdkafka's thread says that there is something; the loop takes it. Until the destructor has switched this
// off, `this` lives; the loop holds a weak reference, because it may be later than that.
void KafkaProducer::attend(Events events) {
  events_ = std::move(events);
  attended_ = true;
  if (config_.sasl_mechanism == "OAUTHBEARER") keep_token_fresh();
  rd_kafka_queue_cb_event_enable(
      queue_,
      [](rd_kafka_t*, void* opaque) {
        auto* self = static_cast<KafkaProducer*>(opaque);
        if (self->woken_.exchange(true)) return;
        self->loop_.post([weak = self->weak_from_this()] {
          if (const auto producer = weak.lock()) producer->drain();
        });
      },
      this);
  drain();
}

void KafkaProducer::drain() {
  woken_ = false;
  bool any = false;
  while (rd_kafka_event_t* event = rd_kafka_queue_poll(queue_, 0)) {
    switch (rd_kafka_event_type(event)) {
      case RD_KAFKA_EVENT_DR:
        while (const rd_kafka_message_t* message = rd_kafka_event_message_next(event)) {
          any = true;
          if (events_.delivered)
            events_.delivered(reinterpret_cast<std::uintptr_t>(message->_private), message->err);
        }
        break;
      case RD_KAFKA_EVENT_ERROR:
        if (events_.trouble)
          events_.trouble(rd_kafka_event_error(event),
                          words_for(rd_kafka_event_error(event), rd_kafka_event_error_string(event)));
        break;
      case RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH: refresh_token(); break;
      default: break;
    }
    rd_kafka_event_destroy(event);
  }
  if (any && events_.delivered_some) events_.delivered_some();
}

// Of a name librdkafka only knows that there was no answer, and says that all brokers are down.
std::string KafkaProducer::words_for(int error, const std::string& words) const {
  const bool maybe_a_name = error == RD_KAFKA_RESP_ERR__RESOLVE ||
                            error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
                            error == RD_KAFKA_RESP_ERR__TRANSPORT || error == RD_KAFKA_RESP_ERR__TIMED_OUT;
  const std::string trouble = maybe_a_name ? names_.trouble() : "";
  return trouble.empty() ? words : trouble;
}

// librdkafka asks for the next token by the wall clock: years too late, when that is set back.
void KafkaProducer::keep_token_fresh() {
  token_timer_ = loop_.after(token_life / 2, [this] {
    refresh_token();
    keep_token_fresh();
  });
}

void KafkaProducer::refresh_token() {
  if (const std::string why = give_token(kafka_, config_, loop_.wall()); !why.empty())
    LOG_ERROR("uplink ", config_.name, ": ", why);
}

int KafkaProducer::produce(const KafkaMessage& message, int partition, std::uint64_t id) {
  rd_kafka_headers_t* headers =
      message.headers.empty() ? nullptr : rd_kafka_headers_new(message.headers.size());
  for (const auto& [name, value] : message.headers) {
    rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                        static_cast<ssize_t>(value.size()));
  }
  if (!topic_ || topic_name_ != message.topic) {  // a handle spares the search by name at each message
    if (topic_) rd_kafka_topic_destroy(topic_);
    topic_ = rd_kafka_topic_new(kafka_, message.topic.c_str(), nullptr);
    topic_name_ = message.topic;
  }
  if (!topic_) {  // a name that is none
    if (headers) rd_kafka_headers_destroy(headers);
    return rd_kafka_last_error();
  }
  rd_kafka_vu_t arguments[8];
  std::size_t count = 0;
  const auto argument = [&](rd_kafka_vtype_t type) -> rd_kafka_vu_t& {
    arguments[count].vtype = type;
    return arguments[count++];
  };
  argument(RD_KAFKA_VTYPE_RKT).u.rkt = topic_;
  argument(RD_KAFKA_VTYPE_PARTITION).u.i32 = partition < 0 ? RD_KAFKA_PARTITION_UA : partition;
  auto& key = argument(RD_KAFKA_VTYPE_KEY);
  key.u.mem = {const_cast<char*>(message.key.data()), message.key.size()};
  auto& value = argument(RD_KAFKA_VTYPE_VALUE);
  value.u.mem = {const_cast<char*>(message.value.data()), message.value.size()};
  argument(RD_KAFKA_VTYPE_MSGFLAGS).u.i = RD_KAFKA_MSG_F_COPY;
  argument(RD_KAFKA_VTYPE_OPAQUE).u.ptr = reinterpret_cast<void*>(static_cast<std::uintptr_t>(id));
  if (headers) argument(RD_KAFKA_VTYPE_HEADERS).u.headers = headers;
  rd_kafka_error_t* error = rd_kafka_produceva(kafka_, arguments, count);
  if (!error) return 0;  // the headers are librdkafka's now
  const int code = rd_kafka_error_code(error);
  rd_kafka_error_destroy(error);
  if (headers) rd_kafka_headers_destroy(headers);
  return code;
}

KafkaAnswer KafkaProducer::begin() { return answer_of(rd_kafka_begin_transaction(kafka_)); }

// These calls may be repeated after a timeout, and go on where they were; but a question of which the answer
// takes longer than a slice is asked anew, so that slices grow: a link may need some seconds for a round
// trip.
template <typename Call>
KafkaAnswer KafkaProducer::in_slices(Duration timeout, Call call) const {
  const Instant deadline = loop_.now() + timeout;
  for (int slice = 1000;; slice = std::min(2 * slice, 5000)) {
    KafkaAnswer answer = call(std::clamp(ms(deadline - loop_.now()), 1, slice));
    if (answer.code != RD_KAFKA_RESP_ERR__TIMED_OUT || loop_.now() >= deadline || !*wanted_) return answer;
  }
}

// librdkafka says "no broker" after each slice while it is still connecting: only when they are all down, or
// one has refused us, is there no point in waiting on.
KafkaAnswer KafkaProducer::reach(Duration timeout) {
  const Instant deadline = loop_.now() + timeout;
  for (;;) {
    KafkaAnswer answer = in_slices(deadline - loop_.now(), [this](int slice) {
      const rd_kafka_metadata_t* metadata = nullptr;
      const auto code = rd_kafka_metadata(kafka_, 0, nullptr, &metadata, slice);
      if (metadata) rd_kafka_metadata_destroy(metadata);
      return answer_of(code);
    });
    if (answer.ok()) return answer;
    const bool connecting = answer.code == RD_KAFKA_RESP_ERR__TRANSPORT;
    const bool final =
        attended_ || take_reason(answer) || !connecting || loop_.now() >= deadline || !*wanted_;
    answer.text = words_for(answer.code, answer.text);
    if (final) return answer;
  }
}

// "No answer" is what a call says; why (a certificate, a password, a name) stands in the events. Whether
// nothing more is to come.
bool KafkaProducer::take_reason(KafkaAnswer& answer) {
  bool all_down = false;
  while (rd_kafka_event_t* event = rd_kafka_queue_poll(queue_, 0)) {
    const int why = rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR ? rd_kafka_event_error(event)
                                                                       : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (why == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
      all_down = true;
    } else if (why != RD_KAFKA_RESP_ERR_NO_ERROR && verdict_of_kafka(answer.code) != Verdict::blocked) {
      answer = {why, rd_kafka_event_error_string(event), false, false};
    } else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH) {
      refresh_token();
    }
    rd_kafka_event_destroy(event);
  }
  return all_down || verdict_of_kafka(answer.code) == Verdict::blocked;
}

KafkaAnswer KafkaProducer::init_transactions(Duration timeout) {
  return in_slices(timeout,
                   [this](int slice) { return answer_of(rd_kafka_init_transactions(kafka_, slice)); });
}
KafkaAnswer KafkaProducer::commit(Duration timeout) {
  return in_slices(timeout,
                   [this](int slice) { return answer_of(rd_kafka_commit_transaction(kafka_, slice)); });
}
KafkaAnswer KafkaProducer::abort(Duration timeout) {
  return in_slices(timeout,
                   [this](int slice) { return answer_of(rd_kafka_abort_transaction(kafka_, slice)); });
}

KafkaTopic KafkaProducer::find_topic(const std::string& name, Duration timeout) {
  KafkaTopic found;
  rd_kafka_topic_t* topic = rd_kafka_topic_new(kafka_, name.c_str(), nullptr);
  found.answer =
      in_slices(timeout, [&](int slice) { return count_partitions(kafka_, topic, slice, found.partitions); });
  rd_kafka_topic_destroy(topic);
  return found;
}

KafkaTopicPolicy KafkaProducer::cleanup_policy(const std::string& topic, Duration timeout) {
  KafkaTopicPolicy policy;
  rd_kafka_queue_t* queue = rd_kafka_queue_new(kafka_);
  rd_kafka_AdminOptions_t* options = rd_kafka_AdminOptions_new(kafka_, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
  char words[256] = {};
  rd_kafka_AdminOptions_set_request_timeout(options, ms(timeout), words, sizeof words);
  rd_kafka_ConfigResource_t* resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str());
  rd_kafka_DescribeConfigs(kafka_, &resource, 1, options, queue);
  if (rd_kafka_event_t* event = rd_kafka_queue_poll(queue, ms(timeout) + 1000)) {
    policy.answer = answer_of(rd_kafka_event_error(event));
    const rd_kafka_DescribeConfigs_result_t* result = rd_kafka_event_DescribeConfigs_result(event);
    std::size_t count = 0;
    const rd_kafka_ConfigResource_t** found =
        result ? rd_kafka_DescribeConfigs_result_resources(result, &count) : nullptr;
    if (policy.answer.ok() && count == 1) {
      policy.answer = answer_of(rd_kafka_ConfigResource_error(found[0]));
      std::size_t entries = 0;
      const rd_kafka_ConfigEntry_t** configs = rd_kafka_ConfigResource_configs(found[0], &entries);
      for (std::size_t i = 0; i < entries; ++i) {
        const char* value = rd_kafka_ConfigEntry_value(configs[i]);
        if (value && std::string_view(rd_kafka_ConfigEntry_name(configs[i])) == "cleanup.policy")
          policy.value = value;
      }
    }
    rd_kafka_event_destroy(event);
  } else {
    policy.answer = answer_of(RD_KAFKA_RESP_ERR__TIMED_OUT);
  }
  rd_kafka_ConfigResource_destroy(resource);
  rd_kafka_AdminOptions_destroy(options);
  rd_kafka_queue_destroy(queue);
  return policy;
}

// ---- reading the marker back

namespace {

class Reader {
 public:
  Reader(const Clock& clock, const KafkaUplinkConfig& config, const std::string& topic, const char* isolation,
         const KafkaWanted& wanted, std::shared_ptr<KafkaWire> wire, KafkaAnswer& answer)
      : names_(clock, lookup_time(config), wanted, {}, std::move(wire)) {
    std::string why;
    rd_kafka_conf_t* conf = common_conf(config, names_, why);
    if (!conf) {
      answer = {RD_KAFKA_RESP_ERR__INVALID_ARG, why, false, false};
      return;
    }
    char words[512] = {};
    rd_kafka_conf_set(conf, "isolation.level", isolation, words, sizeof words);
    rd_kafka_conf_set(conf, "enable.partition.eof", "true", words, sizeof words);
    rd_kafka_conf_set(conf, "check.crcs", "true", words, sizeof words);
    rd_kafka_conf_set(conf, "queued.max.messages.kbytes", "1024", words, sizeof words);
    kafka_ = rd_kafka_new(RD_KAFKA_CONSUMER, conf, words, sizeof words);
    if (!kafka_) {
      rd_kafka_conf_destroy(conf);
      answer = {RD_KAFKA_RESP_ERR__INVALID_ARG, words, false, false};
      return;
    }
    if (config.sasl_mechanism == "OAUTHBEARER") give_token(kafka_, config, clock.wall());
    topic_ = rd_kafka_topic_new(kafka_, topic.c_str(), nullptr);
  }
  ~Reader() {
    names_.leave();
    if (topic_) rd_kafka_topic_destroy(topic_);
    if (kafka_) rd_kafka_destroy(kafka_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  rd_kafka_t* kafka() const { return kafka_; }
  rd_kafka_topic_t* topic() const { return topic_; }

 private:
  KafkaNames names_;
  rd_kafka_t* kafka_ = nullptr;
  rd_kafka_topic_t* topic_ = nullptr;
};

}  // namespace

KafkaKept read_last_committed(Loop& loop, const KafkaUplinkConfig& config, const std::string& topic,
                              const std::string& key, Duration timeout, const KafkaWanted& wanted,
                              const std::shared_ptr<KafkaWire>& wire) {
  KafkaKept kept;
  const Instant deadline = loop.now() + timeout;
  const auto left = [&] { return *wanted ? std::clamp(ms(deadline - loop.now()), 0, 5000) : 0; };
  // Where the partition really ends: the reader of what is committed sees no further than the oldest open
  // transaction.
  const Reader all(loop, config, topic, "read_uncommitted", wanted, wire, kept.answer);
  if (!kept.answer.ok()) return kept;
  int partitions = 0;
  kept.answer = count_partitions(all.kafka(), all.topic(), left(), partitions);
  if (!kept.answer.ok()) {
    kept.answer.text = text("topic \"", topic, "\": ", kept.answer.text);
    return kept;
  }
  kept.partition =
      rd_kafka_msg_partitioner_murmur2(all.topic(), key.data(), key.size(), partitions, nullptr, nullptr);
  std::int64_t low = 0, high = 0;
  kept.answer = answer_of(
      rd_kafka_query_watermark_offsets(all.kafka(), topic.c_str(), kept.partition, &low, &high, left()));
  if (!kept.answer.ok() || low >= high) return kept;
  const Reader reader(loop, config, topic, "read_committed", wanted, wire, kept.answer);
  if (!kept.answer.ok()) return kept;
  // From the end backwards, in growing parts: the topic is compacted, and other gateways write to it too.
  std::int64_t end = high;
  for (std::int64_t part = 1000;; part *= 4) {
    const std::int64_t from = std::max(low, end - part);
    if (rd_kafka_consume_start(reader.topic(), kept.partition, from) != 0) {
      kept.answer = answer_of(rd_kafka_last_error());
      return kept;
    }
    bool found = false, complete = false;
    while (!complete && loop.now() < deadline && *wanted) {
      rd_kafka_message_t* message = rd_kafka_consume(reader.topic(), kept.partition, std::min(left(), 500));
      if (!message) continue;
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        complete = message->offset >= end;  // before it: an open transaction hides what follows, for a while
      } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (verdict_of_kafka(message->err) == Verdict::blocked) {
          kept.answer = answer_of(message->err);
          complete = true;
        }
      } else if (message->offset >= end) {
        complete = true;
      } else {
        if (message->key_len == key.size() &&
            std::equal(key.begin(), key.end(), static_cast<const char*>(message->key))) {
          found = true;
          const auto* bytes = static_cast<const std::byte*>(message->payload);
          kept.value.assign(bytes, bytes + message->len);
        }
        complete = message->offset == end - 1;
      }
      rd_kafka_message_destroy(message);
    }
    rd_kafka_consume_stop(reader.topic(), kept.partition);
    if (!complete) {
      kept.answer = {RD_KAFKA_RESP_ERR__TIMED_OUT,
                     text("topic \"", topic, "\" could not be read to its end in time"), true, false};
      return kept;
    }
    if (found || from == low || !kept.answer.ok()) return kept;
    end = from;
  }
}

}  // namespace millrace
