// The door before Paho: who gets in, what passes, and what a broker can do to whoever stands behind it. Paho
// is played by a bare connection here; that the two work together is told in mqtt_input.cpp.
#include "mqtt/door.h"
#include "tests/support/scripted_broker.h"

namespace mqtt_door_test {
using namespace millrace;
using namespace millrace::mqtt;
using namespace std::chrono_literals;

namespace {

std::string connect_of(const std::string& username, std::uint8_t version = 5) {
  ConnectWrite write;
  write.version = version;
  write.client_id = "door";
  write.session_expiry_seconds = version == 5 ? 60 : 0;
  write.username = username;
  std::string bytes;
  put_connect(write, bytes);
  return bytes;
}
std::string connack(std::uint8_t version = 5) {
  std::string bytes;
  put_connack({}, version, bytes);
  return bytes;
}
std::string publish(std::string_view topic, std::string_view payload, std::uint8_t qos = 1,
                    std::uint16_t id = 7, std::uint8_t version = 5) {
  PublishWrite write;
  write.topic = topic;
  write.payload = bytes_of(payload);
  write.packet_id = id;
  write.qos = qos;
  std::string bytes;
  put_publish(write, version, bytes);
  return bytes;
}

// A connection of this machine to a port on the loopback, and what it hears.
struct Caller {
  Caller(UvLoop& loop, std::uint16_t port) {
    auto made = loop.connect(text("127.0.0.1:", port), [this](Status status) {
      connected = status.ok();
      if (!connected) return;
      if (listens) listen();
      if (!says.empty()) stream->write(says);
    });
    REQUIRE(made.ok());
    stream = std::move(made).value();
  }
  void listen() {
    stream->read([this](BytesView chunk) {
      if (chunk.empty()) closed = true;
      else heard += text_of(chunk);
    });
  }

  std::unique_ptr<Stream> stream;
  std::string says, heard;
  bool connected = false, closed = false, listens = true;
};

struct Fixture {
  UvLoop loop;
  TlsClient tls{loop, {}};
  ScriptedBroker broker{loop};
  std::string asked;  // the broker's view of CONNECT
  DoorOptions options;
  std::vector<MqttFault> faults;
  int malformed = 0;
  std::uint16_t port = 0;
  std::string token;
  std::unique_ptr<Door> door;

  Fixture() {
    options.connect_timeout = 3s;
    options.head_bytes = 4096;
    broker.answer = [this](const Packet& packet) {
      if (packet.type == PacketType::connect) asked = std::string(text_of(packet.body));
      return packet.type == PacketType::connect ? connack(options.version) : std::string();
    };
  }
  void open(const std::string& server) {
    Door::Events events;
    events.open = [this](std::uint16_t p, const std::string& t) {
      port = p;
      token = t;
    };
    events.gone = [this](const MqttFault& fault) { faults.push_back(fault); };
    events.malformed = [this] { ++malformed; };
    door = std::make_unique<Door>(loop, tls, server, options, std::move(events));
    run_until([&] { return port != 0 || !faults.empty(); });
  }
  void open() { open(broker.url()); }
  std::unique_ptr<Caller> call(std::string says, bool listens = true) {
    auto caller = std::make_unique<Caller>(loop, port);
    caller->says = std::move(says);
    caller->listens = listens;
    return caller;
  }
  // Ours, and taken by the broker.
  std::unique_ptr<Caller> paho() {
    open();
    REQUIRE(port != 0);
    auto caller = call(connect_of(token, options.version));
    REQUIRE(run_until([&] { return caller->heard == connack(options.version); }));
    caller->heard.clear();
    return caller;
  }
  template <typename Done>
  bool run_until(Done done, Duration limit = 10s) {
    const Instant start = loop.now();
    while (loop.now() - start < limit) {
      if (done()) return true;
      const auto look = loop.after(1ms, [this] { loop.stop(); });
      loop.run();
    }
    return done();
  }
};

std::string mark_and_size(const Door& door, std::uint64_t size) {
  std::string tail = door.mark();
  for (int shift = 56; shift >= 0; shift -= 8) tail += static_cast<char>(size >> shift & 0xFF);
  return tail;
}

}  // namespace

TEST_CASE("mqtt door: lets in who shows the token, whoever came first, and gives the broker the true name") {
  Fixture f;
  f.options.username = "plant";
  f.open();
  REQUIRE(f.port != 0);
  std::vector<std::unique_ptr<Caller>> silent;
  for (int i = 0; i < 40; ++i) silent.push_back(f.call(""));
  const auto stranger = f.call(connect_of("0123456789abcdef0123456789abcdef")),
             garbage = f.call("GET / HTTP/1.1\r\n\r\n");
  const auto nameless = f.call(connect_of(""));
  CHECK(f.run_until([&] { return stranger->closed && garbage->closed && nameless->closed; }));
  CHECK(!f.door->asked());
  const auto late_stranger = f.call("");
  CHECK(f.run_until([&] { return late_stranger->connected; }));
  const auto ours = f.call(connect_of(f.token));
  CHECK(f.run_until([&] { return ours->heard == connack(); }));
  // Everybody else is sent away, and the port is shut.
  CHECK(f.run_until([&] { return late_stranger->closed && silent.back()->closed; }));
  for (const auto& caller : silent) CHECK(caller->heard.empty());
  Caller next(f.loop, f.port);
  f.run_until([] { return false; }, 50ms);
  CHECK(!next.connected);
  CHECK(f.broker.heard == std::vector<PacketType>{PacketType::connect});
  CHECK(f.asked.find(f.token) == std::string::npos);
  const std::string body = connect_of("plant").substr(2);
  CHECK(f.asked == body);
}

TEST_CASE("mqtt door: packets pass as they are, cut at every byte, in both directions") {
  for (const std::uint8_t version : {std::uint8_t{5}, std::uint8_t{4}}) {
    Fixture f;
    f.options.version = version;
    const auto paho = f.paho();
    std::string all;
    for (std::uint16_t i = 1; i <= 50; ++i)
      all += publish(text("a/", i), std::string(i * 7u, 'x'), i % 3, i, version);
    put_ack(PacketType::pubrel, 9, success, version, all);
    put_ping(PacketType::pingresp, all);
    f.broker.piece = 1;
    f.broker.say(all);
    CHECK(f.run_until([&] { return paho->heard.size() >= all.size(); }));
    CHECK(paho->heard == all);
    std::string acks;
    for (std::uint16_t i = 1; i <= 500; ++i) put_ack(PacketType::puback, i, success, version, acks);
    for (std::size_t at = 0; at < acks.size(); at += 3) paho->stream->write(acks.substr(at, 3));
    CHECK(f.run_until([&] { return f.broker.heard.size() == 501; }));
    CHECK(f.faults.empty());
  }
}

TEST_CASE("mqtt door: what came before a fault is read and acknowledged, then the fault is told") {
  Fixture f;
  const auto paho = f.paho();
  const std::string good = publish("a/1", "1", 1, 1), bad = publish("a/#", "2", 1, 2);
  f.broker.say(good + bad + publish("a/3", "3", 1, 3));
  CHECK(f.run_until([&] { return paho->closed; }));
  CHECK(paho->heard == good);
  CHECK(f.malformed == 1);
  CHECK(f.faults.empty());  // Paho is still there
  std::string ack;
  put_ack(PacketType::puback, 1, success, 5, ack);
  paho->stream->write(ack);
  paho->stream.reset();
  CHECK(f.run_until([&] { return !f.faults.empty(); }));
  CHECK(f.faults.at(0).text == "the broker sent a PUBLISH that is none: a topic that is none to publish to");
  CHECK(f.faults.at(0).reason_code == malformed_packet);
  // The good one's acknowledgement, the bad one's (or a session would bring it for ever), and why we go.
  using enum PacketType;
  CHECK(f.run_until([&] {
    return f.broker.heard == std::vector<PacketType>{connect, puback, puback, disconnect};
  }));
  bool closed = false;
  f.door->close([&] { closed = true; });
  CHECK(!closed);
  CHECK(f.run_until([&] { return closed && f.broker.closed; }));
}

TEST_CASE("mqtt door: brokers that lie about lengths, speak another version, or are none") {
  struct Case {
    std::uint8_t version;
    std::string bytes;
    const char* words;
    bool person = false;
  };
  const auto raw = [](const char* bytes, std::size_t size) { return std::string(bytes, size); };
  const Case cases[] = {
      {5, raw("\x20\2\0\1", 4), "version = \"3.1.1\"", true},
      {5, raw("\x20\2\0\0", 4), "version = \"3.1.1\"", true},
      {5, raw("\x20\x05\0\0\x7F\x21\0", 7), "the length of the properties is wrong"},
      {5,
       raw("\x20\x07\0\0\4\x1F\xFF\xFF"
           "a",
           9),
       "a property is cut off"},
      {5, raw("\x20\3\0\x87\0", 5), "not authorised", true},
      {4, raw("\x20\2\0\5", 4), "not authorised", true},
      {4, raw("\x20\3\0\0\0", 5), "a CONNACK that is none"},
      {5, "HTTP/1.1 400 Bad Request\r\n\r\n", "answered CONNECT with something else"},
      {5, raw("\x20\xFF\xFF\xFF\xFF\x01", 6), "a malformed packet"},
      {5, raw("\x20\xFF\xFF\xFF\x7F\x01", 6), "a malformed packet"},
      {5, connack() + raw("\x40\x06\0\1\x80\x10\x1F\xFF", 8), "a malformed packet"},
      {5, connack() + raw("\x90\x06\0\1\x70\x1F\xFF\0", 8), "a malformed packet"},
      {5, connack() + raw("\x90\x05\0\1\0\1\1", 7), "it does not answer one topic filter"},
      {5, connack() + raw("\xE0\x05\x81\x7F\x1F\xFF\xFF", 7), "a DISCONNECT that is none"},
      {5, connack() + connack(), "a packet of another kind"},
      {4, connack(4) + raw("\xE0\0", 2), "a packet of another kind"},
      {5, connack() + raw("\x40\xFF\xFF\xFF\x7F", 5), "no such packet is this large"},
  };
  for (const Case& c : cases) {
    Fixture f;
    CAPTURE(c.words);
    f.options.version = c.version;
    f.broker.answer = [&](const Packet& packet) {
      return packet.type == PacketType::connect ? c.bytes : std::string();
    };
    f.open();
    const auto paho = f.call(connect_of(f.token, c.version));
    CHECK(f.run_until([&] { return paho->closed; }));
    paho->stream.reset();
    REQUIRE(f.run_until([&] { return !f.faults.empty(); }));
    CHECK_MESSAGE(f.faults[0].text.find(c.words) != std::string::npos, f.faults[0].text);
    CHECK(f.faults[0].needs_person == c.person);
    CHECK((paho->heard.empty() || paho->heard == connack(c.version)));
    CHECK(f.faults.size() == 1);
  }
}

TEST_CASE("mqtt door: a message that is too large leaves its head, a mark and its size, at each QoS") {
  Fixture f;
  f.options.packet_max = 128 << 10;
  const auto paho = f.paho();
  const std::size_t size = std::size_t{3} << 20;
  for (const std::uint8_t qos : {std::uint8_t{0}, std::uint8_t{1}, std::uint8_t{2}}) {
    CAPTURE(static_cast<int>(qos));
    paho->heard.clear();
    const std::string after = publish("a/after", "1", qos, 8);
    f.broker.say(publish("a/large", std::string(size, 'x'), qos, 7) + after);
    const std::string expected =
        publish("a/large", std::string(4096, 'x') + mark_and_size(*f.door, size), qos, 7) + after;
    CHECK(f.run_until([&] { return paho->heard.size() >= expected.size(); }));
    CHECK(paho->heard == expected);
  }
  CHECK(f.faults.empty());
}

TEST_CASE("mqtt door: who reads slowly pushes back on the broker, and misses nothing") {
  Fixture f;
  f.open();
  const auto paho = f.call(connect_of(f.token), false);
  REQUIRE(f.run_until([&] { return f.broker.heard.size() == 1; }));
  const std::string one = publish("a/x", std::string(50'000, 'x'), 0);
  constexpr int count = 1200;  // 60 MB: more than the kernel's buffers take on the way
  for (int i = 0; i < count; ++i) f.broker.say(one);
  std::size_t before = SIZE_MAX;
  CHECK(f.run_until([&] {
    const std::size_t left = f.broker.stream->pending_bytes();
    const bool still = left == std::exchange(before, left);
    f.run_until([] { return false; }, 50ms);
    return still && left == f.broker.stream->pending_bytes();
  }));
  CHECK(f.broker.stream->pending_bytes() > std::size_t{20} << 20);  // it waits with the broker, not with us
  paho->listen();
  CHECK(f.run_until([&] { return paho->heard.size() >= connack().size() + count * one.size(); }, 30s));
  CHECK(paho->heard.size() == connack().size() + count * one.size());
  CHECK(f.faults.empty());
}

TEST_CASE("mqtt door: a broker that goes is told in words") {
  Fixture f;
  SUBCASE("nobody there") {
    f.open("mqtt://127.0.0.1:1");
    REQUIRE(f.faults.size() == 1);
    CHECK(f.faults[0].text == "cannot connect: connect to 127.0.0.1:1: connection refused");
  }
  SUBCASE("no such name") {
    f.open("mqtt://no-such-host.invalid");
    REQUIRE(f.faults.size() == 1);
    CHECK(f.faults[0].text.find("cannot resolve no-such-host.invalid") != std::string::npos);
  }
  SUBCASE("before a CONNACK") {
    f.broker.answer = [](const Packet&) { return std::string(); };
    f.open();
    const auto paho = f.call(connect_of(f.token));
    REQUIRE(f.run_until([&] { return f.broker.heard.size() == 1; }));
    f.broker.stream.reset();
    CHECK(f.run_until([&] { return paho->closed; }));
    paho->stream.reset();
    CHECK(f.run_until([&] { return f.faults.size() == 1; }));
    CHECK(f.faults.at(0).text == "cannot connect: the connection was closed before a CONNACK");
  }
  SUBCASE("before Paho has come") {
    f.open();
    f.broker.stream.reset();
    CHECK(f.run_until([&] { return f.faults.size() == 1; }));
    CHECK(f.faults.at(0).text == "cannot connect: the connection was closed before a CONNACK");
  }
  SUBCASE("after a last message") {
    const auto paho = f.paho();
    const std::string last = publish("a/last", "1", 0);
    f.broker.say(last + std::string("\xE0\1\x8B", 3));
    CHECK(f.run_until([&] { return paho->closed; }));
    CHECK(paho->heard == last);
    paho->stream.reset();
    CHECK(f.run_until([&] { return f.faults.size() == 1; }));
    CHECK(f.faults.at(0).text == "the broker disconnected us: server shutting down");
  }
  SUBCASE("and Paho stays: it is told all the same") {
    const auto paho = f.paho();
    f.broker.stream.reset();
    CHECK(f.run_until([&] { return f.faults.size() == 1; }));
    CHECK(f.faults.at(0).text == "connection lost");
  }
}

}  // namespace mqtt_door_test
