// The endpoint's pure parts: packets, what is remembered of a client, and the connection's state machine.
#include <doctest/doctest.h>

#include <deque>

#include "base/rng.h"
#include "base/text.h"
#include "drivers/mqtt_endpoint/access.h"
#include "drivers/mqtt_endpoint/acl.h"
#include "drivers/mqtt_endpoint/endpoint_connection.h"
#include "net/password_hash.h"
#include "net/tls_tickets.h"
#include "sim/world/sim_loop.h"
#include "tests/support/seed.h"

using namespace millrace;
using mqtt::PacketType;

namespace {

std::string connect_packet(int version, const std::string& client = "c1", bool clean = true, std::uint32_t expiry = 0) {
  std::string out;
  mqtt::put_connect({static_cast<std::uint8_t>(version), client, 30, clean, expiry, "", {}}, out);
  return out;
}

std::string publish_packet(int version, const std::string& topic, const std::string& payload, int qos, std::uint16_t id, bool again = false) {
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
  int redelivered_count = 0;
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
  bool may_publish(EndpointConnection&, std::string_view topic) override { return !topic.starts_with("forbidden"); }
  Taken offer(EndpointConnection&, const mqtt::Publish& p, const mqtt::UserProperties&) override {
    if (taken.size() >= room) return quota ? Taken::quota : Taken::busy;
    taken.push_back(text(p.topic, "=", text_of(p.payload)));
    return Taken::taken;
  }
  void redelivered(EndpointConnection&) override { ++redelivered_count; }
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
    if (answer.size() >= 2 && static_cast<unsigned char>(answer[0]) == 0xE0) return answer[1] ? static_cast<unsigned char>(answer[2]) : 0;
    if (answer.size() >= 4 && static_cast<unsigned char>(answer[0]) == 0x20) return static_cast<unsigned char>(answer[3]);
    return -1;
  }
};

}  // namespace

TEST_CASE("endpoint: nothing is acknowledged before it is durable, and then in order") {
  Talk talk;
  talk.say(connect_packet(5));
  REQUIRE(talk.c.open());
  CHECK(talk.say(publish_packet(5, "a", "1", 1, 1) + publish_packet(5, "a", "2", 2, 2) + publish_packet(5, "a", "3", 1, 3), false).empty());
  CHECK(talk.host.taken == std::vector<std::string>{"a=1", "a=2", "a=3"});
  talk.c.durable(talk.ticket);
  CHECK(talk.c.output() == ack_packet(PacketType::puback, 1) + ack_packet(PacketType::pubrec, 2) + ack_packet(PacketType::puback, 3));
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
  CHECK(talk.say(publish_packet(5, "a", "2", 2, 7)) == ack_packet(PacketType::pubrec, 7));  // the identifier is free again
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

TEST_CASE("endpoint: bytes behind a CONNECT that waits for its answer are kept") {
  Talk talk;
  talk.host.answer_at_once = false;
  CHECK(talk.say(connect_packet(5) + publish_packet(5, "a", "1", 1, 1)).empty());
  CHECK(talk.c.stalled());
  talk.host.welcome(talk.c);
  talk.c.go_on();
  CHECK(talk.host.taken.size() == 1);
}

TEST_CASE("session: a QoS 1 redelivery is known only where identifiers are counted up") {
  ClientSession counting;
  for (std::uint16_t i = 1; i <= 50; ++i) counting.note(i, static_cast<std::uint16_t>(i * 7), 10);
  CHECK(counting.knows(50, 350));
  CHECK(counting.knows(41, 287));
  CHECK_FALSE(counting.knows(40, 280));  // older than the window
  CHECK_FALSE(counting.knows(50, 1));    // another message
  CHECK_FALSE(counting.knows(51, 357));
  ClientSession reusing;                 // the lowest free identifier, two at a time
  for (int i = 0; i < 100; ++i) reusing.note(static_cast<std::uint16_t>(1 + i % 2), 5, 2);
  CHECK_FALSE(reusing.knows(1, 5));
  CHECK_FALSE(reusing.knows(2, 5));
  ClientSession one;                     // always the same
  for (int i = 0; i < 100; ++i) one.note(1, 5, 1);
  CHECK_FALSE(one.knows(1, 5));
  ClientSession wrapping;
  for (std::uint32_t i = 65500; i < 65600; ++i) wrapping.note(static_cast<std::uint16_t>(i > 65535 ? i - 65535 : i), static_cast<std::uint16_t>(i), 10);
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
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(ClientSession::decode(BytesView(bytes).first(n)));
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
  const std::vector<AclConfig> acl{{{"line-*"}, {}, {}, {"plant/{username}/#"}}, {{}, {}, {}, {"public/{client_id}/+"}}, {{}, {}, {}, {"{client_id}/x"}}};
  const Grant grant = grant_of(acl, "line-1", "c1", "");
  CHECK(grant.allows("plant/line-1/x/y"));
  CHECK_FALSE(grant.allows("plant/line-2/x"));
  CHECK(grant.allows("public/c1/t"));
  CHECK_FALSE(grant.allows("public/c2/t"));
  CHECK(grant.allows("c1/x"));
  for (const char* sly : {"+", "#", "a/b", ""}) CHECK_FALSE(grant_of(acl, "other", sly, "").allows("public/c2/t"));
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
  CHECK((pattern_fits("a\\*", "a*") && !pattern_fits("a\\*", "ab") && pattern_fits("a[", "a[") && pattern_fits("[]]", "]")));
}

TEST_CASE("access list: entries that name a user can say which client identifiers are his") {
  const std::vector<AclConfig> acl{{{"*"}, {"{username}", "{username}-*"}, {}, {"plant/{username}/#"}}, {{"admin"}, {}, {}, {"#"}}};
  CHECK(grant_of(acl, "press-1", "press-1-a", "").allows("plant/press-1/x"));
  CHECK(grant_of(acl, "press-1", "boiler-9", "").other_client);
  CHECK_FALSE(grant_of(acl, "press-1", "boiler-9", "").allows("plant/press-1/x"));
  CHECK_FALSE(grant_of(acl, "press-1", "press-1", "").other_client);
  CHECK_FALSE(grant_of(acl, "admin", "anything", "").other_client);
  CHECK_FALSE(grant_of(acl, "", "boiler-9", "").other_client);       // nobody: it has no rights, and no name that would be wrong
  CHECK(grant_of(acl, "a*", "axe", "").other_client);                // a user's name is no pattern
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
  Bytes ticket;
  {
    TicketKeys keys(path, "policy");
    ticket = keys.seal(session, t);
    CHECK(keys.open(ticket, t) == session);
  }
  TicketKeys again(path, "policy");
  CHECK(again.open(ticket, {t.us + 3'600'000'000}) == session);
  CHECK(again.open(ticket, {t.us + TicketKeys::lifetime_us + 1}).empty());
  Bytes bent = ticket;
  bent[40] ^= std::byte{1};
  CHECK(again.open(bent, t).empty());
  CHECK(TicketKeys(path + "-other", "policy").open(ticket, t).empty());
  CHECK(TicketKeys(path, "another policy").open(ticket, t).empty());
  std::remove(path.c_str());
}
