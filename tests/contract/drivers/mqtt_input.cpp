// The MQTT input and brokers that are busy, strict, hostile or broken. Two inputs live beside each other in
// every story: what is done to one must not reach the other.
#include <malloc.h>

#include <deque>
#include <map>

#include "drivers/mqtt/mqtt_driver.h"
#include "tests/support/driver_stage.h"
#include "tests/support/scripted_broker.h"

// Of a sanitizer's allocator, where one is linked in: mallinfo2() knows nothing of that.
extern "C" [[gnu::weak]] std::size_t __sanitizer_get_current_allocated_bytes();

namespace mqtt_input_test {
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
std::string publish(std::uint8_t version, std::string_view topic, std::string_view payload,
                    std::uint8_t qos = 1, std::uint16_t id = 7) {
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
    case PacketType::unsubscribe: {
      Subscribe unsubscribe;
      REQUIRE(parse_subscribe(packet, version, unsubscribe).ok());
      put_suback(PacketType::unsuback, unsubscribe.packet_id, std::string(1, '\0'), version, bytes);
      return bytes;
    }
    case PacketType::pubrec:
      if (!parse_ack(packet, version, ack).ok()) return bytes;  // of what we sent with identifier 0
      put_ack(PacketType::pubrel, ack.packet_id, success, version, bytes);
      return bytes;
    case PacketType::pingreq: put_ping(PacketType::pingresp, bytes); return bytes;
    default: return bytes;
  }
}

template <std::size_t N>
std::string raw(const char (&bytes)[N]) {
  return std::string(bytes, N - 1);
}

// What the program holds of the heap.
std::size_t allocated_bytes() {
  return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
                                                 : mallinfo2().uordblks;
}

struct Site : DriverStage {
  Site() : DriverStage(1 << 18) {}
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
  double up(const std::string& input) {
    return metrics.gauge("millrace_input_up", "", {{"input", input}}).value();
  }
};

struct Input {
  Input(Site& s, std::string name, std::uint8_t version, std::vector<std::string> filters = {"a/#", "b/#"})
      : site(s), broker(s.loop) {
    broker.answer = [version](const Packet& packet) { return good_answer(version, packet); };
    config.name = std::move(name);
    config.servers = {broker.url()};
    config.client_id = config.name;
    config.version = version;
    config.qos = 1;
    config.persistent_session = false;
    config.connect_timeout = 3s;
    config.keep_alive = 1s;
    config.reconnect_min = 5ms;
    config.reconnect_max = 20ms;
    filters_ = std::move(filters);
  }
  ~Input() { stop(); }
  MqttDriver& start() {
    driver = std::make_unique<MqttDriver>(site.loop, site.rng, *site.inbox, site.intake, site.trust,
                                          site.metrics, config, filters_);
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
    five.broker.say(
        publish(5, text("plant/line", i, "/d/telemetry"), "5", 1, static_cast<std::uint16_t>(i + 1)));
    three.broker.say(
        publish(4, text("plant/line", i, "/d/telemetry"), "3", 1, static_cast<std::uint16_t>(i + 1)));
  }
  std::vector<std::string> taken;
  CHECK(site.run_until([&] {
    for (auto& one : site.taken()) taken.push_back(std::move(one));
    return taken.size() == 4;
  }));
  std::sort(taken.begin(), taken.end());
  CHECK(taken == std::vector<std::string>{"five plant/line0/d/telemetry 5", "five plant/line39/d/telemetry 5",
                                          "three plant/line0/d/telemetry 3",
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
      {std::string("\xE0\x0C\x9D\x0A\x1C\x00\x07"
                   "b.local",
                   14),
       "the server has moved; it names \"b.local\""},
      {std::string("\xE0\x0A\x82\x08\x1F\x00\x05"
                   "a\nb #",
                   12),
       "protocol error, \"a b #\""},
      {std::string("\xE0\x01\xA2", 3), "wildcards in subscriptions are not supported"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.words);
    const auto connects = [&] {
      return std::count(input.broker.heard.begin(), input.broker.heard.end(), PacketType::connect);
    };
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

// A strict broker hangs up on no-local with a shared subscription ([MQTT-3.8.3-4]), as parse_subscribe does.
TEST_CASE(
    "mqtt input: a shared subscription is asked for as the standard wants it, its neighbour without our own") {
  Site site;
  Input five(site, "five", 5, {"$share/g/a/#", "b/#"}), three(site, "three", 4, {"b/#", "$share/g/a/#"});
  std::map<std::string, bool> no_local;
  five.broker.answer = [&](const Packet& packet) {
    if (packet.type != PacketType::subscribe) return good_answer(5, packet);
    Subscribe subscribe;
    if (!parse_subscribe(packet, 5, subscribe).ok()) return raw("\xe0\x01\x82");  // protocol error
    no_local[std::string(subscribe.filters.at(0))] = (packet.body.back() & std::byte{4}) != std::byte{0};
    return suback(5, subscribe.packet_id, "\1");
  };
  for (Input* input : {&five, &three}) input->start();
  CHECK(site.run_until([&] { return five.driver->healthy() && three.driver->healthy(); }));
  CHECK(no_local == std::map<std::string, bool>{{"$share/g/a/#", false}, {"b/#", true}});
}

TEST_CASE("mqtt input: what is refused for ever, and asked for again and again, takes no memory") {
  Site site;
  std::vector<std::string> many{"granted/#"};
  for (int i = 0; i < 200; ++i) many.push_back(text("refused/", i, "/#"));
  Input neighbour(site, "neighbour", 5), input(site, "refused", 5, many);
  std::size_t asked = 0;
  input.broker.answer = [&](const Packet& packet) {
    if (packet.type != PacketType::subscribe) return good_answer(5, packet);
    ++asked;
    Subscribe subscribe;
    REQUIRE(parse_subscribe(packet, 5, subscribe).ok());
    return suback(5, subscribe.packet_id, subscribe.filters.at(0) == "granted/#" ? "\1" : "\x87");
  };
  for (Input* one : {&neighbour, &input}) one->start();
  const auto after = [&](std::size_t requests) {
    CHECK(site.run_until([&] { return asked >= requests; }));
    return allocated_bytes();
  };
  const std::size_t settled = after(2001);
  CHECK(after(6001) < settled + (128 << 10));  // 4,000 requests, each of which would leave some hundred bytes
  CHECK(site.run_until([&] { return neighbour.driver->healthy(); }));
}

namespace {

// What a hostile or broken broker says, once: in place of its CONNACK, of its first SUBACK, or after it has
// granted everything. Every later connection finds it good.
struct Hostile {
  enum When : std::uint8_t { connack, suback, publish } when;
  std::uint8_t version;
  const char* name;
  std::string bytes;
  bool ends = true;        // whether the connection must end
  bool malformed = false;  // whether it is a PUBLISH that must be counted
};

// A PUBLISH of bytes that put_publish() would not write.
std::string bad_publish(std::uint8_t version, std::uint8_t first, std::string_view topic, std::string_view id,
                        std::string_view properties = {}) {
  std::string body{'\0', static_cast<char>(topic.size())};
  body += topic;
  body += id;
  if (version == 5) body += text(static_cast<char>(properties.size()), properties);
  body += "9";
  return text(static_cast<char>(first), static_cast<char>(body.size()), body);
}

std::vector<Hostile> hostile_cases() {
  std::vector<Hostile> cases;
  for (const std::uint8_t version : {std::uint8_t{4}, std::uint8_t{5}}) {
    const auto add = [&](const char* name, std::string bytes) {
      cases.push_back({Hostile::publish, version, name, std::move(bytes), true, true});
    };
    const std::string seven = raw("\0\7");
    for (const std::uint8_t first : {std::uint8_t{0x30}, std::uint8_t{0x32}, std::uint8_t{0x34}}) {
      const std::string id = first == 0x30 ? "" : seven;
      add("NUL in the topic", bad_publish(version, first, raw("a/\0x"), id));
      add("+ in the topic", bad_publish(version, first, "a/+", id));
      add("# in the topic", bad_publish(version, first, "#", id));
      add("a topic that is not UTF-8", bad_publish(version, first, "a/\xC3", id));
      add("a surrogate in the topic", bad_publish(version, first, "a/\xED\xA0\x80", id));
      add("no topic", bad_publish(version, first, "", id));
    }
    add("identifier 0", bad_publish(version, 0x32, "a/x", raw("\0\0")));
    add("identifier 0 at QoS 2", bad_publish(version, 0x34, "a/x", raw("\0\0")));
    add("a duplicate of QoS 0", bad_publish(version, 0x38, "a/x", ""));
  }
  const auto property = [&](const char* name, std::uint8_t first, std::string_view topic,
                            std::string_view bytes) {
    cases.push_back({Hostile::publish, 5, name,
                     bad_publish(5, first, topic, first == 0x30 ? "" : raw("\0\7"), bytes), true, true});
  };
  for (const std::uint8_t first : {std::uint8_t{0x30}, std::uint8_t{0x32}, std::uint8_t{0x34}}) {
    property("a topic alias that nobody announced", first, "a/x", raw("\x23\0\1"));
    property("topic alias 0", first, "a/x", raw("\x23\0\0"));
    property("an alias for no topic", first, "", raw("\x23\0\1"));
    property("a property given twice", first, "a/x", raw("\x03\0\1a\x03\0\1b"));
    property("a property of CONNECT", first, "a/x", raw("\x11\0\0\0\1"));
    property("a wildcard to answer to", first, "a/x", raw("\x08\0\1#"));
    property("payload format 2", first, "a/x", raw("\x01\2"));
    property("a content type that is not UTF-8", first, "a/x", raw("\x03\0\1\xFF"));
    property("a user property that is not UTF-8", first, "a/x", raw("\x26\0\1a\0\1\xFF"));
    property("subscription identifier 0", first, "a/x", raw("\x0B\0"));
  }
  const auto also = [&](Hostile::When when, const char* name, std::string bytes, bool ends,
                        std::initializer_list<int> versions = {4, 5}) {
    for (const int version : versions)
      cases.push_back({when, static_cast<std::uint8_t>(version), name, bytes, ends});
  };
  also(Hostile::publish, "a topic longer than its packet",
       raw("\x30\x04\0\x09"
           "ab"),
       true);
  also(Hostile::publish, "no packet identifier",
       raw("\x32\x03\0\x01"
           "a"),
       true);
  also(Hostile::publish, "a remaining length of five bytes", raw("\x30\xFF\xFF\xFF\xFF\x01"), true);
  also(Hostile::publish, "a PUBLISH that never ends", raw("\x30\xFF\x7F\0\3a/x"), true);
  also(Hostile::publish, "PUBLISH of QoS 3", bad_publish(5, 0x36, "a/x", raw("\0\7")), true, {5});
  also(Hostile::publish, "packet type 0", raw("\0\0"), true);
  also(Hostile::publish, "AUTH", raw("\xF0\0"), true, {5});
  also(Hostile::publish, "a CONNECT", raw("\x10\0"), true);
  also(Hostile::publish, "a SUBSCRIBE", raw("\x82\x06\0\1\0\1a\0"), true);
  also(Hostile::publish, "a second CONNACK", connack(5), true, {5});
  also(Hostile::publish, "a second CONNACK", connack(4), true, {4});
  also(Hostile::publish, "PUBACK for nothing", raw("\x40\2\0\x63"), false);
  also(Hostile::publish, "PUBACK cut off", raw("\x40\1\0"), true);
  also(Hostile::publish, "PUBREC for nothing", raw("\x50\2\0\x63"), false);
  also(Hostile::publish, "PUBREL for nothing", raw("\x62\2\0\x63"), false);
  also(Hostile::publish, "PUBCOMP for nothing", raw("\x70\2\0\x63"), false);
  also(Hostile::publish, "SUBACK for nothing", suback(5, 99, "\1"), false, {5});
  also(Hostile::publish, "SUBACK cut off", raw("\x90\1\0"), true);
  also(Hostile::publish, "UNSUBACK without a code", raw("\xB0\3\0\x63\0"), true, {5});
  also(Hostile::publish, "PINGRESP unasked", raw("\xD0\0"), false);
  also(Hostile::publish, "DISCONNECT", raw("\xE0\0"), true, {5});
  also(Hostile::publish, "DISCONNECT of a server of 3.1.1", raw("\xE0\0"), true, {4});

  also(Hostile::connack, "nothing", "", true);
  // What a broker of 3.1.1 says to MQTT 5, and lengths that lie: Paho would free and read what is not its
  // own.
  also(Hostile::connack, "the refusal of an old broker", raw("\x20\2\0\1"), true, {5});
  also(Hostile::connack, "the welcome of an old broker", raw("\x20\2\0\0"), true, {5});
  also(Hostile::connack, "properties longer than the packet", raw("\x20\5\0\0\x7F\x21\0"), true, {5});
  also(Hostile::connack, "a text longer than its property",
       raw("\x20\7\0\0\4\x1F\xFF\xFF"
           "a"),
       true, {5});
  also(Hostile::suback, "a text longer than its property", raw("\x90\7\0\1\3\x1F\xFF\xFF\1"), true, {5});
  also(Hostile::publish, "a text longer than its property", raw("\x30\x09\0\3a/x\3\x03\xFF\xFF"), true, {5});
  also(Hostile::connack, "not MQTT", "HTTP/1.1 400 Bad Request\r\n\r\n", true);
  also(Hostile::connack, "half a CONNACK", raw("\x20\1\0"), true);
  also(Hostile::connack, "a refusal", raw("\x20\3\0\x89\0"), true, {5});
  also(Hostile::connack, "a refusal", raw("\x20\2\0\3"), true, {4});
  also(Hostile::connack, "a SUBACK", suback(5, 1, "\1"), true, {5});
  also(Hostile::connack, "a PUBLISH first", publish(5, "a/early", "1", 0) + connack(5), true, {5});
  also(Hostile::connack, "a PUBLISH first", publish(4, "a/early", "1", 1) + connack(4), true, {4});
  also(Hostile::connack, "DISCONNECT", raw("\xE0\1\x89"), true, {5});
  also(Hostile::connack, "a session after a clean start", connack(5, true), true, {5});
  also(Hostile::connack, "a session after a clean start", connack(4, true), true, {4});
  also(Hostile::connack, "receive maximum 0", raw("\x20\6\0\0\3\x21\0\0"), true, {5});
  also(Hostile::connack, "packet size 0", raw("\x20\x08\0\0\5\x27\0\0\0\0"), true, {5});
  also(Hostile::connack, "a property given twice", raw("\x20\x09\0\0\6\x21\0\5\x21\0\5"), true, {5});
  also(Hostile::connack, "a property of PUBLISH", raw("\x20\6\0\0\3\x23\0\1"), true, {5});
  also(Hostile::connack, "maximum QoS 2", raw("\x20\5\0\0\2\x24\2"), true, {5});

  also(Hostile::suback, "nothing", "", true);
  also(Hostile::suback, "for another packet", suback(5, 9999, "\1"), true, {5});
  also(Hostile::suback, "for another packet", suback(4, 9999, "\1"), true, {4});
  also(Hostile::suback, "PINGRESP", raw("\xD0\0"), true);
  return cases;
}

}  // namespace

TEST_CASE(
    "mqtt input: whatever a broker sends, nothing false is taken, and the next good connection is used") {
  Site site;
  const std::vector<Hostile> cases = hostile_cases();
  // All at once, each an input of its own beside one that nobody disturbs.
  Input neighbour(site, "neighbour", 5);
  neighbour.start();
  REQUIRE(site.run_until([&] { return neighbour.driver->healthy(); }));
  struct Played {
    std::unique_ptr<Input> input;
    int connects = 0, granted = 0;
  };
  std::deque<Played> played;
  for (const Hostile& hostile : cases) {
    Played& one = played.emplace_back();
    one.input = std::make_unique<Input>(site, text(played.size()), hostile.version);
    // A good PUBLISH follows the hostile bytes at once: they must not have swallowed it without end.
    const std::string good = publish(hostile.version, "a/good", "1", 0);
    one.input->broker.answer = [&one, &hostile, good](const Packet& packet) {
      const bool first = one.connects == 1;
      if (packet.type == PacketType::connect) {
        one.granted = 0;
        if (++one.connects == 1 && hostile.when == Hostile::connack) return hostile.bytes;
      } else if (packet.type == PacketType::subscribe) {
        if (++one.granted == 1 && first && hostile.when == Hostile::suback) return hostile.bytes;
        if (one.granted == 2)
          return good_answer(hostile.version, packet) +
                 (first && hostile.when == Hostile::publish ? hostile.bytes : "") + good;
      }
      return good_answer(hostile.version, packet);
    };
    one.input->start();
  }
  std::map<std::string, std::vector<std::string>> taken;
  const auto all_well = [&] {
    for (const std::string& arrival : site.taken())
      taken[arrival.substr(0, arrival.find(' '))].push_back(arrival.substr(arrival.find(' ') + 1));
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Played& one = played[i];
      if (!one.input->driver->healthy() || !taken.contains(one.input->config.name) ||
          (cases[i].ends && one.connects < 2))
        return false;
    }
    return true;
  };
  CHECK(site.run_until(all_well, 90s));
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Played& one = played[i];
    CAPTURE(cases[i].name);
    CAPTURE(static_cast<int>(cases[i].when));
    CAPTURE(static_cast<int>(cases[i].version));
    CHECK_MESSAGE(one.input->driver->healthy(), one.input->health());
    CHECK(!taken[one.input->config.name].empty());
    for (const std::string& arrival : taken[one.input->config.name]) CHECK(arrival == "a/good 1");
    if (cases[i].ends) CHECK(one.connects >= 2);
    const auto malformed =
        site.metrics.counter("millrace_mqtt_input_malformed_total", "", {{"input", one.input->config.name}})
            .value();
    if (cases[i].malformed) CHECK(malformed == 1);
  }
  CHECK(std::count(neighbour.broker.heard.begin(), neighbour.broker.heard.end(), PacketType::connect) == 1);
  for (Played& one : played) one.input->stop();
}

TEST_CASE("mqtt input: a broker that keeps the session for less time than it was asked for is told of") {
  Site site;
  Input input(site, "in", 5);
  input.config.persistent_session = true;
  input.config.session_expiry = 24h;
  std::uint32_t kept_seconds = 0;
  input.broker.answer = [&](const Packet& packet) {
    if (packet.type != PacketType::connect) return good_answer(5, packet);
    ConnackWrite write;
    write.say_session_expiry = true;
    write.session_expiry_seconds = kept_seconds;
    std::string bytes;
    put_connack(write, 5, bytes);
    return bytes;
  };
  std::string hang_up;
  put_disconnect(shutting_down, 5, hang_up);
  input.start();
  for (const auto& [seconds, words] : std::initializer_list<std::pair<std::uint32_t, std::string>>{
           {0, "no longer than we are connected, not for the 24.0h"},
           {600, "for 10.0min of absence only, not for the 24.0h"},
           {86400, ""},
           {UINT32_MAX, ""}}) {
    kept_seconds = seconds;
    CAPTURE(kept_seconds);
    const auto connects = [&] {
      return std::count(input.broker.heard.begin(), input.broker.heard.end(), PacketType::connect);
    };
    const auto before = connects();
    if (before > 0) input.broker.say(hang_up);
    REQUIRE(site.run_until([&] { return connects() > before && input.driver->healthy(); }));
    if (words.empty()) CHECK(input.health().find("keeps our session") == std::string::npos);
    else
      CHECK_MESSAGE(input.health().find("keeps our session " + words) != std::string::npos, input.health());
  }
}

TEST_CASE("mqtt input: a filter that left the configuration leaves the session that stays") {
  for (const std::uint8_t version : {std::uint8_t{5}, std::uint8_t{4}}) {
    CAPTURE(static_cast<int>(version));
    Site site;
    Input input(site, "input", version), neighbour(site, "neighbour", version, {"a/#", "b/#"});
    bool session = false, answers = true;
    std::vector<std::string> ended, elsewhere;
    for (Input* one : {&input, &neighbour}) {
      one->config.persistent_session = true;
      auto& here = one == &input ? ended : elsewhere;
      one->broker.answer = [&, version](const Packet& packet) {
        if (packet.type == PacketType::connect) return connack(version, session);
        if (packet.type != PacketType::unsubscribe) return good_answer(version, packet);
        // Identifier, with MQTT 5 no properties, and one filter behind its length.
        here.emplace_back(text_of(packet.body.subspan(version == 5 ? 5 : 4)));
        return answers ? good_answer(version, packet) : std::string();
      };
    }
    neighbour.start();
    // The gateway after a reload or a restart, until it is subscribed and has ended so many subscriptions in
    // all.
    const auto live = [&](std::vector<std::string> filters, std::size_t expected) {
      input.filters_ = std::move(filters);
      input.start();
      REQUIRE(site.run_until([&] { return input.driver->healthy() && ended.size() >= expected; }));
      site.run_until([] { return false; }, 20ms);
      input.stop();
    };
    live({"a/#", "b/#"}, 0);
    session = true;
    answers = false;  // and dies before the broker has answered
    live({"b/#"}, 1);
    answers = true;
    live({"b/#"}, 2);
    live({"b/#"}, 2);
    CHECK(ended == std::vector<std::string>{"a/#", "a/#"});
    session = false;  // a new one has nothing to be ended
    live({"c/#"}, 2);
    session = true;
    live({"b/#"}, 3);
    CHECK(ended.size() == 3);
    CHECK(ended.back() == "c/#");
    CHECK(elsewhere.empty());
  }
}

TEST_CASE(
    "mqtt input: a message that can never fit leaves its head, the neighbour's and the next are whole") {
  Site site;  // an inbox of 256 KiB takes messages of a little below 128
  Input five(site, "five", 5), three(site, "three", 4);
  std::uint32_t announced = 0;
  five.broker.answer = [&](const Packet& packet) {
    Connect connect;
    if (packet.type == PacketType::connect && parse_connect(packet, connect).ok())
      announced = connect.packet_max;
    return good_answer(5, packet);
  };
  const std::size_t most = site.inbox->message_max("five") - 3;  // the topic counts
  for (Input* input : {&five, &three}) input->start();
  REQUIRE(site.run_until([&] { return five.driver->healthy() && three.driver->healthy(); }));
  CHECK(announced > most);
  CHECK(announced < most + 100);
  struct Sent {
    Input* input;
    std::size_t size;
    bool whole;
  };
  std::uint16_t id = 1;
  for (const Sent& sent : {Sent{&five, most, true}, Sent{&five, most + 1, false}, Sent{&five, 200, true},
                           Sent{&three, std::size_t{5} << 20, false},
                           Sent{&three, std::size_t{17} << 20, false}, Sent{&three, 200, true}}) {
    CAPTURE(sent.size);
    sent.input->broker.say(publish(sent.input->config.version, "a/x", std::string(sent.size, 'x'), 1, id++));
    Arrival arrival;
    Ticket ticket = 0;
    bool crashed = false;
    REQUIRE(site.run_until([&] { return site.inbox->take(arrival, ticket, crashed); }));
    CHECK(arrival.input == sent.input->config.name);
    CHECK(arrival.channel == "a/x");
    CHECK(arrival.whole_bytes == (sent.whole ? 0 : sent.size));
    CHECK(arrival.bytes.size() == (sent.whole ? sent.size : 4096));
    if (!sent.whole) CHECK(arrival.limit.find("gateway.inbox_size") != std::string_view::npos);
    site.inbox->release(ticket);
    const Input& input = *sent.input;
    CHECK(site.run_until([&] {
      return std::count(input.broker.heard.begin(), input.broker.heard.end(), PacketType::puback) > 0;
    }));
    sent.input->broker.heard.clear();
    CHECK(input.driver->healthy());
  }
}

}  // namespace mqtt_input_test
