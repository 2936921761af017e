// Who waits at the endpoint's door, who is let in and who has to go; what is said of them; and how
// descriptors are shared.
#include <doctest/doctest.h>

#include "base/text.h"
#include "config/descriptor_needs.h"
#include "kinds.h"
#include "drivers/mqtt_endpoint/comings.h"
#include "drivers/mqtt_endpoint/complaints.h"
#include "drivers/mqtt_endpoint/lobby.h"
#include "ingest/connection_shares.h"
#include "sim/world/sim_loop.h"
#include "uplink/https/https_config.h"

namespace lobby_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

struct FakeStream final : Stream {
  struct Peer {
    std::string address;
    std::function<void(bool)> readable;
    bool open = true;
  };
  explicit FakeStream(std::shared_ptr<Peer> its) : peer(std::move(its)) {}
  ~FakeStream() override { peer->open = false; }
  void read(std::function<void(BytesView)>) override {}
  void when_readable(std::function<void(bool)> readable) override { peer->readable = std::move(readable); }
  void pause() override {}
  void resume() override {}
  void write(std::string) override {}
  std::size_t pending_bytes() const override { return 0; }
  void finish(std::function<void()>) override {}
  std::optional<std::uint32_t> peer_uid() const override { return std::nullopt; }
  std::string peer_address() const override { return peer->address; }
  std::shared_ptr<Peer> peer;
};
using Peer = std::shared_ptr<FakeStream::Peer>;

struct Door {
  sim::SimLoop loop;
  std::map<Lobby::Guest, std::unique_ptr<Stream>> inside;
  std::vector<std::string> order;  // addresses, as they were let in
  Lobby lobby;

  explicit Door(std::size_t rate = 100, Duration within = 10s)
      : lobby(loop, {rate, within},
              {[this](Lobby::Guest guest, std::unique_ptr<Stream> stream) {
                 order.push_back(stream->peer_address());
                 inside.emplace(guest, std::move(stream));
               },
               [this](Lobby::Guest guest) { inside.erase(guest); }}) {}

  Peer comes(const std::string& address) {
    auto peer = std::make_shared<FakeStream::Peer>();
    peer->address = address;
    lobby.enter(std::make_unique<FakeStream>(peer));
    return peer;
  }
  Peer comes_and_speaks(const std::string& address) {
    auto peer = comes(address);
    std::exchange(peer->readable, nullptr)(true);
    return peer;
  }
  std::size_t let_in_from(const std::string& source) const {
    return static_cast<std::size_t>(std::count_if(
        order.begin(), order.end(), [&](const auto& address) { return source_of(address) == source; }));
  }
};

}  // namespace

TEST_CASE("lobby: a source is a host: one IPv4 address, one IPv6 network of 64 bits") {
  CHECK(source_of("192.0.2.7:40112") == "192.0.2.7");
  CHECK(source_of("[::ffff:192.0.2.7]:40112") == "192.0.2.7");
  CHECK(source_of("[2001:db8:0:1:aaaa::7]:1") == "2001:db8:0:1::/64");
  CHECK(source_of("[2001:db8:0:1:bbbb::8]:2") == source_of("[2001:db8:0:1:aaaa::7]:1"));
  CHECK(source_of("[2001:db8:0:2::7]:1") != source_of("[2001:db8:0:1::7]:1"));
  CHECK(source_of("") == "");
}

TEST_CASE("lobby: who says nothing spends nobody's turn, and goes after his time") {
  Door door(100, 10s);
  std::vector<Peer> silent;
  for (int i = 0; i < 1000; ++i) silent.push_back(door.comes(text("192.0.2.1:", i)));
  const Peer honest = door.comes_and_speaks("192.0.2.1:9999");  // of the same host, even
  door.loop.run_for(20ms);
  CHECK(door.order == std::vector<std::string>{"192.0.2.1:9999"});
  CHECK(door.lobby.waiting() == 1000);
  door.loop.run_for(10s);
  CHECK(door.lobby.sweep() == 1000);
  CHECK(std::none_of(silent.begin(), silent.end(), [](const Peer& p) { return p->open; }));
  CHECK(honest->open);
  CHECK(door.lobby.strangers() == 1);
}

TEST_CASE("lobby: who leaves again without a word is forgotten") {
  Door door;
  const Peer one = door.comes("192.0.2.1:1"), two = door.comes("192.0.2.2:1");
  std::exchange(one->readable, nullptr)(false);
  CHECK(!one->open);
  CHECK(door.lobby.waiting() == 1);
  CHECK(two->open);
}

TEST_CASE("lobby: people are let in at the rate, and sources take turns") {
  Door door(80, 60s);
  for (int i = 0; i < 500; ++i) door.comes_and_speaks(text("192.0.2.1:", i));
  for (int i = 0; i < 20; ++i) door.comes_and_speaks(text("192.0.2.2:", i));
  for (int second = 0; second < 2; ++second) {
    door.loop.run_for(1s);
    for (auto& [guest, stream] : door.inside) door.lobby.leave(guest);  // known at once
  }
  CHECK(door.order.size() >= 160);
  CHECK(door.order.size() <= 175);  // and what may come in one moment
  CHECK(door.let_in_from("192.0.2.2") == 20);
}

TEST_CASE("lobby: those who were let in and say no more do not keep others out") {
  Door door(20, 60s);
  std::vector<Peer> mute;
  // a byte each, and then nothing
  for (int i = 0; i < 200; ++i) mute.push_back(door.comes_and_speaks(text("192.0.2.1:", i)));
  door.loop.run_for(2s);
  const std::size_t before = door.order.size();
  CHECK(before <= 40);
  const Peer honest = door.comes_and_speaks("192.0.2.2:1");
  door.loop.run_for(100ms);
  CHECK(door.let_in_from("192.0.2.2") == 1);  // the crowd's oldest went for it
  CHECK(!mute.front()->open);
  CHECK(honest->open);
}

TEST_CASE("lobby: who waits for his password to be checked holds nobody up") {
  Door door(16, 60s);
  for (int i = 0; i < 64; ++i) {
    door.comes_and_speaks(text("192.0.2.1:", i));
    door.loop.run_for(100ms);
    if (!door.inside.empty()) door.lobby.introduced(door.inside.rbegin()->first);
  }
  CHECK(door.order.size() == 64);
  CHECK(door.inside.size() == 64);  // nobody was sent away
}

TEST_CASE("lobby: room is made by the busiest source, its silent ones first") {
  Door door(100, 60s);
  std::vector<Peer> crowd;
  for (int i = 0; i < 10; ++i) crowd.push_back(door.comes_and_speaks(text("192.0.2.1:", i)));
  door.loop.run_for(200ms);
  const Peer few = door.comes_and_speaks("192.0.2.2:1"), silent = door.comes("192.0.2.1:99"),
             silent_few = door.comes("192.0.2.3:1");
  door.loop.run_for(200ms);
  CHECK(door.lobby.make_room("192.0.2.4"));
  CHECK(!silent->open);
  CHECK(door.lobby.make_room("192.0.2.4"));
  CHECK(!silent_few->open);  // nobody has heard anything of him
  CHECK(door.lobby.make_room("192.0.2.4"));
  CHECK(!crowd[0]->open);
  CHECK(crowd[1]->open);
  CHECK(few->open);
}

TEST_CASE(
    "lobby: equal sources leave each other alone, and one's own newcomer waits until the oldest had his time") {
  Door door(100, 60s);
  const Peer a = door.comes_and_speaks("192.0.2.1:1"), b = door.comes_and_speaks("192.0.2.2:1");
  door.loop.run_for(100ms);
  CHECK(!door.lobby.make_room("192.0.2.1"));
  CHECK(!door.lobby.make_room("192.0.2.3"));
  CHECK(a->open);
  CHECK(b->open);
  door.loop.run_for(Lobby::grace);
  CHECK(door.lobby.make_room("192.0.2.3"));
  CHECK(!a->open);
  CHECK(b->open);
}

TEST_CASE("lobby: letting in takes half of the loop's time at most") {
  Door door(100, 60s);
  for (int i = 0; i < 300; ++i) door.comes_and_speaks(text("192.0.2.", i % 7, ":", i));
  std::size_t seen = 0;
  for (int ms = 0; ms < 1000; ++ms) {
    door.loop.run_for(1ms);
    for (; seen < door.order.size(); ++seen) door.lobby.took(50ms);  // a slow board's handshake
    for (auto& [guest, stream] : door.inside) door.lobby.introduced(guest);
  }
  CHECK(door.order.size() <= 12 + 20);  // what may come in one moment, and then one in 50 ms
}

TEST_CASE("complaints: one line for each source and reason, and how many more there were") {
  Complaints complaints;
  CHECK(complaints.rest(Instant{} + 100s).empty());
  CHECK(complaints.heard("192.0.2.1", "nonsense", Instant{} + 100s));
  for (int i = 0; i < 999; ++i) CHECK(!complaints.heard("192.0.2.1", "nonsense", Instant{} + 100s));
  CHECK(complaints.heard("192.0.2.1", "silence", Instant{} + 100s));
  CHECK(complaints.heard("192.0.2.2", "nonsense", Instant{} + 100s));
  CHECK(!complaints.heard("192.0.2.2", "nonsense", Instant{} + 100s));
  CHECK(complaints.rest(Instant{} + 105s).empty());
  CHECK(
      complaints.rest(Instant{} + 110s) ==
      "1000 more connections were refused or ended in the last 10 s, 999 of them from 192.0.2.1, mostly: nonsense");
  CHECK(complaints.heard("192.0.2.1", "nonsense", Instant{} + 110s));  // a new time
  CHECK(complaints.rest(Instant{} + 120s).empty());
  // After a quiet day it is not the day's.
  CHECK(complaints.heard("192.0.2.1", "nonsense", Instant{} + 24h));
  CHECK(!complaints.heard("192.0.2.1", "nonsense", Instant{} + 24h));
  CHECK(complaints.rest(Instant{} + 24h + 1s).empty());
  CHECK(complaints.rest(Instant{} + 24h + 11s).find("in the last 11 s, 1 of them") != std::string::npos);
}

TEST_CASE(
    "complaints: sources and reasons without end take bounded memory and do not silence others at once") {
  Complaints complaints;
  std::size_t said = 0;
  for (int i = 0; i < 1000; ++i) said += complaints.heard("192.0.2.1", text("reason ", i), Instant{});
  CHECK(said == Complaints::kinds_of_source_max);
  CHECK(complaints.heard("192.0.2.2", "nonsense", Instant{}));
  for (int i = 0; i < 1000; ++i) said += complaints.heard(text("198.51.100.", i), "nonsense", Instant{});
  CHECK(said < Complaints::kinds_max);
  CHECK(complaints.rest(Instant{} + 20s).starts_with("1937 more connections"));
}

TEST_CASE("descriptors: each endpoint gets its part of what is left, and all of it where there is enough") {
  ConnectionShares shares(900);
  const auto one = shares.join(4000);
  CHECK(one->allowed() == 900);
  auto two = shares.join(500);
  CHECK(one->allowed() == 800);
  CHECK(two->allowed() == 100);
  CHECK(one->lacking() == 3600);  // of both
  CHECK(two->lacking() == 3600);
  shares.set_total(10'000);
  CHECK(one->lacking() == 0);
  CHECK(one->allowed() == 4000);
  CHECK(two->allowed() == 500);
  shares.set_total(400);
  two.reset();
  CHECK(one->allowed() == 400);
  CHECK(one->lacking() == 3600);
  shares.set_total(0);
  CHECK(one->allowed() == 0);
  CHECK(one->lacking() == 4000);
}

TEST_CASE("descriptors: what a gateway needs itself grows with what it has, and is never given to devices") {
  Config config;
  const std::size_t bare = own_descriptors(config);
  CHECK(bare < 200);
  const auto add = [](std::vector<PartConfig>& parts, const std::vector<const PartKind*>& kinds,
                      std::string_view name, int count) {
    for (const PartKind* kind : kinds) {
      for (int i = 0; kind->name == name && i < count; ++i) {
        parts.emplace_back().kind = kind;
        parts.back().values = kind->make_values();
      }
    }
  };
  add(config.inputs, built_kinds().inputs, "mqtt_endpoint", 2);
  add(config.inputs, built_kinds().inputs, "mqtt", 2);
  add(config.uplinks, built_kinds().uplinks, "mqtt", 2);
  add(config.uplinks, built_kinds().uplinks, "kafka", 1);
  add(config.uplinks, built_kinds().uplinks, "https", 2);
  const std::size_t of_one_connection = own_descriptors(config);
  static_cast<HttpsUplinkConfig*>(config.uplinks.back().values.get())->batches_in_flight = 8;
  CHECK(own_descriptors(config) >= of_one_connection + 7);
  CHECK(own_descriptors(config) > bare + 100);
  CHECK(device_descriptors(config) == 8000);
  CHECK(devices_within(config, 1024) == 1024 - own_descriptors(config));
  CHECK(devices_within(config, own_descriptors(config)) == 0);
  CHECK(devices_within(config, 10) == 0);
}

TEST_CASE("comings: who connects without end has a share of events, and the last one is the truth") {
  Comings comings{100};
  Instant now{1'000'000'000'000};
  std::uint64_t changes = 0, told = 0, left_out = 0;
  bool said = false;
  const auto hear = [&](const std::vector<Comings::Event>& events) {
    for (const Comings::Event& event : events) {
      ++told;
      left_out += event.left_out;
      said = event.connected;
      CHECK(event.publisher.device == "d");
    }
  };
  const auto change = [&](bool connected) {
    ++changes;
    hear(comings.take("d", {{"d", "", ""}, connected, {}, "there"}, now));
  };
  for (int i = 0; i < 10'000; ++i) {  // ten seconds long
    change(i % 2 == 0);
    now = now + 1ms;
    hear(comings.take_due(now));
  }
  CHECK(told == 20);
  CHECK(comings.pending());
  change(true);
  now = now + 30s;
  hear(comings.take_due(now));
  CHECK(told == 21);
  CHECK(said);
  CHECK(told + left_out == changes);
  CHECK_FALSE(comings.pending());
  now = now + 1h;
  hear(comings.take_due(now));
  CHECK(told == 21);
  change(false);  // in peace again
  CHECK_FALSE(said);
  CHECK(told + left_out == changes);
}

TEST_CASE("comings: another client has a share of its own, and a stop tells the rest") {
  Comings comings{100};
  const Instant now{1'000'000'000'000};
  for (int i = 0; i < 25; ++i) (void)comings.take("a", {{"a", "", ""}, i % 2 == 0, {}, "there"}, now);
  CHECK(comings.take("b", {{"b", "", ""}, true, {}, "there"}, now).size() == 1);
  const auto rest = comings.take_all(now);
  REQUIRE(rest.size() == 1);
  CHECK(rest[0].publisher.device == "a");
  CHECK(rest[0].connected);
  CHECK(rest[0].left_out == 4);
  CHECK_FALSE(comings.pending());
}

TEST_CASE("comings: of more clients than are known at a time nothing goes untold") {
  Comings comings{100};
  Instant now{1'000'000'000'000};
  std::map<std::string, bool> is, said;
  std::uint64_t changes = 0, told = 0;
  const auto hear = [&](const std::vector<Comings::Event>& events) {
    for (const Comings::Event& event : events) {
      told += 1 + event.left_out;
      said[event.publisher.device] = event.connected;
    }
  };
  // A fleet comes once; then more clients than have room come and go without end.
  for (std::size_t i = 0; i < 3 * Comings::clients_max; ++i) {
    const std::string name = text("fleet-", i);
    const auto events = comings.take(name, {{name, "", ""}, true, {}, name}, now);
    CHECK(events.size() == 1);
  }
  for (int turn = 0; turn < 30; ++turn) {
    for (std::size_t i = 0; i < Comings::clients_max + 100; ++i) {
      const std::string name = text("mad-", i);
      is[name] = turn % 2 == 0;
      ++changes;
      hear(comings.take(name, {{name, "", ""}, is[name], {}, name}, now));
    }
    now = now + 10ms;
  }
  hear(comings.take_all(now));
  CHECK(told == changes);
  CHECK(said == is);
}

TEST_CASE("comings: who takes another name each time pays out of his address's share, and is counted") {
  Comings comings{100};
  Instant now{1'000'000'000'000};
  std::uint64_t changes = 0, told = 0, left_out = 0;
  std::map<std::string, bool> said;
  const auto hear = [&](const std::vector<Comings::Event>& events) {
    for (const Comings::Event& event : events) {
      ++told;
      left_out += event.left_out;
      said[event.publisher.device] = event.connected;
    }
  };
  const auto change = [&](const std::string& name, bool connected, const std::string& source) {
    ++changes;
    hear(comings.take(name, {{name, "", ""}, connected, {}, source}, now));
  };
  for (int i = 0; i < 10'000; ++i) {  // a hundred seconds long
    change(text("random-", i), true, "192.0.2.7");
    now = now + 10ms;
    hear(comings.take_due(now));
    change(text("random-", i), false, "192.0.2.7");
  }
  CHECK(told >= 200);
  CHECK(told <= 206);
  CHECK_FALSE(comings.pending());
  change("calm", true, "192.0.2.8");
  CHECK(said.at("calm"));
  change("random-0", true, "192.0.2.7");  // who is known has a share of his own
  CHECK(said.at("random-0"));
  change("stays", true, "192.0.2.7");
  CHECK_FALSE(said.contains("stays"));
  now = now + 2min;
  hear(comings.take_due(now));
  CHECK(said.at("stays"));
  CHECK(told + left_out == changes);
  for (const auto& [name, connected] : said)
    CHECK(connected == (name == "calm" || name == "random-0" || name == "stays"));
}

TEST_CASE("comings: a fleet behind one address is told of at once, and when it comes back") {
  constexpr std::size_t devices = 6000;
  Comings comings{devices};
  Instant now{1'000'000'000'000};
  for (int turn = 0; turn < 10; ++turn) {
    std::size_t told = 0;
    for (std::size_t i = 0; i < devices; ++i) {
      const std::string name = text("fleet-", i);
      told += comings.take(name, {{name, "", ""}, turn % 2 == 0, {}, "192.0.2.7"}, now).size();
    }
    CHECK(told == devices);
    now = now + 10ms;
  }
}

TEST_CASE("comings: of more addresses than are known none takes the others' share") {
  Comings comings{50};
  Instant now{1'000'000'000'000};
  std::size_t told = 0;
  const auto come = [&](const std::string& name, const std::string& source) {
    return comings.take(name, {{name, "", ""}, true, {}, source}, now).size();
  };
  for (std::size_t source = 0; source < 3 * Comings::sources_max; ++source) {
    now = now + 100ms;
    told += come(text("one-", source), text("a", source));
  }
  CHECK(told == 3 * Comings::sources_max);
  for (int i = 0; i < 60; ++i) (void)come(text("random-", i), "192.0.2.7");
  CHECK(come("random", "192.0.2.7") == 0);
  CHECK(come("another", "192.0.2.8") == 1);
}

}  // namespace lobby_test
