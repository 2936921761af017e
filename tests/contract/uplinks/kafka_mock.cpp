// The Kafka uplink on librdkafka's own mock cluster, where no Kafka is needed: deliveries, brokers that go
// and come, and what the errors of a broker become. The mock does not model transactions: exactly once is
// shown on a real Kafka only (kafka_test.py).
#include <doctest/doctest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "loop/uv_loop.h"
#include "tests/support/some_batch.h"
#include "uplink/kafka/kafka_uplink.h"

namespace kafka_mock_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

constexpr std::int16_t produce_request = 0;  // Kafka protocol, API keys

struct Cluster {
  rd_kafka_t* kafka = nullptr;
  rd_kafka_mock_cluster_t* mock = nullptr;
  Cluster() {
    char words[256];
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, nullptr);
    kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, words, sizeof words);
    REQUIRE(kafka);
    mock = rd_kafka_mock_cluster_new(kafka, 1);
    REQUIRE(mock);
    REQUIRE(rd_kafka_mock_topic_create(mock, "millrace.raw", 3, 1) == RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  ~Cluster() {
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(kafka);
  }
  std::string servers() const { return rd_kafka_mock_cluster_bootstraps(mock); }
  // How many messages the topic has.
  std::int64_t messages() const {
    char words[256];
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", servers().c_str(), words, sizeof words);
    rd_kafka_conf_set_log_cb(conf, nullptr);
    rd_kafka_t* reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, words, sizeof words);
    std::int64_t sum = 0;
    for (int partition = 0; partition < 3; ++partition) {
      std::int64_t low = 0, high = 0;
      CHECK(rd_kafka_query_watermark_offsets(reader, "millrace.raw", partition, &low, &high, 10'000) ==
            RD_KAFKA_RESP_ERR_NO_ERROR);
      sum += high - low;
    }
    rd_kafka_destroy(reader);
    return sum;
  }
};

struct Site {
  Cluster cluster;
  UvLoop loop;
  Rng rng{1};
  Metrics metrics;
  std::unique_ptr<KafkaUplink> uplink;
  bool up = false;

  explicit Site(const std::string& form = "record") {
    KafkaUplinkConfig config;
    config.name = "up";
    config.servers = {cluster.servers()};
    config.format = form;
    config.key = form == "batch" ? "{gateway}" : "{device}";
    config.initial_interval = 20ms;
    config.max_interval = 100ms;
    config.send_timeout = 3s;
    uplink = std::make_unique<KafkaUplink>(loop, rng, config, "gw", 1, "/nonexistent", &metrics);
    REQUIRE(uplink
                ->start([this](const Uplink::Reach& reach) {
                  up = reach.up;
                  if (up) loop.stop();
                })
                .ok());
    run();
    REQUIRE(up);
  }
  ~Site() {
    uplink->stop([this] { loop.stop(); });
    loop.run();
  }
  // Of the link, "sent" or "received".
  std::uint64_t bytes(const std::string& way) {
    metrics.refresh();
    return metrics.find_counter("millrace_uplink_wire_" + way + "_bytes_total", {{"uplink", "up"}})->value();
  }
  void run() {
    const auto limit = loop.after(20s, [this] { loop.stop(); });
    loop.run();
  }
  Outcome send() {
    Outcome got;
    bool any = false;
    uplink->send(some_batch(), [&](Outcome outcome) {
      got = std::move(outcome);
      any = true;
      loop.stop();
    });
    while (!any) run();
    return got;
  }
};

}  // namespace

TEST_CASE("kafka on the mock: every form is delivered once") {
  for (const auto& [form, messages] :
       {std::pair{"record", 20}, std::pair{"json", 20}, std::pair{"batch", 2}}) {
    CAPTURE(form);
    Site site(form);
    CHECK(site.send().verdict == Verdict::acknowledged);
    CHECK(site.cluster.messages() == messages);
  }
}

TEST_CASE("kafka on the mock: what its connections carry is counted, also of one that has ended") {
  Site site;
  const std::uint64_t sent = site.bytes("sent"), received = site.bytes("received");
  CHECK((sent > 50 && received > 50));  // who is there, and which topics
  CHECK(site.send().verdict == Verdict::acknowledged);
  const std::uint64_t more = site.bytes("sent");
  CHECK(more > sent + 200);  // twenty records, packed
  CHECK(more < sent + 20'000);
  rd_kafka_mock_broker_set_down(site.cluster.mock, 1);
  (void)site.send();
  CHECK(site.bytes("sent") >= more);
  CHECK(site.bytes("received") > received);
  rd_kafka_mock_broker_set_up(site.cluster.mock, 1);
}

TEST_CASE("kafka on the mock: a broker that goes gives retryable, and takes everything when it is back") {
  Site site;
  rd_kafka_mock_broker_set_down(site.cluster.mock, 1);
  const Outcome away = site.send();
  CHECK(away.verdict == Verdict::retryable);
  CHECK(away.open == std::vector<std::uint32_t>{0, 1});
  rd_kafka_mock_broker_set_up(site.cluster.mock, 1);
  if (!site.up) site.run();
  CHECK(site.send().verdict == Verdict::acknowledged);
  CHECK(site.cluster.messages() >= 20);  // what was in flight may come as well
}

TEST_CASE("kafka on the mock: what a broker's errors become") {
  struct Case {
    rd_kafka_resp_err_t error;
    Verdict verdict;
  };
  // the client finds the leader itself
  for (const auto& [error, verdict] :
       {Case{RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, Verdict::acknowledged},
        // and tries again
        Case{RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, Verdict::acknowledged},
        Case{RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Verdict::refused},
        Case{RD_KAFKA_RESP_ERR_INVALID_RECORD, Verdict::refused},
        Case{RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Verdict::blocked}}) {
    CAPTURE(rd_kafka_err2name(error));
    Site site;
    const bool passing = verdict == Verdict::acknowledged;
    for (int i = 0; i < (passing ? 1 : 1000); ++i)
      rd_kafka_mock_push_request_errors(site.cluster.mock, produce_request, 1, error);
    const Outcome outcome = site.send();
    CHECK(outcome.verdict == verdict);
    CHECK(outcome.open.empty() == passing);
    if (!passing) CHECK_FALSE(outcome.reason.empty());
    rd_kafka_mock_clear_request_errors(site.cluster.mock, produce_request);
    CHECK(site.cluster.messages() == (passing ? 20 : 0));
  }
}

}  // namespace kafka_mock_test
