// The publishing client against a scripted broker on the loopback: what real brokers cannot be made to do.
#include <doctest/doctest.h>

#include "base/text.h"
#include "loop/uv_loop.h"
#include "mqtt/publish_client.h"
#include "net/reconnect.h"
#include "tests/support/scripted_broker.h"

namespace publish_client_test {
using namespace millrace;
using namespace millrace::mqtt;
using namespace std::chrono_literals;

namespace {

std::string connack(std::uint16_t receive_maximum = 65535, std::uint32_t packet_max = 0,
                    std::optional<std::uint16_t> keep_alive = {}) {
  ConnackWrite write;
  write.receive_maximum = receive_maximum;
  write.packet_max = packet_max;
  write.keep_alive_seconds = keep_alive;
  std::string bytes;
  put_connack(write, 5, bytes);
  return bytes;
}

struct Fixture {
  UvLoop loop;
  ScriptedBroker broker{loop};
  TlsClient tls{loop, {}};
  std::unique_ptr<PublishClient> client;
  std::vector<MqttFault> faults;
  int connected = 0;
  bool hears = false;
  PublishClientOptions options;

  Fixture() { options.connect_timeout = 3s; }
  void connect(const std::string& server) {
    PublishClient::Events events;
    events.connected = [this] {
      ++connected;
      loop.stop();
    };
    events.gone = [this](const MqttFault& fault) {
      faults.push_back(fault);
      client.reset();
      loop.stop();
    };
    if (hears) events.message = [](std::string_view, BytesView) {};
    client = std::make_unique<PublishClient>(loop, tls, server, options, std::move(events));
    run();
  }
  void connect() { connect(broker.url()); }
  // Until somebody stops the loop.
  void run(Duration most = 10s) {
    const auto limit = loop.after(most, [this] { loop.stop(); });
    loop.run();
  }
  void publish(std::size_t size, std::vector<int>& codes, std::size_t until) {
    client->publish("t", std::make_shared<const Bytes>(size), {{"k", "v"}}, "type",
                    [this, &codes, until](int code) {
                      codes.push_back(code);
                      if (codes.size() == until) loop.stop();
                    });
  }
};

std::uint16_t packet_id_of(const Packet& packet) {
  Publish publish;
  UserProperties properties;
  REQUIRE(parse_publish(packet, 5, publish, properties).ok());
  CHECK(publish.qos == 1);
  CHECK(properties.size() == 1);
  return publish.packet_id;
}

std::string puback(std::uint16_t packet_id, std::uint8_t reason = success) {
  std::string bytes;
  put_ack(PacketType::puback, packet_id, reason, 5, bytes);
  return bytes;
}

}  // namespace

TEST_CASE_FIXTURE(Fixture,
                  "publish client: a session where a clean start was asked for is no broker's to have") {
  for (const std::uint8_t version : {4, 5}) {
    options.version = version;
    broker.answer = [&](const Packet&) {
      ConnackWrite write;
      write.session_present = true;
      std::string bytes;
      put_connack(write, version, bytes);
      return bytes;
    };
    connect();
  }
  CHECK(connected == 0);
  REQUIRE(faults.size() == 2);
  for (const MqttFault& fault : faults)
    CHECK(fault.text == "the broker has a session where a clean start was asked for");
}

TEST_CASE_FIXTURE(
    Fixture,
    "publish client: never more in flight than the broker's Receive Maximum, and nothing larger than it takes") {
  std::size_t flying = 0, most = 0;
  std::vector<std::uint16_t> ids;
  broker.piece = 1;  // however the answers are cut
  broker.answer = [&](const Packet& packet) -> std::string {
    if (packet.type == PacketType::connect) return connack(3, 500);
    if (packet.type != PacketType::publish) return "";
    CHECK(packet.body.size() < 500);
    ids.push_back(packet_id_of(packet));
    most = std::max(most, ++flying);
    if (flying < 3 && ids.size() < 20) return "";
    std::string bytes;  // all at once, the last one first
    for (; flying > 0; --flying)
      bytes += puback(ids[ids.size() - 1 - (flying - 1)], ids.size() > 18 ? 0x97 : 0);
    return bytes;
  };
  connect();
  REQUIRE(connected == 1);
  std::vector<int> codes;
  for (int i = 0; i < 20; ++i) publish(10, codes, 21);
  publish(1000, codes, 21);
  CHECK(codes.empty());  // never inside publish()
  run();
  CHECK(codes.size() == 21);
  CHECK(most == 3);
  CHECK(std::count(codes.begin(), codes.end(), 149) == 1);
  CHECK(std::count(codes.begin(), codes.end(), 0) == 18);
  CHECK(std::count(codes.begin(), codes.end(), 0x97) == 2);
  CHECK(faults.empty());
}

TEST_CASE_FIXTURE(
    Fixture,
    "publish client: keep-alive pings a silent link, takes the server's figure, and a ping without an answer ends it") {
  bool answering = true;
  int pings = 0;
  broker.answer = [&](const Packet& packet) -> std::string {
    if (packet.type == PacketType::connect) return connack(10, 0, 1);
    std::string bytes;
    if (packet.type == PacketType::pingreq) {
      ++pings;
      if (answering) put_ping(PacketType::pingresp, bytes);
    }
    return bytes;
  };
  connect();
  REQUIRE(connected == 1);
  run(2600ms);
  CHECK(pings >= 2);
  CHECK(faults.empty());
  answering = false;
  run(5s);
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].text == "connection lost: no answer to a ping");
  CHECK_FALSE(faults[0].needs_person);
}

TEST_CASE_FIXTURE(
    Fixture,
    "publish client: what a broker has seen is what lies before a ping or a publish that it answered") {
  bool pings = false;
  std::vector<std::uint16_t> ids;
  broker.answer = [&](const Packet& packet) -> std::string {
    if (packet.type == PacketType::connect) return connack();
    std::string bytes;
    if (packet.type == PacketType::pingreq && pings) put_ping(PacketType::pingresp, bytes);
    if (packet.type == PacketType::publish) ids.push_back(packet_id_of(packet));
    if (packet.type == PacketType::publish && ids.size() == 3) bytes = puback(ids.back());
    return bytes;
  };
  connect();
  REQUIRE(connected == 1);
  std::vector<int> codes;
  publish(10, codes, 3);
  const std::uint64_t first = client->written();
  client->ping({});
  run(200ms);
  CHECK(client->seen() < first);
  publish(10, codes, 3);
  const std::uint64_t second = client->written();
  CHECK(second > first);
  pings = true;
  client->ping({});
  run(200ms);
  // It answered the first ping never, so the answer counts for that one.
  CHECK(client->seen() == first);
  publish(10, codes, 3);
  run(200ms);
  CHECK(codes == std::vector<int>{0});
  CHECK(client->seen() > second);
}

TEST_CASE_FIXTURE(Fixture, "publish client: leaving says DISCONNECT") {
  broker.answer = [&](const Packet& packet) {
    return packet.type == PacketType::connect ? connack() : std::string();
  };
  connect();
  REQUIRE(connected == 1);
  client.reset();
  run(300ms);
  CHECK(broker.heard == std::vector<PacketType>{PacketType::connect, PacketType::disconnect});
  CHECK(broker.closed);
}

// Section 3.2.2.3.9: words of explanation are left out where they would make the packet larger than that.
TEST_CASE(
    "publish client: a broker of MQTT 5 is told how large a packet is taken, and a larger one is told as what it is") {
  for (const std::uint8_t version : {std::uint8_t{5}, std::uint8_t{4}}) {
    Fixture f;
    f.options.version = version;
    std::uint32_t said = 0;
    f.broker.answer = [&](const Packet& packet) {
      Connect connect;
      CHECK(parse_connect(packet, connect).ok());
      said = connect.packet_max;
      // A CONNACK with a reason string of 65,535 bytes.
      return std::string("\x20\x87\x80\x04\0\0\x82\x80\x04\x1f\xff\xff", 12) + std::string(65535, 'r');
    };
    f.connect();
    CHECK(said == (version == 5 ? 65536 : UINT32_MAX));
    REQUIRE(f.faults.size() == 1);
    CHECK(f.faults[0].text == "the broker sent a packet of more than 65536 bytes");
  }
}

TEST_CASE("publish client: what a broker can answer to CONNECT, and who must act") {
  struct Case {
    std::string answer;
    std::uint8_t version;
    const char* text;
    bool needs_person;
  };
  const auto refused5 = [](std::uint8_t reason) {
    ConnackWrite write;
    write.reason = reason;
    std::string bytes;
    put_connack(write, 5, bytes);
    return bytes;
  };
  std::string ping;
  put_ping(PacketType::pingresp, ping);
  const Case cases[] = {
      {refused5(not_authorized), 5, "not authorised", true},
      {refused5(server_busy), 5, "server busy", false},
      {std::string("\x20\x02\x00\x05", 4), 4, "not authorised", true},
      {std::string("\x20\x02\x00\x03", 4), 4, "server unavailable", false},
      {std::string("\x20\x02\x00\x01", 4), 5,
       "the broker speaks MQTT 3.1.1 only (it answers MQTT 5 with code 1 of 3.1.1): set version = \"3.1.1\"",
       true},
      {std::string("\x20\x02\x00\x00", 4), 5,
       "the broker speaks MQTT 3.1.1 only (it answers MQTT 5 with code 0 of 3.1.1): set version = \"3.1.1\"",
       true},
      {std::string("\x20\x02\x00\x87", 4), 5, "not authorised", true},
      {std::string("\x20\x02\x00\x01", 4), 4, "the broker does not speak MQTT 3.1.1: set version = \"5\"",
       true},
      {std::string("\x20\x05\x00\x00\x02\x24\x00", 7), 5, "the broker takes QoS 0 only, which is no promise",
       true},
      {ping, 5, "the broker answered CONNECT with something else", false},
      {std::string("\x20\x01\x00", 3), 5, "the broker's CONNACK is malformed: CONNACK is cut off", false},
      {std::string("\x20\x02\x02\x00", 4), 4, "the broker's CONNACK is malformed: reserved flags", false},
      {std::string("\x20\x06\x00\x00\x03\x21\x00\x00", 8), 5,
       "the broker's CONNACK is malformed: a maximum of 0", false},
      {std::string("\x20\xff\xff\xff\xff\xff", 6), 5, "the broker sent what is not MQTT", false},
      {"HTTP/1.1 400 Bad Request\r\n\r\n", 5, nullptr, false},
      {"", 5, "cannot connect: no CONNACK in time", false},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    Fixture f;
    f.options.version = c.version;
    f.options.connect_timeout = 500ms;
    f.broker.answer = [&](const Packet&) { return c.answer; };
    f.connect();
    CHECK(f.connected == 0);
    REQUIRE(f.faults.size() == 1);
    if (c.text) CHECK(f.faults[0].text == c.text);
    CHECK(f.faults[0].needs_person == c.needs_person);
  }
}

TEST_CASE("publish client: of an answer that is none it is told what is wrong with it") {
  struct Case {
    std::string answer;
    const char* text;
  };
  const Case cases[] = {
      {std::string("\x40\x01\x01", 3), "PUBACK is malformed: an acknowledgement is cut off"},
      {std::string("\x41\x02\x00\x01", 4), "PUBACK is malformed: reserved flags"},
      {std::string("\x90\x03\x00\x01\x00", 5), "SUBACK is malformed: it does not answer one topic filter"},
      {std::string("\x90\x04\x00\x01\x00\x33", 6), "SUBACK is malformed: a reason code that is none"},
      {std::string("\x36\x03\x00\x01t", 5), "PUBLISH is malformed: PUBLISH of QoS 3"},
      {std::string("\x34\x06\x00\x01t\x00\x01\x00", 8), "PUBLISH has QoS 2, which nobody asked for"},
      {std::string("\xe1\x00", 2), "DISCONNECT is malformed: reserved flags"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    Fixture f;
    f.hears = true;
    f.broker.answer = [&](const Packet& packet) {
      return packet.type == PacketType::connect ? connack() : c.answer;
    };
    f.connect();
    REQUIRE(f.connected == 1);
    std::vector<int> codes;
    f.publish(10, codes, 1);
    f.run();
    REQUIRE(f.faults.size() == 1);
    CHECK(f.faults[0].text == text("the broker's ", c.text));
  }
}

TEST_CASE_FIXTURE(Fixture, "publish client: a broker that disconnects says why") {
  broker.answer = [&](const Packet& packet) -> std::string {
    if (packet.type == PacketType::connect) return connack();
    std::string bytes;
    put_disconnect(shutting_down, 5, bytes);
    return bytes;
  };
  connect();
  std::vector<int> codes;
  publish(10, codes, 1);
  run();
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].text == "server shutting down");
  CHECK(codes.empty());
}

TEST_CASE_FIXTURE(
    Fixture,
    "publish client: another one with our client id is named, and a person must act; a plain end is a hang-up") {
  options.client_id = "gw-up";
  broker.answer = [&](const Packet& packet) -> std::string {
    if (packet.type == PacketType::connect) return connack();
    std::string bytes;
    put_disconnect(taken_over, 5, bytes);
    return bytes;
  };
  connect();
  std::vector<int> codes;
  publish(10, codes, 1);
  run();
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].text.starts_with("another client uses the client id \"gw-up\""));
  CHECK(faults[0].needs_person);
  CHECK(faults[0].hung_up);
}

TEST_CASE_FIXTURE(Fixture,
                  "dial: a name without an address, a port without a server, a server that speaks no TLS") {
  connect("mqtt://no.such.host.invalid");
  connect("mqtt://127.0.0.1:1");
  broker.answer = [&](const Packet&) { return std::string(); };
  std::unique_ptr<Stream> deaf;
  auto listener = loop.listen("127.0.0.1:0", [&](std::unique_ptr<Stream> accepted) {
    deaf = std::move(accepted);
    deaf->read([&](BytesView chunk) {
      if (!chunk.empty()) deaf->write("220 mail.example ESMTP\r\n");
    });
  });
  REQUIRE(listener.ok());
  connect(text("mqtts://127.0.0.1:", listener.value()->port()));
  REQUIRE(faults.size() == 3);
  CHECK(faults[0].text.starts_with("cannot connect: cannot resolve no.such.host.invalid: "));
  CHECK(faults[1].text == "cannot connect: connect to 127.0.0.1:1: connection refused");
  CHECK(faults[2].text.starts_with("TLS: "));
}

TEST_CASE("reconnect: servers in order, a wait between, and back to the first after a while") {
  UvLoop loop;
  Rng rng(1);
  std::vector<std::string> tried;
  Reconnect* self = nullptr;
  Reconnect reconnect(
      loop, rng, {{"a", "b"}, 5ms, 10ms, 50ms},
      [&](const std::string& server) {
        tried.push_back(server);
        if (tried.size() == 5) return loop.stop();
        if (server == "b") self->up();
        else loop.post([&] { self->gone(); });
      },
      [&] { self->gone(); });
  self = &reconnect;
  reconnect.start();
  const auto limit = loop.after(5s, [&] { loop.stop(); });
  loop.run();
  CHECK(tried == std::vector<std::string>{"a", "b", "a", "b", "a"});
}

}  // namespace publish_client_test
