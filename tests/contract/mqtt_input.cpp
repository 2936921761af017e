// The MQTT input and brokers that are busy, strict, hostile or broken. Two inputs live beside each other in every story: what
// is done to one must not reach the other.
#include <deque>

#include "drivers/mqtt/mqtt_driver.h"
#include "ingest/mapped_inbox.h"
#include "tests/support/scripted_broker.h"

using namespace millrace;
using namespace millrace::mqtt;
using namespace std::chrono_literals;

namespace {

std::string connack(std::uint8_t version, bool session_present = false) {
  ConnackWrite write;
  write.session_present = session_present;
  std::string bytes;
  put_connack(write, version, bytes);
  return bytes;
}
std::string publish(std::uint8_t version, std::string_view topic, std::string_view payload, std::uint8_t qos = 1, std::uint16_t id = 7) {
  PublishWrite write;
  write.topic = topic;
  write.payload = bytes_of(payload);
  write.packet_id = id;
  write.qos = qos;
  std::string bytes;
  put_publish(write, version, bytes);
  return bytes;
}
std::string suback(std::uint8_t version, std::uint16_t id, std::string_view codes) {
  std::string body{static_cast<char>(id >> 8), static_cast<char>(id & 0xFF)};
  if (version == 5) body += '\0';
  return text("\x90", static_cast<char>(body.size() + codes.size()), body, codes);
}
std::uint16_t subscribe_id(const Packet& packet, std::uint8_t version) {
  Subscribe subscribe;
  REQUIRE(parse_subscribe(packet, version, subscribe).ok());
  CHECK(subscribe.reasons.size() == 1);
  return subscribe.packet_id;
}

// A broker that is good: it grants what it is asked for.
std::string good_answer(std::uint8_t version, const Packet& packet) {
  std::string bytes;
  Ack ack;
  switch (packet.type) {
    case PacketType::connect: return connack(version);
    case PacketType::subscribe: return suback(version, subscribe_id(packet, version), "\1");
    case PacketType::pubrec:
      REQUIRE(parse_ack(packet, version, ack).ok());
      put_ack(PacketType::pubrel, ack.packet_id, success, version, bytes);
      return bytes;
    case PacketType::pingreq: put_ping(PacketType::pingresp, bytes); return bytes;
    default: return bytes;
  }
}

struct Site {
  UvLoop loop;
  Rng rng{1};
  Metrics metrics;
  ClockTrust trust;
  std::vector<std::uint64_t> words = std::vector<std::uint64_t>(MappedInbox::region_bytes(1 << 18) / 8);
  std::span<std::byte> region{reinterpret_cast<std::byte*>(words.data()), words.size() * 8};
  std::unique_ptr<MappedInbox> inbox;

  Site() {
    MappedInbox::format(region, 1);
    inbox = std::make_unique<MappedInbox>(region, 0);
  }
  // What has come in since, as "input topic payload".
  std::vector<std::string> taken() {
    std::vector<std::string> all;
    Arrival arrival;
    Ticket ticket = 0;
    bool crashed = false;
    while (inbox->take(arrival, ticket, crashed)) {
      all.push_back(text(arrival.input, " ", arrival.channel, " ", text_of(arrival.bytes)));
      inbox->release(ticket);
    }
    return all;
  }
  // Runs until `done`, or for so long that it will not be.
  template <typename Done>
  bool run_until(Done done, Duration limit = 20s) {
    const Instant start = loop.now();
    while (loop.now() - start < limit) {
      if (done()) return true;
      const auto look = loop.after(2ms, [this] { loop.stop(); });
      loop.run();
    }
    return false;
  }
  double up(const std::string& input) { return metrics.gauge("millrace_input_up", "", {{"input", input}}).value(); }
};

struct Input {
  Input(Site& s, std::string name, std::uint8_t version, std::vector<std::string> filters = {"a/#", "b/#"}) : site(s), broker(s.loop) {
    broker.answer = [version](const Packet& packet) { return good_answer(version, packet); };
    config.name = std::move(name);
    config.servers = {broker.url()};
    config.client_id = config.name;
    config.version = version;
    config.qos = 1;
    config.persistent_session = false;
    config.connect_timeout = 1s;
    config.keep_alive = 1s;
    config.reconnect_min = 5ms;
    config.reconnect_max = 20ms;
    filters_ = std::move(filters);
  }
  ~Input() { stop(); }
  MqttDriver& start() {
    driver = std::make_unique<MqttDriver>(site.loop, site.rng, *site.inbox, site.trust, site.metrics, config, filters_);
    REQUIRE(driver->start().ok());
    return *driver;
  }
  void stop() {
    if (!driver) return;
    bool stopped = false;
    driver->stop([&] { stopped = true; });
    site.run_until([&] { return stopped; });
    driver.reset();
  }
  std::string health() const { return driver->health(); }

  Site& site;
  ScriptedBroker broker;
  MqttInputConfig config;
  std::vector<std::string> filters_;
  std::unique_ptr<MqttDriver> driver;
};

}  // namespace

TEST_CASE("mqtt input: many filters at two brokers of two versions, and a message on each") {
  Site site;
  std::vector<std::string> many;
  for (int i = 0; i < 40; ++i) many.push_back(text("plant/line", i, "/+/telemetry"));
  Input five(site, "five", 5, many), three(site, "three", 4, many);
  for (Input* input : {&five, &three}) input->start();
  CHECK(site.run_until([&] { return five.driver->healthy() && three.driver->healthy(); }));
  CHECK(std::count(five.broker.heard.begin(), five.broker.heard.end(), PacketType::subscribe) == 40);
  CHECK(site.up("five") == 1);
  for (int i = 0; i < 40; i += 39) {
    five.broker.say(publish(5, text("plant/line", i, "/d/telemetry"), "5", 1, static_cast<std::uint16_t>(i + 1)));
    three.broker.say(publish(4, text("plant/line", i, "/d/telemetry"), "3", 1, static_cast<std::uint16_t>(i + 1)));
  }
  std::vector<std::string> taken;
  CHECK(site.run_until([&] {
    for (auto& one : site.taken()) taken.push_back(std::move(one));
    return taken.size() == 4;
  }));
  std::sort(taken.begin(), taken.end());
  CHECK(taken == std::vector<std::string>{"five plant/line0/d/telemetry 5", "five plant/line39/d/telemetry 5", "three plant/line0/d/telemetry 3",
                                          "three plant/line39/d/telemetry 3"});
}

TEST_CASE("mqtt input: a broker that disconnects is connected to again, and its reason is told in words") {
  Site site;
  Input neighbour(site, "neighbour", 5), input(site, "input", 5);
  neighbour.start();
  input.start();
  REQUIRE(site.run_until([&] { return input.driver->healthy() && neighbour.driver->healthy(); }));
  struct Case {
    std::string bytes, words;
  };
  const Case cases[] = {
      {std::string("\xE0\x00", 2), "the broker disconnected us: no reason given"},
      {std::string("\xE0\x01\x8B", 3), "the broker disconnected us: server shutting down"},
      {std::string("\xE0\x01\x8E", 3), "another client took over"},
      {std::string("\xE0\x0C\x9D\x0A\x1C\x00\x07" "b.local", 14), "the server has moved; it names \"b.local\""},
      {std::string("\xE0\x0A\x82\x08\x1F\x00\x05" "a\nb #", 12), "protocol error, \"a b #\""},
      {std::string("\xE0\x01\xA2", 3), "wildcards in subscriptions are not supported"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.words);
    const auto connects = [&] { return std::count(input.broker.heard.begin(), input.broker.heard.end(), PacketType::connect); };
    const auto before = connects();
    bool told = false;
    input.broker.say(c.bytes);
    CHECK(site.run_until([&] {
      told = told || input.health().find(c.words) != std::string::npos;
      if (told || !input.driver->healthy()) CHECK(site.up("input") == 0);
      return told;
    }));
    CHECK(site.run_until([&] { return input.driver->healthy() && connects() == before + 1; }));
    input.broker.say(publish(5, "a/x", c.words));
    std::vector<std::string> taken;
    CHECK(site.run_until([&] { return !(taken = site.taken()).empty(); }));
    CHECK(taken == std::vector<std::string>{"input a/x " + c.words});
  }
  CHECK(std::count(neighbour.broker.heard.begin(), neighbour.broker.heard.end(), PacketType::connect) == 1);
}

TEST_CASE("mqtt input: what a broker refuses is told, and taken when the right is given") {
  Site site;
  for (const std::uint8_t version : {std::uint8_t{5}, std::uint8_t{4}}) {
    CAPTURE(static_cast<int>(version));
    Input neighbour(site, "neighbour", version), input(site, text("input", version), version);
    int asked = 0;
    input.broker.answer = [&](const Packet& packet) {
      if (packet.type != PacketType::subscribe) return good_answer(version, packet);
      ++asked;
      // The first filter is granted, the second refused twice.
      const bool refuse = asked == 2 || asked == 3;
      return suback(version, subscribe_id(packet, version), refuse ? (version == 5 ? "\x87" : "\x80") : "\1");
    };
    neighbour.start();
    input.start();
    CHECK(site.run_until([&] { return input.health().find("\"b/#\" refused") != std::string::npos; }));
    CHECK(!input.driver->healthy());
    CHECK(site.up(input.config.name) == 1);
    CHECK(site.run_until([&] { return input.driver->healthy(); }));
    CHECK(asked == 4);
    CHECK(site.run_until([&] { return neighbour.driver->healthy(); }));
  }
}
