// What the endpoint keeps of devices that are away: how sessions grow old over restarts, which go first,
// wills that wait, and what is left of an address where nobody listens.
#include <doctest/doctest.h>
#include <unistd.h>

#include "base/files.h"
#include "base/text.h"
#include "drivers/mqtt_endpoint/left_sessions.h"
#include "drivers/mqtt_endpoint/left_tickets.h"
#include "drivers/mqtt_endpoint/sessions.h"
#include "drivers/mqtt_endpoint/state_names.h"
#include "drivers/mqtt_endpoint/wills.h"
#include "tests/support/remembering_intake.h"

namespace endpoint_sessions_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

constexpr const char* address = "127.0.0.1:1883";
const Principal nobody{};

struct FakeHost final : EndpointConnection::Host {
  void arrived(EndpointConnection&, const mqtt::Connect&) override {}
  bool may_publish(EndpointConnection&, std::string_view) override { return true; }
  void denied(EndpointConnection&, std::string_view, bool) override {}
  Taken offer(EndpointConnection&, const mqtt::Publish&, const mqtt::UserProperties&) override {
    return Taken::taken;
  }
  void redelivered(EndpointConnection&) override {}
};

// A gateway that comes and goes over the log's values; time that passes while it is away counts.
struct Site {
  RememberingIntake intake;
  std::int64_t passed_us = 0;
  Instant now{1'000'000'000};
  FakeHost host;
  EndpointLimits limits;
  EndpointConnection link{host, limits};
  std::unique_ptr<EndpointSessions> sessions;
  std::unique_ptr<EndpointWills> wills;

  explicit Site(std::size_t will_bytes = 1 << 20) { start(will_bytes); }
  void pass(Duration time) {
    passed_us += to_us(time);
    now = now + time;
  }
  void start(std::size_t will_bytes = 1 << 20) {
    sessions = std::make_unique<EndpointSessions>(intake, "devices", address, [this] { return passed_us; });
    wills = std::make_unique<EndpointWills>(intake, "devices", address, will_bytes);
    sessions->load(now);
    wills->load(
        [this](const std::string& key, std::uint32_t delay) { return sessions->due(key, delay, now); });
  }
  std::string connect(const std::string& client, std::uint32_t expiry) {
    const std::string key = session_key(nobody, client);
    auto& session = sessions->open(key);
    session.link = &link;
    session.state.expiry_seconds = expiry;
    (void)sessions->save(key);
    return key;
  }
  EndpointWills::Pending will(const std::string& key, std::uint32_t delay,
                              const std::string& payload = "gone") {
    EndpointWills::Pending pending{key, {"d1", "user", "subject"}, now + std::chrono::seconds(delay), {}};
    pending.will = {"plant/d1/state", payload, delay, payload.size()};
    return pending;
  }
};

}  // namespace

TEST_CASE("sessions: the time a device has been away counts over restarts") {
  Site site;
  const std::string key = site.connect("d1", 3600);
  CHECK(site.sessions->leave(key, 3600, site.now));
  for (int i = 0; i < 5; ++i) {
    site.pass(10min);
    site.start();
    CHECK_FALSE(site.sessions->forget_expired(site.now));
  }
  site.pass(11min);
  site.start();
  CHECK(site.sessions->forget_expired(site.now));
  CHECK(site.intake.values.empty());
}

TEST_CASE("sessions: one that was connected when the gateway was killed has its whole time, once") {
  Site site;
  site.connect("d1", 3600);
  site.pass(2h);
  site.start();
  CHECK_FALSE(site.sessions->forget_expired(site.now));
  site.pass(30min);
  CHECK(site.sessions->forget_expired(site.now));  // noted: since when it is alone
  CHECK(site.sessions->size() == 1);
  site.start();
  CHECK_FALSE(site.sessions->forget_expired(site.now));
  site.pass(31min);
  CHECK(site.sessions->forget_expired(site.now));
  CHECK(site.sessions->size() == 0);
}

TEST_CASE("sessions: an expiry that DISCONNECT raises is saved") {
  Site site;
  const std::string key = site.connect("d1", 60);
  CHECK(site.sessions->leave(key, 3600, site.now));
  site.start();
  site.pass(30min);
  CHECK_FALSE(site.sessions->forget_expired(site.now));
  REQUIRE(site.sessions->find(key));
  CHECK(site.sessions->find(key)->state.expiry_seconds == 3600);
}

TEST_CASE("sessions: of too many those go whose devices left first, and none that is connected") {
  Site site;
  std::vector<std::string> keys;
  for (int i = 0; i < 6; ++i) keys.push_back(site.connect(text("d", 5 - i), 3600));
  for (const int i : {2, 0, 4, 1, 3}) {
    site.pass(1s);
    CHECK(site.sessions->leave(keys[static_cast<std::size_t>(i)], 3600, site.now));
  }
  CHECK(site.sessions->surplus(6).empty());
  CHECK(site.sessions->surplus(4) == std::vector{keys[2], keys[0]});
  CHECK(site.sessions->surplus(0).size() == 5);
  site.pass(1s);
  site.start();  // the sixth was connected: it left last
  CHECK(site.sessions->surplus(1) == std::vector{keys[2], keys[0], keys[4], keys[1], keys[3]});
}

TEST_CASE("wills: one that waits outlives the process, and is due when it would have been") {
  Site site;
  const std::string key = site.connect("d1", 3600);
  CHECK(site.wills->keep(site.will(key, 600)));
  CHECK(site.sessions->leave(key, 3600, site.now));
  CHECK(site.wills->wait(site.will(key, 600)));
  site.pass(4min);
  site.start();
  CHECK(site.wills->take_due(site.now).empty());
  site.pass(7min);
  site.start();  // it came due while nobody was there
  const auto due = site.wills->take_due(site.now);
  REQUIRE(due.size() == 1);
  CHECK((due.front().session == key && due.front().publisher.device == "d1" &&
         due.front().publisher.username == "user"));
  CHECK((due.front().will.topic == "plant/d1/state" && due.front().will.payload == "gone" &&
         due.front().publisher.subject == "subject"));
  site.start();  // published once
  CHECK(site.wills->take_due(site.now + 24h).empty());
}

TEST_CASE(
    "wills: of a client that was connected when the gateway was killed the delay begins anew; of a session that is gone it is over") {
  Site site;
  const std::string key = site.connect("d1", 3600), lost = site.connect("d2", 3600);
  CHECK(site.wills->keep(site.will(key, 600)));
  CHECK(site.wills->keep(site.will(lost, 600)));
  CHECK(site.sessions->forget(lost));
  site.pass(1h);
  site.start();
  const auto due = site.wills->take_due(site.now);
  REQUIRE(due.size() == 1);
  CHECK(due.front().session == lost);
  site.pass(9min);
  CHECK(site.wills->take_due(site.now).empty());
  site.pass(2min);
  CHECK(site.wills->take_due(site.now).size() == 1);
}

TEST_CASE("wills: a session that ends before the delay publishes with its end") {
  Site site;
  const std::string key = site.connect("d1", 60);
  CHECK(site.wills->keep(site.will(key, 600)));
  CHECK(site.sessions->leave(key, 60, site.now));
  site.start();
  site.pass(61s);
  CHECK(site.wills->take_due(site.now).size() == 1);
}

TEST_CASE("wills: what is kept of them is bounded, and what is taken back leaves room") {
  Site site(4096);
  std::size_t kept = 0;
  for (int i = 0; i < 100; ++i) kept += site.wills->keep(site.will(text("s", i), 10, std::string(400, 'x')));
  CHECK((kept > 3 && kept < 10));
  CHECK(site.intake.values.size() == kept);
  CHECK(site.wills->take_put());
  for (int i = 0; i < 100; ++i) site.wills->forget(text("s", i));
  CHECK(site.intake.values.empty());
  CHECK(site.wills->keep(site.will("s", 10)));
  std::size_t waiting = 0;
  for (int i = 0; i < 3000; ++i)
    waiting += site.wills->wait(site.will(text("w", i), 10, std::string(4000, 'x')));
  CHECK((waiting > 500 && waiting < 1100));
  CHECK(site.wills->bytes() <= EndpointWills::bytes_max);
  CHECK(site.wills->take_unkept().size() == waiting);
  CHECK(site.wills->bytes() == 0);
}

TEST_CASE("wills: bytes that are none are told and gone") {
  Site site;
  (void)site.intake.put_state(endpoint_states(will_states, address) + "n0:/d1", Bytes(7));
  site.start();
  CHECK(site.wills->take_put());
  CHECK(site.wills->empty());
  CHECK(site.intake.values.empty());
}

TEST_CASE(
    "left sessions: where nobody listens any more each goes after its own time, shown until then, and its will with it") {
  Site site;
  for (const auto& [client, expiry] : {std::pair{"short", 60u}, {"long", 7200u}, {"for ever", UINT32_MAX}}) {
    const std::string key = site.connect(client, expiry);
    CHECK(site.wills->keep(site.will(key, 30)));
    if (client != std::string("long")) CHECK(site.sessions->leave(key, expiry, site.now));
  }
  (void)site.intake.put_state(
      "endpoint/old/\x1f"
      "d9",
      site.sessions->find(session_key(nobody, "short"))->state.encode());
  (void)site.intake.put_state(text("session/x"), Bytes(3));
  LeftSessions left(
      site.intake, [&] { return site.passed_us; }, 24h);
  left.look({{"old"}, {text("listen ", address)}});
  CHECK(left.kept().empty());
  CHECK(site.intake.values.size() == 7);  // what belongs to nobody is gone
  site.pass(30s);
  left.look({{"devices"}, {"listen 127.0.0.1:1884"}});
  CHECK(left.kept().at(address).values == 3);
  CHECK(left.kept().at("old").values == 1);
  site.pass(31s);
  left.look({});
  CHECK(left.kept().size() == 1);
  CHECK(left.kept().at(address).values == 2);
  CHECK(site.intake.values.size() == 4);
  site.pass(2h);  // the one that was connected counts from when it was seen to be left
  left.look({});
  CHECK(left.kept().at(address).values == 1);
  site.pass(23h);
  left.look({});
  CHECK(left.kept().empty());
  CHECK(site.intake.values.empty());
}

TEST_CASE(
    "left tickets: keys of endpoints that are gone, or speak no TLS any more, go; all other files stay") {
  const std::string path = text("/tmp/millrace-tickets-", ::getpid());
  REQUIRE(make_folders(path).ok());
  const auto make = [&](const char* name) { REQUIRE(replace_file(path + "/" + name, "keys", 0600).ok()); };
  for (const char* name : {"tls-tickets-a", "tls-tickets-b", "tls-tickets-b.2", "schema-id-b"}) make(name);
  const auto there = [&] { return open_folder(path)->list().value(); };
  using Names = std::vector<std::string>;
  LeftTickets left(path);
  const Keeper::Present both{{"a", "b"}, {"listen x:1", LeftTickets::claim("a"), LeftTickets::claim("b")}};
  left.look(both);
  CHECK(there() == Names{"schema-id-b", "tls-tickets-a", "tls-tickets-b"});
  left.look({{"a", "b"}, {"listen x:1", LeftTickets::claim("a")}});
  CHECK(there() == Names{"schema-id-b", "tls-tickets-a"});
  // One that comes back makes keys of its own.
  make("tls-tickets-b");
  left.look(both);
  left.look({});
  CHECK(there() == Names{"schema-id-b"});
  CHECK(remove_folder(path).ok());
}

}  // namespace endpoint_sessions_test
