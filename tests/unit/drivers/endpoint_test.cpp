// The endpoint's pure parts: packets, what is remembered of a client, and the connection's state machine.
#include <doctest/doctest.h>

#include <deque>
#include <set>

#include "base/files.h"
#include "base/rng.h"
#include "base/text.h"
#include "drivers/mqtt_endpoint/access.h"
#include "drivers/mqtt_endpoint/acl.h"
#include "drivers/mqtt_endpoint/endpoint_connection.h"
#include "drivers/mqtt_endpoint/release_watch.h"
#include "net/password_hash.h"
#include "net/tls_tickets.h"
#include "sim/world/sim_loop.h"
#include "tests/support/seed.h"

namespace endpoint_test {
using namespace millrace;
using mqtt::PacketType;
using namespace std::string_literals;

namespace {

std::string connect_packet(int version, const std::string& client = "c1", bool clean = true,
                           std::uint32_t expiry = 0) {
  std::string out;
  mqtt::put_connect({static_cast<std::uint8_t>(version), client, 30, clean, expiry, "", {}}, out);
  return out;
}

std::string publish_packet(int version, const std::string& topic, const std::string& payload, int qos,
                           std::uint16_t id, bool again = false) {
  std::string out;
  mqtt::PublishWrite publish;
  publish.topic = topic;
  publish.payload = bytes_of(payload);
  publish.qos = static_cast<std::uint8_t>(qos);
  publish.packet_id = id;
  publish.duplicate = again;
  mqtt::put_publish(publish, static_cast<std::uint8_t>(version), out);
  return out;
}

// A CONNECT as it may come from anywhere: the name, the level, the flags of packet and CONNECT as given.
std::string odd_connect(const std::string& name, int level, int flags = 2, const std::string& client = "c1",
                        int first = 0x10) {
  std::string body = {'\0', static_cast<char>(name.size())};
  body += name;
  body += static_cast<char>(level);
  body += static_cast<char>(flags);
  body += "\0\x0a"s;
  if (level == 5) body += '\0';
  body += std::string{'\0', static_cast<char>(client.size())} + client;
  return std::string{static_cast<char>(first), static_cast<char>(body.size())} + body;
}

// With a topic alias; an empty topic leaves it to the alias.
std::string alias_packet(const std::string& topic, const std::string& payload, std::uint16_t id, int alias) {
  std::string packet = publish_packet(5, topic, payload, 1, id);
  const std::size_t behind_id = 2 + topic.size() + 2;
  std::string body = packet.substr(packet.size() - (behind_id + 1 + payload.size()));
  body.replace(behind_id, 1, "\x03\x23\0"s + static_cast<char>(alias));
  std::string out(1, packet[0]);
  for (std::size_t left = body.size();; left >>= 7) {
    out += static_cast<char>((left & 0x7F) | (left > 0x7F ? 0x80 : 0));
    if (left <= 0x7F) break;
  }
  return out + body;
}

// The packets of an answer, one each.
std::vector<std::string> packets_of(const std::string& answer) {
  std::vector<std::string> packets;
  mqtt::Framer framer(SIZE_MAX);
  framer.push(bytes_of(answer));
  mqtt::Packet packet;
  std::size_t at = 0;
  while (framer.next(packet) == mqtt::Framer::Next::packet) {
    packets.push_back(answer.substr(at, packet.bytes));
    at += packet.bytes;
  }
  CHECK(at == answer.size());
  return packets;
}

std::string ack_packet(PacketType type, std::uint16_t id) {
  std::string out;
  mqtt::put_ack(type, id, 0, 4, out);
  return out;
}

// Takes everything, or says busy; remembers what came.
struct FakeHost final : EndpointConnection::Host {
  ClientSession session;
  std::vector<std::string> taken;
  std::size_t room = SIZE_MAX;
  int redelivered_count = 0, denied_count = 0;
  bool session_present = false, answer_at_once = true, quota = false;
  std::uint16_t receive_maximum = 10;

  void welcome(EndpointConnection& c) {
    EndpointConnection::Welcome welcome;
    welcome.client_id = "c1";
    welcome.session_present = session_present;
    welcome.receive_maximum = receive_maximum;
    welcome.session_expiry_seconds = c.session_expiry_seconds();
    welcome.keep_alive_seconds = c.keep_alive_seconds();
    c.accept(welcome, &session);
  }
  void arrived(EndpointConnection& c, const mqtt::Connect&) override {
    if (answer_at_once) welcome(c);
  }
  bool may_publish(EndpointConnection&, std::string_view topic) override {
    return !topic.starts_with("forbidden");
  }
  void denied(EndpointConnection&, std::string_view, bool) override { ++denied_count; }
  Taken offer(EndpointConnection&, const mqtt::Publish& p, const mqtt::UserProperties&) override {
    if (taken.size() >= room) return quota ? Taken::quota : Taken::busy;
    taken.push_back(p.whole_bytes > 0 ? text(p.topic, ": ", p.whole_bytes, " bytes")
                                      : text(p.topic, "=", text_of(p.payload)));
    return Taken::taken;
  }
  void redelivered(EndpointConnection&) override { ++redelivered_count; }
  bool may_hear(EndpointConnection&, std::string_view filter) override { return filter.starts_with("mine"); }
};

struct Talk {
  FakeHost host;
  EndpointLimits limits;
  EndpointConnection c{host, limits};
  Ticket ticket = 0;

  std::string say(const std::string& bytes, bool durable = true) {
    c.receive(bytes_of(bytes));
    c.sealed(++ticket);
    if (durable) c.durable(ticket);
    return std::exchange(c.output(), {});
  }
  // The reason of a DISCONNECT or CONNACK in `answer`; -1: none.
  static int reason(const std::string& answer) {
    if (answer.size() >= 2 && static_cast<unsigned char>(answer[0]) == 0xE0)
      return answer[1] ? static_cast<unsigned char>(answer[2]) : 0;
    if (answer.size() >= 4 && static_cast<unsigned char>(answer[0]) == 0x20)
      return static_cast<unsigned char>(answer[3]);
    return -1;
  }
};

}  // namespace

TEST_CASE("endpoint: nothing is acknowledged before it is durable, and then in order") {
  Talk talk;
  talk.say(connect_packet(5));
  REQUIRE(talk.c.open());
  CHECK(talk.say(publish_packet(5, "a", "1", 1, 1) + publish_packet(5, "a", "2", 2, 2) +
                     publish_packet(5, "a", "3", 1, 3),
                 false)
            .empty());
  CHECK(talk.host.taken == std::vector<std::string>{"a=1", "a=2", "a=3"});
  talk.c.durable(talk.ticket);
  CHECK(talk.c.output() == ack_packet(PacketType::puback, 1) + ack_packet(PacketType::pubrec, 2) +
                               ack_packet(PacketType::puback, 3));
}

TEST_CASE("endpoint: a QoS 2 message is stored once, however often it comes, until it is released") {
  Talk talk;
  talk.say(connect_packet(5));
  CHECK(talk.say(publish_packet(5, "a", "1", 2, 7)) == ack_packet(PacketType::pubrec, 7));
  CHECK(talk.say(publish_packet(5, "a", "1", 2, 7, true)) == ack_packet(PacketType::pubrec, 7));
  CHECK(talk.host.taken.size() == 1);
  CHECK(talk.host.redelivered_count == 1);
  std::string pubrel;
  mqtt::put_ack(PacketType::pubrel, 7, 0, 5, pubrel);
  CHECK(talk.say(pubrel) == ack_packet(PacketType::pubcomp, 7));
  CHECK(static_cast<unsigned char>(talk.say(pubrel)[4]) == mqtt::packet_id_not_found);
  // the identifier is free again
  CHECK(talk.say(publish_packet(5, "a", "2", 2, 7)) == ack_packet(PacketType::pubrec, 7));
  CHECK(talk.host.taken.size() == 2);
}

TEST_CASE("endpoint: any chunking of the bytes gives the same messages and the same answers") {
  std::string bytes = connect_packet(5);
  for (std::uint16_t i = 1; i <= 40; ++i) {
    bytes += publish_packet(5, text("plant/", i), std::string(i * 3, 'x'), i % 3, i);
    if (i % 3 == 2) mqtt::put_ack(PacketType::pubrel, i, 0, 5, bytes);
    if (i % 7 == 0) mqtt::put_ping(PacketType::pingreq, bytes);
  }
  Talk whole;
  whole.host.receive_maximum = 1000;
  const std::string answer = whole.say(bytes);
  Rng rng(seed());
  for (int round = 0; round < 50; ++round) {
    Talk cut;
    cut.host.receive_maximum = 1000;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t n = std::min<std::size_t>(1 + rng.below(round < 10 ? 3 : 200), bytes.size() - at);
      cut.c.receive(bytes_of(std::string_view(bytes).substr(at, n)));
      at += n;
    }
    cut.c.sealed(1);
    cut.c.durable(1);
    CHECK(cut.host.taken == whole.host.taken);
    // A PINGRESP leaves at once, acknowledgements when they are due: the same packets, compared as such.
    CHECK(cut.c.output().size() == answer.size());
  }
}

TEST_CASE("endpoint: what a busy host did not take is offered again, and nothing is lost or taken twice") {
  Talk talk;
  talk.say(connect_packet(5));
  talk.host.room = 2;
  std::string bytes;
  for (std::uint16_t i = 1; i <= 6; ++i) bytes += publish_packet(5, "a", text(i), 1, i);
  CHECK(talk.say(bytes).size() == 8);
  CHECK(talk.c.stalled());
  talk.host.room = 4;
  talk.c.go_on();
  CHECK(talk.c.stalled());
  talk.host.room = SIZE_MAX;
  talk.c.go_on();
  CHECK_FALSE(talk.c.stalled());
  CHECK(talk.host.taken == std::vector<std::string>{"a=1", "a=2", "a=3", "a=4", "a=5", "a=6"});
  CHECK(talk.say("").size() == 16);
}

TEST_CASE("endpoint: a full log is told as quota exceeded where the host says so") {
  Talk talk;
  talk.say(connect_packet(5));
  talk.host.room = 0;
  talk.host.quota = true;
  const std::string answer = talk.say(publish_packet(5, "a", "1", 1, 1));
  REQUIRE(answer.size() == 5);
  CHECK(static_cast<unsigned char>(answer[4]) == mqtt::quota_exceeded);
}

TEST_CASE("endpoint: a publisher over its receive maximum is sent away (MQTT 5), or waits (3.1.1)") {
  std::string bytes;
  for (std::uint16_t i = 1; i <= 11; ++i) bytes += publish_packet(5, "a", text(i), 1, i);
  Talk five;
  five.limits.receive_maximum = five.host.receive_maximum;
  five.say(connect_packet(5));
  CHECK(Talk::reason(five.say(bytes, false)) == mqtt::receive_maximum_exceeded);
  bytes.clear();
  for (std::uint16_t i = 1; i <= 11; ++i) bytes += publish_packet(4, "a", text(i), 1, i);
  Talk old;
  old.say(connect_packet(4));
  old.say(bytes, false);
  CHECK(old.c.stalled());
  CHECK(old.c.at_its_limit());
  old.c.durable(old.ticket);
  old.c.go_on();
  CHECK(old.host.taken.size() == 11);
}

TEST_CASE(
    "endpoint: the receive maximum is what there is room for, ten at least, and never above what is configured") {
  EndpointLimits limits;
  limits.receive_maximum = 200;
  CHECK(limits.receive_maximum_for(0) == 10);
  CHECK(limits.receive_maximum_for(100 << 10) == 100);
  CHECK(limits.receive_maximum_for(SIZE_MAX) == 200);
  limits.receive_maximum = 3;
  CHECK(limits.receive_maximum_for(0) == 3);
  CHECK(limits.receive_maximum_for(SIZE_MAX) == 3);
}

// Clients that do not heed what CONNACK says have 20 messages under way: sent away for the 11th, they came
// back with all of them, were stored up to it and sent away again, without end.
TEST_CASE("endpoint: who was told less than usual because room was short, and does not heed it, waits") {
  for (const int qos : {1, 2}) {
    CAPTURE(qos);
    Talk talk;
    talk.limits.receive_maximum = 30;
    talk.host.receive_maximum = 10;
    std::string bytes;
    for (std::uint16_t i = 1; i <= 30; ++i) bytes += publish_packet(5, "a", text(i), qos, i);
    talk.say(connect_packet(5));
    talk.say(bytes, false);
    CHECK(talk.host.taken.size() == 10);
    CHECK(talk.c.stalled());
    CHECK(talk.c.at_its_limit());
    std::string answers;
    for (int round = 0; round < 3; ++round) {
      talk.c.durable(talk.ticket);
      answers += std::exchange(talk.c.output(), {});
      talk.c.go_on();
      talk.c.sealed(++talk.ticket);
    }
    CHECK(talk.host.taken.size() == 30);
    CHECK_FALSE(talk.c.ending().ended);
    CHECK(packets_of(answers).size() == 30);
    CHECK_FALSE(talk.c.stalled());
    // What the configuration allows is a limit for everybody; at QoS 1 all of it is free again.
    const int reason = Talk::reason(talk.say(publish_packet(5, "a", "31", qos, 31), false));
    CHECK(reason == (qos == 2 ? mqtt::receive_maximum_exceeded : -1));
  }
}

TEST_CASE("endpoint: bytes behind a CONNECT that waits for its answer are kept") {
  Talk talk;
  talk.host.answer_at_once = false;
  CHECK(talk.say(connect_packet(5) + publish_packet(5, "a", "1", 1, 1)).empty());
  CHECK(talk.c.stalled());
  talk.host.welcome(talk.c);
  talk.c.go_on();
  CHECK(talk.host.taken.size() == 1);
}

// ---- what is too large

TEST_CASE(
    "endpoint: a message that is too large is answered and kept as a dead letter, and what comes behind it is taken") {
  for (const int version : {3, 4, 5}) {
    for (const int qos : {0, 1, 2}) {
      CAPTURE(version);
      CAPTURE(qos);
      const std::string large = publish_packet(version, "plant/large", std::string(5000, 'x'), qos, 1);
      const std::string bytes = large + publish_packet(version, "plant/small", "1", 1, 2) +
                                publish_packet(version, "other/large", std::string(70'000, 'y'), qos, 3);
      std::string first;
      for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, bytes.size()}) {
        Talk talk;
        talk.limits.packet_max = 1000;
        talk.limits.skip_max = 100'000;
        EndpointConnection c(talk.host, talk.limits);
        c.receive(bytes_of(odd_connect(version == 3 ? "MQIsdp" : "MQTT", version)));
        c.output().clear();
        for (std::size_t at = 0; at < bytes.size(); at += step)
          c.receive(bytes_of(std::string_view(bytes).substr(at, step)));
        c.sealed(1);
        CHECK(c.output().empty());  // nothing is promised before the letter is durable
        c.durable(1);
        CHECK(c.open());
        CHECK(talk.host.taken == std::vector<std::string>{"plant/large: 5000 bytes", "plant/small=1",
                                                          "other/large: 70000 bytes"});
        CHECK(c.memory() < 10'000);
        if (first.empty()) first = c.output();
        CHECK(c.output() == first);
      }
      const auto answers = packets_of(first);
      REQUIRE(answers.size() == (qos == 0 ? 1 : 3));
      if (qos == 0) continue;
      CHECK(answers[1] == ack_packet(PacketType::puback, 2));
      if (version < 5) {  // it has no word for it
        CHECK(answers[0] == ack_packet(qos == 1 ? PacketType::puback : PacketType::pubrec, 1));
      } else {
        CHECK(static_cast<unsigned char>(answers[0][0]) == (qos == 1 ? 0x40 : 0x50));
        // 0x95 is no reason of an acknowledgement
        CHECK(static_cast<unsigned char>(answers[0][4]) == mqtt::quota_exceeded);
        CHECK(answers[0].find(text(large.size(), " bytes")) != std::string::npos);
        CHECK(answers[0].find("packet_max, 1000 bytes") != std::string::npos);
      }
    }
  }
}

TEST_CASE(
    "endpoint: a message too large to be read to its end ends the connection, and the client is told why") {
  Talk talk;
  talk.limits.skip_max = 100'000;
  talk.say(connect_packet(5));
  const std::string answer = talk.say(publish_packet(5, "a", std::string(100'000, 'x'), 1, 1).substr(0, 10));
  CHECK(Talk::reason(answer) == mqtt::packet_too_large);
  CHECK(answer.find("packet_max, 65536 bytes") != std::string::npos);
  CHECK_FALSE(talk.c.open());
  Talk old;
  old.limits.skip_max = 100'000;
  old.say(connect_packet(4));
  CHECK(old.say(publish_packet(4, "a", std::string(100'000, 'x'), 1, 1).substr(0, 10)).empty());
  CHECK(old.c.ending().why.find("packet_max") != std::string::npos);
}

TEST_CASE(
    "endpoint: a message that is too large waits while the host is busy, and is told what it may not do before its size") {
  Talk talk;
  talk.limits.packet_max = 200;
  EndpointConnection c(talk.host, talk.limits);
  c.receive(bytes_of(connect_packet(5)));
  talk.host.room = 0;
  c.receive(bytes_of(publish_packet(5, "a", std::string(500, 'x'), 1, 1) +
                     publish_packet(5, "forbidden", std::string(500, 'x'), 1, 2) +
                     publish_packet(5, "a", "2", 1, 3)));
  CHECK(c.stalled());
  c.go_on();
  CHECK(c.stalled());
  talk.host.room = 10;
  c.go_on();
  CHECK_FALSE(c.stalled());
  CHECK(talk.host.taken == std::vector<std::string>{"a: 500 bytes", "a=2"});
  c.output().clear();
  c.sealed(1);
  c.durable(1);
  const auto answers = packets_of(c.output());
  REQUIRE(answers.size() == 3);
  CHECK(static_cast<unsigned char>(answers[0][4]) == mqtt::quota_exceeded);
  CHECK(static_cast<unsigned char>(answers[1][4]) == mqtt::not_authorized);
  CHECK(answers[2] == ack_packet(PacketType::puback, 3));
}

TEST_CASE("endpoint: an alias is set by a message that is too large as by any other") {
  Talk talk;
  talk.limits.packet_max = 200;
  EndpointConnection c(talk.host, talk.limits);
  c.receive(bytes_of(connect_packet(5)));
  c.receive(bytes_of(alias_packet("plant/a", std::string(500, 'x'), 1, 3) + alias_packet("", "1", 2, 3) +
                     alias_packet("", std::string(300, 'y'), 3, 3)));
  CHECK(c.open());
  CHECK(talk.host.taken == std::vector<std::string>{"plant/a: 500 bytes", "plant/a=1", "plant/a: 300 bytes"});
}

TEST_CASE("endpoint: one limit for every packet: a CONNECT of that size is taken, a larger one is told") {
  for (const int version : {4, 5}) {
    CAPTURE(version);
    const auto with_user_of = [&](std::size_t size) {
      std::string out;
      mqtt::put_connect({static_cast<std::uint8_t>(version), "c1", 30, true, 0, std::string(size, 'u'), {}},
                        out);
      return out;
    };
    Talk talk;
    talk.say(with_user_of(60'000));
    CHECK(talk.c.open());
    Talk small;
    small.limits.packet_max = 1000;
    EndpointConnection c(small.host, small.limits);
    const std::string large = with_user_of(2000);
    for (const char byte : large) c.receive(bytes_of(std::string_view(&byte, 1)));
    CHECK(c.ending().ended);
    CHECK(c.ending().why.find(text(large.size(), " bytes")) != std::string::npos);
    CHECK(static_cast<unsigned char>(c.output()[3]) == (version == 5 ? mqtt::packet_too_large : 3));
  }
}

// ---- what waits

TEST_CASE(
    "endpoint: a 3.1.1 client with more QoS 2 messages under way than the receive maximum is served to its end") {
  Talk talk;
  talk.say(connect_packet(4, "c1", false));
  std::size_t completed = 0;
  // Twenty under way at a maximum of ten, each PUBREL queued behind the messages that follow.
  for (std::uint16_t at = 1; at <= 200; at = static_cast<std::uint16_t>(at + 20)) {
    std::string messages, releases;
    for (std::uint16_t id = at; id < at + 20; ++id) {
      messages += publish_packet(4, "a", text(id), 2, id);
      mqtt::put_ack(PacketType::pubrel, id, 0, 4, releases);
    }
    std::string answer = talk.say(messages);
    while (talk.c.stalled()) {
      talk.c.go_on();
      answer += talk.say("");
    }
    CHECK(packets_of(answer).size() == 20);
    answer = talk.say(releases);
    while (talk.c.stalled()) {
      talk.c.go_on();
      answer += talk.say("");
    }
    completed += packets_of(answer).size();
  }
  CHECK(completed == 200);
  CHECK(talk.host.taken.size() == 200);
  CHECK(talk.host.session.held() == 0);
}

TEST_CASE(
    "endpoint: a 3.1.1 client that releases nothing is read on, at a bounded cost, until every identifier is taken") {
  Talk talk;
  talk.say(connect_packet(4, "c1", false));
  for (std::uint32_t id = 1; id <= 65535; ++id) {
    talk.say(publish_packet(4, "a", "1", 2, static_cast<std::uint16_t>(id)));
    REQUIRE_FALSE(talk.c.stalled());
  }
  CHECK(talk.host.session.held() == 65535);
  CHECK(talk.host.session.encode().size() < 12'000);
  CHECK(talk.host.session.memory() < 20'000);
  CHECK(talk.c.releases() == 0);
  CHECK(talk.say(publish_packet(4, "a", "1", 2, 9, true)) == ack_packet(PacketType::pubrec, 9));
  CHECK(talk.host.redelivered_count == 1);
}

TEST_CASE("endpoint: what a session holds from before is no part of the new connection's quota") {
  Talk talk;
  talk.limits.receive_maximum = talk.host.receive_maximum;
  for (std::uint16_t id = 101; id <= 200; ++id) talk.host.session.hold(id);
  talk.host.session_present = true;
  talk.say(connect_packet(5, "c1", false, 3600));
  std::string bytes;
  for (std::uint16_t id = 1; id <= 10; ++id) bytes += publish_packet(5, "a", text(id), 2, id);
  CHECK(packets_of(talk.say(bytes)).size() == 10);
  CHECK(talk.c.open());
  CHECK(talk.host.taken.size() == 10);
  CHECK(Talk::reason(talk.say(publish_packet(5, "a", "11", 2, 11))) == mqtt::receive_maximum_exceeded);
}

TEST_CASE(
    "endpoint: releases without end while a commit hangs are held back, and all are answered afterwards") {
  for (const int version : {4, 5}) {
    CAPTURE(version);
    Talk talk;
    talk.say(connect_packet(version));
    std::string chunk;
    for (int i = 0; i < 16'000; ++i)
      mqtt::put_ack(PacketType::pubrel, static_cast<std::uint16_t>(1 + i), 0, 4, chunk);
    talk.c.receive(bytes_of(chunk));
    CHECK(talk.c.stalled());
    CHECK(talk.c.at_its_limit());
    CHECK(talk.c.memory() < (128 << 10));  // the chunk that was left, and no more
    std::size_t answered = 0;
    for (int i = 0; i < 100 && (talk.c.stalled() || talk.c.waits()); ++i) {
      answered += packets_of(talk.say("")).size();
      talk.c.go_on();
    }
    CHECK(answered == 16'000);
  }
}

TEST_CASE(
    "endpoint: an alias keeps its topic only where the client may publish, and all together are bounded") {
  Talk talk;
  talk.say(connect_packet(5));
  const std::string long_topic(5000, 't');
  for (int alias = 1; alias <= 16; ++alias) talk.say(alias_packet("forbidden/" + long_topic, "1", 1, alias));
  CHECK(talk.c.open());
  CHECK(talk.c.memory() < 8000);
  const auto answers = packets_of(talk.say(alias_packet("", "1", 2, 7) + alias_packet("plant/x", "2", 3, 7) +
                                           alias_packet("", "3", 4, 7)));
  REQUIRE(answers.size() == 3);
  // not a protocol error: the alias is set
  CHECK(static_cast<unsigned char>(answers[0][4]) == mqtt::not_authorized);
  CHECK(talk.host.denied_count == 17);
  CHECK(talk.host.taken == std::vector<std::string>{"plant/x=2", "plant/x=3"});
  for (int alias = 1; alias <= 3; ++alias) talk.say(alias_packet(long_topic, "1", 9, alias));
  CHECK(talk.c.open());
  const std::string answer = talk.say(alias_packet(long_topic, "1", 9, 4));
  CHECK(static_cast<unsigned char>(answer[2]) == mqtt::quota_exceeded);
  CHECK(talk.c.ending().why.find("topic aliases") != std::string::npos);
}

TEST_CASE("endpoint: of a will no more is kept than becomes of it") {
  std::string body =
      "\0\x04MQTT\x04\x06\0\x0a\0\x02"
      "c1"
      "\0\x06will/t"s;
  body += "\x27\x10"s + std::string(10'000, 'w');
  Talk talk;
  talk.say("\x10"s + static_cast<char>((body.size() & 0x7F) | 0x80) + static_cast<char>(body.size() >> 7) +
           body);
  REQUIRE(talk.c.will());
  CHECK(talk.c.will()->payload == std::string(4096, 'w'));
  CHECK(talk.c.will()->payload_bytes == 10'000);
}

// ---- older and odd clients

TEST_CASE("endpoint: MQTT 3.1 is taken by its own rules") {
  const std::string welcomed = "\x20\x02\0\0"s;
  Talk talk;
  talk.host.session_present = true;
  // the flag for a session is 3.1.1's
  CHECK(talk.say(odd_connect("MQIsdp", 3, 0, std::string(23, 'c'))) == welcomed);
  CHECK(talk.c.open());
  CHECK(talk.say(publish_packet(3, "a", "1", 2, 1)) == ack_packet(PacketType::pubrec, 1));
  CHECK(talk.say("\x6a\x02\0\x01"s) == ack_packet(PacketType::pubcomp, 1));  // sent again: DUP is set
  CHECK(talk.say("\x8a\x06\0\x05\0\x01#\0"s) == "\x90\x03\0\x05\0"s);        // it knows no refusal
  Talk bridge;
  CHECK(bridge.say(odd_connect("MQIsdp", 0x83)) == welcomed);
  for (const std::string& client : {std::string{}, std::string(24, 'c')}) {
    Talk refused;
    CHECK(refused.say(odd_connect("MQIsdp", 3, 2, client)) == "\x20\x02\0\x02"s);
  }
  // Flags that it does not use say nothing.
  Talk careless;
  CHECK(careless.say(odd_connect("MQIsdp", 3, 2, "c1", 0x1d)) == welcomed);
  CHECK(careless.say("\xc3\0"s) == "\xd0\0"s);
  CHECK(careless.say("\x83\x06\0\x05\0\x01#\0"s) == "\x90\x03\0\x05\0"s);
  careless.say("\xe9\0"s);
  CHECK((careless.c.ending().ended && !careless.c.ending().publish_will));
  // Umlauts count once: characters, not bytes.
  Talk umlauts;
  std::string name;
  for (int i = 0; i < 23; ++i) name += "\xc3\xa4";
  CHECK(umlauts.say(odd_connect("MQIsdp", 3, 2, name)) == welcomed);
  // Flags for a user name and a password, and nothing there: the length counts more.
  Talk forgetful;
  CHECK(forgetful.say(odd_connect("MQIsdp", 3, 0xC2)) == welcomed);
}

TEST_CASE("endpoint: a bridge that marks its level is served as what it is, MQTT 3.1.1") {
  Talk talk;
  CHECK(talk.say(odd_connect("MQTT", 0x84)) == "\x20\x02\0\0"s);
  CHECK(talk.c.version() == 4);
  CHECK(talk.say(publish_packet(4, "u/1", "1", 1, 1)) == ack_packet(PacketType::puback, 1));
}

TEST_CASE(
    "endpoint: a CONNECT that does not conform is closed without CONNACK, one of another level hears so") {
  const struct {
    std::string packet, answer;
  } cases[] = {
      {odd_connect("MQTT", 4, 1), ""},              // the reserved flag
      {odd_connect("MQTT", 4, 2, "c1", 0x11), ""},  // flags of the fixed header
      {odd_connect("MQTT", 5, 2, "c1", 0x1f), ""},
      {odd_connect("MQXX", 4), ""},
      {odd_connect("mqtt", 5), ""},
      {odd_connect("MQTT", 4, 0x42), ""},  // a password without a user
      {odd_connect("MQTT", 3), "\x20\x02\0\x01"s},
      {odd_connect("MQTT", 0x85), "\x20\x02\0\x01"s},
      {odd_connect("MQIsdp", 4), "\x20\x02\0\x01"s},
      {odd_connect("MQTT", 4, 0, ""), "\x20\x02\0\x02"s},
  };
  for (const auto& [packet, answer] : cases) {
    CAPTURE(packet);
    Talk talk;
    CHECK(talk.say(packet) == answer);
    CHECK(talk.c.ending().ended);
    CHECK_FALSE(talk.c.ending().why.empty());
  }
  Talk newer;
  CHECK(Talk::reason(newer.say(odd_connect("MQTT", 6))) == mqtt::unsupported_version);
}

TEST_CASE("endpoint: nothing is said that is larger than what the client takes") {
  for (std::uint32_t takes = 1; takes <= 120; ++takes) {
    CAPTURE(takes);
    const auto connect = [&](int flags) {
      std::string body = "\0\x04MQTT\x05"s;
      body += static_cast<char>(flags);
      body += "\0\x0a\x05\x27\0\0\0"s + static_cast<char>(takes) + "\0\0"s;
      return "\x10"s + static_cast<char>(body.size()) + body;
    };
    const auto check = [&](const std::string& answer) {
      for (const std::string& packet : packets_of(answer)) CHECK(packet.size() <= takes);
    };
    Talk talk;
    talk.limits.packet_max = 200;
    EndpointConnection c(talk.host, talk.limits);
    c.receive(bytes_of(connect(2)));
    check(c.output());
    CHECK(c.open() == (takes >= 8));
    CHECK(c.output().empty() == (takes < 5));
    c.output().clear();
    c.receive(bytes_of(publish_packet(5, "a", std::string(300, 'x'), 1, 1)));
    std::string subscribe = "\x82\x17\0\x09\0"s;
    for (int i = 0; i < 4; ++i)
      subscribe +=
          "\0\x02"
          "a#\0"s;
    c.receive(bytes_of(subscribe));
    c.sealed(1);
    c.durable(1);
    check(c.output());
    if (takes >= 8) CHECK(c.output().substr(0, 1) == (takes >= 9 ? "\x90" : "\x40"));
    c.output().clear();
    c.receive(bytes_of("\xf0\0"s));
    check(c.output());
    CHECK(c.output().empty() == (takes < 8));
    Talk refused;
    check(refused.say(connect(3)));
  }
}

TEST_CASE("endpoint: a subscription is refused for what CONNACK said is not there, filter by filter") {
  std::string body = "\0\x09\0"s;
  for (const char* filter : {"a/#", "+/b", "plain", "$share/g/a"})
    body += std::string{'\0', static_cast<char>(std::string_view(filter).size())} + filter + '\0';
  const std::string packet = "\x82"s + static_cast<char>(body.size()) + body;
  Talk talk;
  talk.say(connect_packet(5));
  CHECK(talk.say(packet) == "\x90\x07\0\x09\0\xa2\xa2\x87\x9e"s);
  CHECK(talk.c.open());
  Talk numbered;
  numbered.say(connect_packet(5));
  CHECK(numbered.say("\x82\x09\0\x09\x02\x0b\x05\0\x01"
                     "a\0"s) == "\x90\x04\0\x09\0\xa1"s);
}

TEST_CASE(
    "endpoint: what is for a client's ears is granted as it was asked for and said, bounded, until it asks no more") {
  const auto about = [](char type, int version, std::initializer_list<std::string> filters, bool options) {
    std::string body = version == 5 ? "\0\x09\0"s : "\0\x09"s;
    for (const std::string& filter : filters) {
      body += std::string{'\0', static_cast<char>(filter.size())} + filter;
      if (options) body += '\1';
    }
    return type + std::string(1, static_cast<char>(body.size())) + body;
  };
  for (const int version : {4, 5}) {
    CAPTURE(version);
    Talk talk;
    talk.say(connect_packet(version));
    const std::string none = version == 5 ? "\0"s : ""s, no = version == 5 ? "\x87"s : "\x80"s,
                      wild = version == 5 ? "\xa2"s : "\1"s;
    CHECK(talk.say(about('\x82', version, {"mine/a", "yours", "mine/#"}, true)) ==
          "\x90"s + static_cast<char>(5 + none.size()) + "\0\x09"s + none + "\1"s + no + wild);
    CHECK_FALSE(talk.c.say("yours", bytes_of("x")));
    CHECK(talk.c.say("mine/a", bytes_of("x")));
    CHECK(std::exchange(talk.c.output(), {}) ==
          "\x30"s + static_cast<char>(9 + none.size()) + "\0\x06mine/a"s + none + "x");
    talk.say(about('\xa2', version, {"mine/a", "mine/#"}, false));
    CHECK_FALSE(talk.c.say("mine/a", bytes_of("x")));
    CHECK(talk.c.output().empty());
    // Eight at most; the same again is none more.
    for (int i = 0; i < 8; ++i) talk.say(about('\x82', version, {text("mine/", i)}, true));
    CHECK(talk.say(about('\x82', version, {"mine/0", "mine/8"}, true)).substr(4 + none.size()) == "\1"s + no);
  }
}

TEST_CASE(
    "endpoint: acknowledgements of what was never sent keep no device out, and its PUBREC comes to an end") {
  for (const int version : {3, 4, 5}) {
    CAPTURE(version);
    Talk talk;
    talk.say(odd_connect(version == 3 ? "MQIsdp" : "MQTT", version));
    CHECK(talk.say("\x40\x02\0\x01\x70\x02\0\x02"s).empty());
    CHECK(talk.say("\x50\x02\0\x03"s) == (version == 5 ? "\x62\x03\0\x03\x92"s : "\x62\x02\0\x03"s));
    CHECK(talk.c.open());
    // refused: nothing follows (section 3.5.2.1)
    if (version == 5) CHECK(talk.say("\x50\x03\0\x03\x80"s).empty());
    CHECK(talk.say(publish_packet(version, "a", "1", 1, 1)) == ack_packet(PacketType::puback, 1));
    talk.say("\x40\x01\0"s);
    CHECK_FALSE(talk.c.open());
  }
}

TEST_CASE(
    "endpoint: what can be read and is not allowed is a protocol error, what is no packet of its kind malformed") {
  const auto reason_of = [](const std::string& packet) {
    Talk talk;
    talk.say(connect_packet(5));
    return Talk::reason(talk.say(packet));
  };
  CHECK(reason_of(publish_packet(5, "a", "1", 1, 0)) == mqtt::protocol_error);  // section 2.2.1
  CHECK(reason_of("\x62\x02\0\0"s) == mqtt::protocol_error);
  CHECK(reason_of("\x32\x08\0\x01"
                  "a\0\x01\x02\x0b\x01"s) == mqtt::protocol_error);  // [MQTT-3.3.4-6]
  for (const char first : {'\x40', '\x50', '\x62', '\x70'}) {        // sections 3.4.2.1 to 3.7.2.1
    CHECK(reason_of(first + "\x04\0\x01\xff\0"s) == mqtt::protocol_error);
  }
  CHECK(reason_of("\x40\x05\0\x01\0\x80\0"s) == mqtt::malformed_packet);  // [MQTT-1.5.5-1]
  CHECK(reason_of("\x32\x09\0\x01"
                  "a\0\x01\x03\x21\0\x05"s) == mqtt::malformed_packet);               // section 2.2.2.2
  CHECK(reason_of(publish_packet(5, "a/#", "1", 1, 1)) == mqtt::malformed_packet);    // section 4.7
  CHECK(reason_of("\x82\x10\0\x01\0\0\x0a$share/p/p\x04"s) == mqtt::protocol_error);  // [MQTT-3.8.3-4]
  // A will's response topic is a topic name like others (sections 3.1.3.2.6 and 4.7.3).
  for (const std::string& topic : {std::string{}, "r/+"s, "r"s}) {
    std::string body =
        "\0\x04MQTT\x05\x06\0\x0a\0\0\x01"
        "c"s;
    body += static_cast<char>(3 + topic.size());
    body += "\x08\0"s + static_cast<char>(topic.size()) + topic + "\0\x01t\0\x01p"s;
    Talk talk;
    CHECK(Talk::reason(talk.say("\x10"s + static_cast<char>(body.size()) + body)) ==
          (topic == "r" ? mqtt::success : mqtt::protocol_error));
  }
}

TEST_CASE("endpoint: a client that releases nothing is told of once, one that goes on releasing never") {
  using namespace std::chrono_literals;
  ReleaseWatch silent, busy, idle;
  int told = 0;
  for (int second = 1; second <= 600; ++second) {
    const Instant now = Instant{} + second * 1s;
    if (silent.stuck(10, 5, now)) {
      ++told;
      CHECK(second == 61);
    }
    CHECK_FALSE(busy.stuck(10, static_cast<std::uint64_t>(second / 59), now));
    CHECK_FALSE(idle.stuck(0, 7, now));
  }
  CHECK(told == 1);
}

TEST_CASE("session: a QoS 1 redelivery is known only where identifiers are counted up") {
  ClientSession counting;
  for (std::uint16_t i = 1; i <= 50; ++i) counting.note(i, static_cast<std::uint16_t>(i * 7), 10);
  CHECK(counting.knows(50, 350));
  CHECK(counting.knows(41, 287));
  CHECK_FALSE(counting.knows(40, 280));  // older than the window
  CHECK_FALSE(counting.knows(50, 1));    // another message
  CHECK_FALSE(counting.knows(51, 357));
  ClientSession reusing;  // the lowest free identifier, two at a time
  for (int i = 0; i < 100; ++i) reusing.note(static_cast<std::uint16_t>(1 + i % 2), 5, 2);
  CHECK_FALSE(reusing.knows(1, 5));
  CHECK_FALSE(reusing.knows(2, 5));
  ClientSession one;  // always the same
  for (int i = 0; i < 100; ++i) one.note(1, 5, 1);
  CHECK_FALSE(one.knows(1, 5));
  ClientSession wrapping;
  for (std::uint32_t i = 65500; i < 65600; ++i)
    wrapping.note(static_cast<std::uint16_t>(i > 65535 ? i - 65535 : i), static_cast<std::uint16_t>(i), 10);
  CHECK(wrapping.knows(60, static_cast<std::uint16_t>(65595)));
}

TEST_CASE("session: what is saved is what is read, and other bytes are no session") {
  ClientSession session;
  session.expiry_seconds = 3600;
  for (std::uint16_t i = 1; i <= 300; ++i) session.note(i, static_cast<std::uint16_t>(i * 31), 1 + i % 40u);
  for (const std::uint16_t id : {9, 3, 77}) session.hold(id);
  const Bytes bytes = session.encode();
  const auto again = ClientSession::decode(bytes);
  REQUIRE(again);
  CHECK(again->encode() == bytes);
  CHECK(again->expiry_seconds == 3600);
  CHECK((again->holds(3) && again->holds(9) && again->holds(77) && again->held() == 3));
  CHECK(again->knows(300, static_cast<std::uint16_t>(300 * 31)));
  for (std::size_t n = 0; n < bytes.size(); ++n)
    CHECK_FALSE(ClientSession::decode(BytesView(bytes).first(n)));
}

TEST_CASE("session: any number of identifiers is held, saved and let go, in eight kilobytes at most") {
  Rng rng(seed());
  ClientSession session;
  std::set<std::uint16_t> held;
  for (int round = 0; round < 20'000; ++round) {
    const bool grow = round % 8000 < 4000;
    const auto id = static_cast<std::uint16_t>(1 + rng.below(3000));
    if (grow) {
      session.hold(id);
      held.insert(id);
    } else {
      CHECK(session.release(id) == (held.erase(id) > 0));
    }
    if (round % 500 != 0) continue;
    const Bytes bytes = session.encode();
    CHECK(bytes.size() < 8300);
    const auto again = ClientSession::decode(bytes);
    REQUIRE(again);
    CHECK(again->held() == held.size());
    for (std::uint16_t one = 1; one <= 3000; ++one) REQUIRE(again->holds(one) == held.contains(one));
    CHECK(again->encode() == bytes);
  }
  for (std::uint32_t id = 1; id <= 65535; ++id) session.hold(static_cast<std::uint16_t>(id));
  CHECK((session.holds(1) && session.holds(65535) && session.held() == 65535));
  for (std::uint32_t id = 1; id <= 65535; ++id) CHECK(session.release(static_cast<std::uint16_t>(id)));
  CHECK(session.held() == 0);
  CHECK(session.encode().size() < 20);
}

TEST_CASE("password: mosquitto's own files are understood, ours say yes and no") {
  const std::string stored = hash_password("sesame", 1000);
  CHECK(stored.starts_with("$7$1000$"));
  CHECK(check_password(stored, "sesame"));
  CHECK_FALSE(check_password(stored, "Sesame"));
  CHECK_FALSE(check_password(stored, ""));
  CHECK(hash_password("sesame", 1000) != stored);  // salted
  CHECK_FALSE(check_hash("sesame").ok());
  CHECK_FALSE(check_hash("$7$0$YWJj$YWJj").ok());
  CHECK_FALSE(check_hash("$6$YWJj$YWJj").ok());
}

TEST_CASE("access list: a publisher's own name fills the topic filter, and cannot widen it") {
  const std::vector<AclConfig> acl{{{"line-*"}, {}, {}, {"plant/{username}/#"}},
                                   {{}, {}, {}, {"public/{client_id}/+"}},
                                   {{}, {}, {}, {"{client_id}/x"}}};
  const Grant grant = grant_of(acl, "line-1", "c1", "");
  CHECK(grant.allows("plant/line-1/x/y"));
  CHECK_FALSE(grant.allows("plant/line-2/x"));
  CHECK(grant.allows("public/c1/t"));
  CHECK_FALSE(grant.allows("public/c2/t"));
  CHECK(grant.allows("c1/x"));
  for (const char* sly : {"+", "#", "a/b", ""})
    CHECK_FALSE(grant_of(acl, "other", sly, "").allows("public/c2/t"));
  CHECK_FALSE(grant_of(acl, "other", "$SYS", "").allows("$SYS/x"));
  // A name that looks like another placeholder is a name.
  CHECK(grant_of(acl, "line-1", "{username}", "").allows("public/{username}/t"));
  CHECK_FALSE(grant_of(acl, "line-1", "{username}", "").allows("public/line-1/t"));
}

TEST_CASE("access list: a pattern fits names, never the want of one") {
  for (const char* pattern : {"*", "**", "?*", "[a-z]*"}) {
    const std::vector<AclConfig> users{{{pattern}, {}, {}, {"a/#"}}}, subjects{{{}, {}, {pattern}, {"a/#"}}};
    CAPTURE(pattern);
    CHECK(grant_of(users, "anna", "c1", "").allows("a/b"));
    CHECK_FALSE(grant_of(users, "", "c1", "press-1").allows("a/b"));
    CHECK(grant_of(subjects, "", "c1", "press-1").allows("a/b"));
    CHECK_FALSE(grant_of(subjects, "anna", "c1", "").allows("a/b"));
  }
  using namespace std::string_literals;
  CHECK(pattern_fits("device-1", "device-1"));
  CHECK_FALSE(pattern_fits("device-1", "device-1\0evil"s));
  CHECK_FALSE(pattern_fits("device-1\0evil"s, "device-1"));
  CHECK(pattern_fits("line-*-[0-9]?", "line-a-b-17"));
  CHECK_FALSE(pattern_fits("line-[!0-9]", "line-7"));
  CHECK((pattern_fits("a\\*", "a*") && !pattern_fits("a\\*", "ab") && pattern_fits("a[", "a[") &&
         pattern_fits("[]]", "]")));
}

TEST_CASE("access list: entries that name a user can say which client identifiers are his") {
  const std::vector<AclConfig> acl{{{"*"}, {"{username}", "{username}-*"}, {}, {"plant/{username}/#"}},
                                   {{"admin"}, {}, {}, {"#"}}};
  CHECK(grant_of(acl, "press-1", "press-1-a", "").allows("plant/press-1/x"));
  CHECK(grant_of(acl, "press-1", "boiler-9", "").other_client);
  CHECK_FALSE(grant_of(acl, "press-1", "boiler-9", "").allows("plant/press-1/x"));
  CHECK_FALSE(grant_of(acl, "press-1", "press-1", "").other_client);
  CHECK_FALSE(grant_of(acl, "admin", "anything", "").other_client);
  // nobody: it has no rights, and no name that would be wrong
  CHECK_FALSE(grant_of(acl, "", "boiler-9", "").other_client);
  CHECK(grant_of(acl, "a*", "axe", "").other_client);  // a user's name is no pattern
}

TEST_CASE("access list: # and + at the front do not reach what begins with $") {
  for (const char* filter : {"#", "+/#", "+/x", "+"}) {
    const Grant grant = grant_of({{{}, {}, {}, {filter}}}, "u", "c", "");
    CAPTURE(filter);
    CHECK_FALSE(grant.allows("$SYS/x"));
    CHECK_FALSE(grant.allows("$SYS"));
  }
  CHECK(grant_of({{{}, {}, {}, {"#"}}}, "u", "c", "").allows("plant/x"));
  CHECK(grant_of({{{}, {}, {}, {"$SYS/#"}}}, "u", "c", "").allows("$SYS/x"));
}

TEST_CASE("TLS tickets: opened by the same keys after a restart, by no others, and not for ever") {
  const std::string path = "/tmp/millrace-test-tickets-" + std::to_string(seed());
  const Bytes session = to_bytes("a session");
  const WallTime t{1'790'000'000'000'000};
  const auto keep = [](const std::string& file, const std::string& keys) {
    CHECK(replace_file(file, keys, 0600).ok());
  };
  Bytes ticket;
  {
    TicketKeys keys(path, "policy", keep);
    ticket = keys.seal(session, t);
    CHECK(keys.open(ticket, t) == session);
  }
  TicketKeys again(path, "policy", keep);
  CHECK(again.open(ticket, {t.us + 3'600'000'000}) == session);
  CHECK(again.open(ticket, {t.us + TicketKeys::lifetime_us + 1}).empty());
  Bytes bent = ticket;
  bent[40] ^= std::byte{1};
  CHECK(again.open(bent, t).empty());
  CHECK(TicketKeys(path + "-other", "policy", keep).open(ticket, t).empty());
  CHECK(TicketKeys(path, "another policy", keep).open(ticket, t).empty());
  std::remove(path.c_str());
}

}  // namespace endpoint_test
