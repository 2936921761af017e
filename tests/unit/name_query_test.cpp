// Names, and name servers that lie, fail, mumble or say nothing.
#include <doctest/doctest.h>

#include "base/rng.h"
#include "loop/uv_loop.h"
#include "net/resolver.h"
#include "net/system_names.h"
#include "tests/support/name_server.h"
#include "tests/support/seed.h"

namespace name_query_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

using Addresses = std::vector<std::string>;

struct Asked {
  NameServer server;
  SystemClock clock;
  Duration took{};

  Result<Addresses> ask(const std::string& host, Duration timeout = 5s, const std::string& servers = "") {
    const Instant begun = clock.now();
    NameQuery query(host, begun, timeout, servers.empty() ? server.address() : servers);
    while (!query.proceed(clock.now()))
      server.serve(query.fd(), static_cast<int>(to_ms(query.wait(clock.now()))) + 1);
    took = clock.now() - begun;
    return query.result();
  }
  // What was said to the question for IPv4; there is no IPv6.
  void says(std::function<std::vector<std::string>(const NameQuestion&)> for_v4) {
    server.answer = [for_v4 = std::move(for_v4)](const NameQuestion& asked) {
      return asked.type == 1 ? for_v4(asked) : std::vector{reply(asked, {})};
    };
  }
  std::string why(const std::string& host, Duration timeout = 5s) {
    const auto result = ask(host, timeout);
    return result.ok() ? "resolved" : result.status().detail();
  }
  std::string asked_whom() const {
    const std::string address = server.address();
    return text(" (name servers asked: 127.0.0.1 port ", address.substr(address.find(':') + 1), ")");
  }
};

}  // namespace

TEST_CASE_FIXTURE(Asked, "names: a number and a name of /etc/hosts ask nobody") {
  for (const char* number : {"192.0.2.7", "::1", "2001:db8::7"}) {
    const auto result = ask(number, 0s);
    REQUIRE(result.ok());
    CHECK(result.value() == Addresses{number});
  }
  for (const char* name : {"localhost", "LocalHost.", "broker.localhost"}) {
    const auto localhost = ask(name, 1s);
    REQUIRE(localhost.ok());
    CHECK(localhost.value() == Addresses{"127.0.0.1", "::1"});
  }
  CHECK(server.asked.empty());
  CHECK(took < 500ms);
}

TEST_CASE_FIXTURE(Asked,
                  "names: all addresses come in the name server's order, without doubles, sixteen at most") {
  says([](const NameQuestion& asked) {
    return std::vector{reply(asked, {a_record("192.0.2.9"), a_record("192.0.2.1"), a_record("192.0.2.9"),
                                     a_record("10.0.0.1", 0xffffffff)})};
  });
  auto result = ask("broker.example");
  REQUIRE(result.ok());
  CHECK(result.value() == Addresses{"192.0.2.9", "192.0.2.1", "10.0.0.1"});

  says([](const NameQuestion& asked) {
    std::vector<std::string> records;
    for (int i = 0; i < 200; ++i) records.push_back(a_record(text("192.0.2.", i)));
    return std::vector{asked.tcp ? reply(asked, records) : reply(asked, {}, no_error, true)};
  });
  result = ask("many.example");
  REQUIRE(result.ok());
  CHECK(result.value().size() == NameQuery::addresses_max);
  CHECK(result.value().front() == "192.0.2.0");
  CHECK(server.asked.back().tcp);  // what was cut off by UDP was asked for again by TCP
}

TEST_CASE_FIXTURE(Asked, "names: an alias is followed; a circle of them has no address") {
  says([](const NameQuestion& asked) {
    return std::vector{
        reply(asked, {resource(5, encoded_name("real.example")),
                      resource(1, std::string("\x0a\0\0\7", 4), 60, encoded_name("real.example"))})};
  });
  const auto result = ask("alias.example");
  REQUIRE(result.ok());
  CHECK(result.value() == Addresses{"10.0.0.7"});
  says([](const NameQuestion& asked) {
    return std::vector{reply(asked, {resource(5, encoded_name("b.example")),
                                     resource(5, encoded_name(asked.name), 60, encoded_name("b.example"))})};
  });
  CHECK(why("a.example")
            .starts_with(
                "cannot resolve a.example: the name has no address (name servers asked: 127.0.0.1 port "));
}

TEST_CASE_FIXTURE(Asked, "names: each refusal has its words, with who was asked") {
  const auto says_code = [this](int rcode) {
    server.answer = [rcode](const NameQuestion& asked) { return std::vector{reply(asked, {}, rcode)}; };
  };
  says_code(nxdomain);
  CHECK(why("a.example.") == "cannot resolve a.example.: there is no such name" + asked_whom());
  for (const int rcode : {servfail, refused}) {
    says_code(rcode);
    CHECK(
        why("a.example.") ==
        "cannot resolve a.example.: each name server failed, refused the question, or could not be reached" +
            asked_whom());
    CHECK(took < 500ms);
  }
  says_code(no_error);
  CHECK(why("a.example.") == "cannot resolve a.example.: the name has no address" + asked_whom());
  CHECK(why("bad..name").starts_with("cannot resolve bad..name: "));
  CHECK(why(std::string(300, 'x')).starts_with("cannot resolve xxx"));
  CHECK(took < 1s);
  const auto nobody = ask("a.example.", 5s, "127.0.0.1:1");
  REQUIRE(!nobody.ok());
  CHECK(took < 500ms);
  CHECK(
      nobody.status().detail() ==
      "cannot resolve a.example.: each name server failed, refused the question, or could not be reached (name servers asked: 127.0.0.1 port 1)");
}

TEST_CASE_FIXTURE(
    Asked, "names: a name server that says nothing costs the deadline, no more; the next one takes over") {
  CHECK(why("a.example.", 300ms) == "cannot resolve a.example.: no answer within 300ms" + asked_whom());
  CHECK(took < 2s);
  const NameServer dead;
  says([](const NameQuestion& asked) { return std::vector{reply(asked, {a_record("192.0.2.1")})}; });
  const auto result = ask("a.example.", 10s, text(dead.address(), ",", server.address()));
  REQUIRE(result.ok());
  CHECK(took < 5s);
}

TEST_CASE_FIXTURE(Asked, "names: answers to other questions are not taken") {
  says([](const NameQuestion& asked) {
    NameQuestion forged = asked;
    forged.bytes[0] ^= 0x55;
    const std::string other_id = reply(forged, {a_record("192.0.2.66")});
    forged = asked;
    forged.question[1] ^= 0x03;
    return std::vector{other_id, reply(forged, {a_record("192.0.2.66")}),
                       reply(asked, {a_record("192.0.2.1")})};
  });
  const auto result = ask("a.example.");
  REQUIRE(result.ok());
  CHECK(result.value() == Addresses{"192.0.2.1"});
}

TEST_CASE_FIXTURE(Asked, "names: whatever bytes a name server sends, the question ends") {
  Rng rng(seed());
  for (int round = 0; round < 2000; ++round) {
    says([&](const NameQuestion& asked) {
      const std::string good = reply(
          asked, {resource(5, encoded_name("b.example")), a_record("192.0.2.1"), a_record("192.0.2.2")});
      std::string bad = good;
      for (std::uint64_t faults = 1 + rng.below(4); faults > 0; --faults)
        bad[2 + rng.below(bad.size() - 2)] = static_cast<char>(rng.below(256));
      bad.resize(rng.below(4) == 0 ? 1 + rng.below(bad.size()) : bad.size());
      return std::vector{bad, reply(asked, {a_record("192.0.2.1")})};
    });
    const auto result = ask("a.example.", 2s);
    if (result.ok()) CHECK(!result.value().empty());
    REQUIRE(took < 10s);
  }
}

TEST_CASE("names: who gives up is not called any more") {
  UvLoop loop;
  int called = 0;
  {
    const Lookup lookup(loop, "no.such.host.invalid", 10s, [&](const auto&) { ++called; });
  }
  auto number = std::make_unique<Lookup>(loop, "192.0.2.1", 10s, [&](const auto&) { ++called; });
  number.reset();
  std::unique_ptr<Lookup> local;
  local = std::make_unique<Lookup>(loop, "localhost", 10s, [&](const Result<Addresses>& result) {
    CHECK(result.ok());
    local.reset();
  });
  const auto end = loop.after(200ms, [&] { loop.stop(); });
  loop.run();
  CHECK(called == 0);
  CHECK(local == nullptr);
}

TEST_CASE("names: a foreign thread waits until nobody wants the answer") {
  const SystemClock clock;
  const Instant begun = clock.now();
  const auto number = look_up_waiting(clock, "192.0.2.1", 1s, [] { return true; });
  REQUIRE(number.ok());
  CHECK(number.value() == Addresses{"192.0.2.1"});
  (void)look_up_waiting(clock, "no.such.host.invalid", 60s, [&] { return clock.now() - begun < 300ms; });
  CHECK(clock.now() - begun < 5s);
}

TEST_CASE("names: .local is the system's where nsswitch.conf names mdns") {
  CHECK(names_mdns("passwd: files\nhosts:  files mdns4_minimal [NOTFOUND=return] dns\n"));
  CHECK(!names_mdns("hosts: files dns # mdns4\n"));
  CHECK(!names_mdns("#hosts: mdns\nhosts: files dns"));
  CHECK(!SystemNames::wanted_for("broker.example"));
  CHECK(!SystemNames::wanted_for("local"));
  const SystemClock clock;
  const auto asked = SystemNames::ask("localhost");
  REQUIRE(asked.ok());
  pollfd ready{asked.value()->fd(), POLLIN, 0};
  REQUIRE(::poll(&ready, 1, 10'000) == 1);
  const auto answer = asked.value()->answer();
  REQUIRE(answer.has_value());
  CHECK(answer->ok());
}

}  // namespace name_query_test
