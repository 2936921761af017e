// The MQTT driver and QoS 2 (MQTT 5, section 4.3.3): a broker forgets a message at PUBREC, so it must be in
// the inbox by then, in 3.1.1 too; and a gateway that died in the middle of the handshake goes on with it
// without losing or doubling anything.
#include "drivers/mqtt/mqtt_driver.h"
#include "tests/support/driver_stage.h"
#include "tests/support/scripted_broker.h"

namespace mqtt_qos2_test {
using namespace millrace;
using namespace millrace::mqtt;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t id = 7;

std::string publish(std::uint8_t version, bool duplicate) {
  PublishWrite write;
  write.topic = "a/b";
  write.payload = bytes_of("{\"value\":1}");
  write.packet_id = id;
  write.qos = 2;
  write.duplicate = duplicate;
  std::string bytes;
  put_publish(write, version, bytes);
  return bytes;
}

std::string pubrel(std::uint16_t packet_id, std::uint8_t version) {
  std::string bytes;
  put_ack(PacketType::pubrel, packet_id, success, version, bytes);
  return bytes;
}

}  // namespace

TEST_CASE("mqtt driver, QoS 2: in the inbox before PUBREC; after a death neither lost nor doubled") {
  for (const std::uint8_t version : {std::uint8_t{4}, std::uint8_t{5}}) {
    CAPTURE(static_cast<int>(version));
    DriverStage stage;
    UvLoop& loop = stage.loop;

    ScriptedBroker broker(loop);
    bool second_life = false;
    double at_pubrec = 0;
    std::vector<std::uint16_t> completed;
    broker.answer = [&](const Packet& packet) {
      std::string bytes;
      Ack ack;
      switch (packet.type) {
        case PacketType::connect: {
          ConnackWrite write;
          write.session_present = second_life;
          put_connack(write, version, bytes);
          return bytes;
        }
        case PacketType::subscribe: {
          Subscribe subscribe;
          REQUIRE(parse_subscribe(packet, version, subscribe).ok());
          bytes = {'\x90', static_cast<char>(version == 5 ? 4 : 3),
                   static_cast<char>(subscribe.packet_id >> 8),
                   static_cast<char>(subscribe.packet_id & 0xFF)};
          if (version == 5) bytes += '\0';  // no properties
          return bytes + '\2' + publish(version, second_life);
        }
        case PacketType::pubrec:
          REQUIRE(parse_ack(packet, version, ack).ok());
          CHECK(ack.packet_id == id);
          if (second_life) return pubrel(id, version);
          at_pubrec = stage.inbox->fill();
          loop.stop();  // and no PUBREL: the gateway dies here
          return bytes;
        case PacketType::pubcomp:
          REQUIRE(parse_ack(packet, version, ack).ok());
          completed.push_back(ack.packet_id);
          if (completed.size() == 1) return pubrel(9, version);  // of a message that an earlier life took
          loop.stop();
          return bytes;
        default: return bytes;
      }
    };
    const auto live = [&] {
      MqttInputConfig config;
      config.name = "in";
      config.servers = {broker.url()};
      config.client_id = "qos2";
      config.version = version;
      config.qos = 2;
      MqttDriver driver(loop, stage.rng, *stage.inbox, stage.intake, stage.trust, stage.metrics, config,
                        {"a/#"});
      REQUIRE(driver.start().ok());
      const auto limit = loop.after(10s, [&] { loop.stop(); });
      loop.run();
      bool stopped = false;
      driver.stop([&] {
        stopped = true;
        loop.stop();
      });
      while (!stopped) loop.run();
    };
    live();
    CHECK(at_pubrec > 0);
    second_life = true;
    live();
    CHECK(completed == std::vector<std::uint16_t>{id, 9});
    CHECK(stage.inbox->fill() == at_pubrec);  // nothing came in twice
    CHECK(stage.inbox->duplicates() == 1);
  }
}

}  // namespace mqtt_qos2_test
