// What every uplink promises, whatever it speaks. A new uplink joins the list.
#include <doctest/doctest.h>

#include "loop/uv_loop.h"
#include "sim/world/world.h"
#include "tests/support/some_batch.h"
#include "uplink/https/https_uplink.h"
#include "uplink/kafka/kafka_uplink.h"
#include "uplink/mqtt/mqtt_uplink.h"

namespace uplink_contract_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

using Make = std::function<std::unique_ptr<Uplink>(UvLoop&, Rng&, std::vector<Record>&)>;

// Each while its far side is away.
const std::pair<const char*, Make> uplinks[] = {
    {"mqtt",
     [](UvLoop& loop, Rng& rng, std::vector<Record>&) -> std::unique_ptr<Uplink> {
       MqttUplinkConfig config;
       config.name = "up";
       config.client_id = "contract";
       config.servers = {"mqtt://127.0.0.1:1"};
       static Metrics metrics;  // outlives every uplink
       static const std::string gateway = "gw", nowhere = "/nonexistent";
       return std::make_unique<MqttUplink>(NorthParts{loop, rng, gateway, 1, nowhere, metrics}, config);
     }},
    {"https",
     [](UvLoop& loop, Rng& rng, std::vector<Record>&) -> std::unique_ptr<Uplink> {
       HttpsUplinkConfig config;
       config.name = "up";
       config.servers = {"http://127.0.0.1:1"};
       config.dialect = choose(built_dialects(), "generic");
       static Metrics metrics;  // outlives every uplink
       return std::make_unique<HttpsUplink>(loop, rng, config, "gw", 1, metrics);
     }},
    {"kafka",
     [](UvLoop& loop, Rng& rng, std::vector<Record>&) -> std::unique_ptr<Uplink> {
       KafkaUplinkConfig config;
       config.name = "up";
       config.servers = {"127.0.0.1:1"};
       config.key = "{device}";
       return std::make_unique<KafkaUplink>(loop, rng, config, "gw", 1, "/nonexistent");
     }},
    {"kafka, exactly once",
     [](UvLoop& loop, Rng& rng, std::vector<Record>&) -> std::unique_ptr<Uplink> {
       KafkaUplinkConfig config;
       config.name = "up";
       config.servers = {"127.0.0.1:1"};
       config.key = "{device}";
       config.exactly_once = true;
       config.transactional_id = "contract";
       return std::make_unique<KafkaUplink>(loop, rng, config, "gw", 1, "/nonexistent");
     }},
    {"simulated",
     [](UvLoop& loop, Rng&, std::vector<Record>& received) -> std::unique_ptr<Uplink> {
       auto far = std::make_unique<sim::FarSide>(loop, 1, received);
       far->set_up(false);
       return far;
     }},
};

}  // namespace

TEST_CASE("uplink contract: away, it says retryable for every row, once, and never inside send()") {
  for (const auto& [name, make] : uplinks) {
    CAPTURE(name);
    UvLoop loop;
    Rng rng(1);
    std::vector<Record> received;
    auto uplink = make(loop, rng, received);
    CHECK(uplink->limits().batches_in_flight >= 1);
    CHECK(uplink->limits().bytes_max >= 4096);
    CHECK(uplink->start([](const Uplink::Reach&) {}).ok());
    int outcomes = 0;
    bool inside = true;
    uplink->send(some_batch(), [&](Outcome outcome) {
      CHECK_FALSE(inside);
      CHECK(outcome.verdict == Verdict::retryable);
      CHECK(outcome.open == std::vector<std::uint32_t>{0, 1});
      CHECK_FALSE(outcome.reason.empty());
      ++outcomes;
      loop.stop();
    });
    inside = false;
    const auto limit = loop.after(10s, [&] { loop.stop(); });
    loop.run();
    CHECK(outcomes == 1);
    bool stopped = false;
    uplink->stop([&] {
      stopped = true;
      loop.stop();
    });
    loop.run();
    CHECK(stopped);
    CHECK(outcomes == 1);
    CHECK(received.empty());
  }
}

}  // namespace uplink_contract_test
