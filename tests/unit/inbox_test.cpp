#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "base/rng.h"
#include "base/text.h"
#include "ingest/mapped_inbox.h"
#include "tests/support/seed.h"

namespace inbox_test {
using namespace millrace;

namespace {

struct Memory {
  std::vector<std::uint64_t> words;
  explicit Memory(std::size_t capacity) : words(MappedInbox::region_bytes(capacity) / 8) {
    MappedInbox::format(region(), 99);
  }
  std::span<std::byte> region() { return {reinterpret_cast<std::byte*>(words.data()), words.size() * 8}; }
};

Arrival arrival(std::string_view topic, std::string_view payload, std::uint16_t id = 0,
                bool duplicate = false) {
  Arrival a;
  a.input = "in";
  a.channel = topic;
  a.bytes = bytes_of(payload);
  a.packet_id = id;
  a.qos = id ? 1 : 0;
  a.duplicate = duplicate;
  return a;
}

std::vector<std::string> take_all(MappedInbox& inbox, Ticket* last = nullptr) {
  std::vector<std::string> out;
  Arrival a;
  Ticket ticket = 0;
  bool crashed = false;
  while (inbox.take(a, ticket, crashed)) {
    out.emplace_back(text_of(a.bytes));
    if (last) *last = ticket;
  }
  return out;
}

}  // namespace

TEST_CASE("inbox: what was put is taken, in order, also around the ring's end") {
  Memory memory(4096);
  MappedInbox inbox(memory.region(), 0);
  Rng rng(seed());
  std::uint64_t put = 0, taken = 0;
  for (int round = 0; round < 20'000; ++round) {
    const std::string payload = text(put, ":", std::string(rng.below(200), 'x'));
    if (inbox.put(arrival("t", payload)).ok()) ++put;
    if (rng.chance(0.4)) {
      Ticket last = 0;
      for (const std::string& got : take_all(inbox, &last)) {
        CHECK(got.starts_with(text(taken, ":")));
        ++taken;
      }
      if (last) inbox.release(last);
      REQUIRE(MappedInbox::verify(memory.region()).ok());
    }
  }
  take_all(inbox);
  CHECK(put > 10'000);
}

TEST_CASE("inbox: what another boot left in it is told from what came since, also over a restart") {
  Memory memory(1 << 16);
  const auto start = [&](std::uint64_t boot) {
    MappedInbox::begin_boot(memory.region(), boot);
    return std::make_unique<MappedInbox>(memory.region(), 0);
  };
  const auto others = [](MappedInbox& inbox) {
    std::string of;
    Arrival a;
    Ticket ticket = 0;
    bool crashed = false;
    while (inbox.take(a, ticket, crashed)) of += text(text_of(a.bytes), a.other_boot ? "-" : "+");
    return of;
  };
  auto inbox = start(7);
  for (const char* payload : {"a", "b"}) CHECK(inbox->put(arrival("t", payload)).ok());
  CHECK(others(*inbox) == "a+b+");
  CHECK(others(*start(7)) == "a+b+");
  inbox = start(8);
  CHECK(inbox->put(arrival("t", "c")).ok());
  CHECK(others(*inbox) == "a-b-c+");
  CHECK(others(*start(8)) == "a-b-c+");
  CHECK(others(*start(9)) == "a-b-c-");
}

TEST_CASE("inbox: full is said, and nothing was stored") {
  Memory memory(4096);
  MappedInbox inbox(memory.region(), 0);
  int put = 0;
  while (inbox.put(arrival("t", std::string(100, 'x'))).ok()) ++put;
  CHECK(put > 10);
  CHECK(inbox.fill() > 0.9);
  CHECK(take_all(inbox).size() == static_cast<std::size_t>(put));
}

TEST_CASE(
    "inbox: what it takes at all it takes at any position, once it is empty; more leaves its head and its size") {
  Memory memory(1 << 16);
  MappedInbox inbox(memory.region(), 0);
  const std::size_t most = inbox.message_max("in") - 1;
  CHECK(most > (1 << 14));
  Arrival a;
  Ticket ticket = 0;
  bool crashed = false;
  for (int i = 0; i < 3000; ++i) {
    CAPTURE(i);
    // moves on to another position
    REQUIRE(inbox.put(arrival("t", std::string(static_cast<std::size_t>(i % 700), 'x'))).ok());
    REQUIRE(inbox.take(a, ticket, crashed));
    inbox.release(ticket);
    const std::size_t size = i % 3 == 0 ? most : i % 3 == 1 ? most + 1 : std::size_t{20} << 20;
    if (size > most + 1 && i % 50 != 2) continue;
    REQUIRE(inbox.put(arrival("t", std::string(size, 'y'))).ok());
    REQUIRE(MappedInbox::verify(memory.region()).ok());
    REQUIRE(inbox.take(a, ticket, crashed));
    CHECK(a.whole_bytes == (size == most ? 0 : size));
    CHECK(a.bytes.size() == (size == most ? most : 4096));
    CHECK(a.limit.empty() == (size == most));
    inbox.release(ticket);
  }
}

TEST_CASE(
    "inbox: a topic and a payload that only together are too long leave their heads, also over a restart") {
  Memory memory(1 << 16);
  const std::string topic(65'535, 'a');
  {
    MappedInbox inbox(memory.region(), 0);
    REQUIRE(inbox.put(arrival(topic, "1")).ok());
    REQUIRE(inbox.put(arrival("t", "whole")).ok());
  }
  REQUIRE(MappedInbox::verify(memory.region()).ok());
  MappedInbox inbox(memory.region(), 0);
  Arrival a;
  Ticket ticket = 0;
  bool crashed = false;
  REQUIRE(inbox.take(a, ticket, crashed));
  CHECK(a.whole_bytes == topic.size() + 1);
  CHECK(topic.starts_with(a.channel));
  CHECK(a.channel.size() > 1000);
  REQUIRE(inbox.take(a, ticket, crashed));
  CHECK(a.whole_bytes == 0);
  CHECK(text_of(a.bytes) == "whole");
}

TEST_CASE("inbox: a killed process finds what it had accepted, behind what the log holds") {
  Memory memory(1 << 16);
  Ticket committed = 0;
  {
    MappedInbox inbox(memory.region(), 0);
    CHECK(inbox.put(arrival("t", "one")).ok());
    committed = inbox.put(arrival("t", "two")).value();
    CHECK(inbox.put(arrival("t", "three")).ok());
  }
  REQUIRE(MappedInbox::verify(memory.region()).ok());
  MappedInbox again(memory.region(), committed);
  CHECK(take_all(again) == std::vector<std::string>{"three"});
}

TEST_CASE("inbox: a torn or foreign region is not trusted") {
  Memory memory(1 << 16);
  {
    MappedInbox inbox(memory.region(), 0);
    CHECK(inbox.put(arrival("topic", "payload-payload")).ok());
  }
  CHECK(MappedInbox::verify(memory.region()).ok());
  auto bytes = memory.region();
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t at = all.find("payload-payload");
  REQUIRE(at != std::string_view::npos);
  bytes[at] ^= std::byte{1};
  CHECK_FALSE(MappedInbox::verify(bytes).ok());
  bytes[at] ^= std::byte{1};
  bytes[0] ^= std::byte{1};
  CHECK_FALSE(MappedInbox::verify(bytes).ok());
}

TEST_CASE(
    "inbox: a redelivery is recognised after a restart, and a repeated packet id with other content is not one") {
  Memory memory(1 << 16);
  {
    MappedInbox inbox(memory.region(), 0);
    CHECK(inbox.put(arrival("t", "before", 4)).ok());  // identifiers are counted up
    CHECK(inbox.put(arrival("t", "one", 5)).ok());
  }
  MappedInbox inbox(memory.region(), 0);
  CHECK(inbox.put(arrival("t", "one", 5, true)).ok());    // the same again
  CHECK(inbox.put(arrival("t", "other", 5, true)).ok());  // same id, other payload
  CHECK(inbox.put(arrival("t", "one", 6, true)).ok());    // other id
  CHECK(inbox.put(arrival("t", "one", 5, false)).ok());   // no DUP flag: a new message
  CHECK(take_all(inbox) == std::vector<std::string>{"before", "one", "other", "one", "one"});
  CHECK(inbox.duplicates() == 1);
}

TEST_CASE(
    "inbox: an identifier that is free may be another message's: only a count that goes on is a proof") {
  Memory memory(1 << 16);
  MappedInbox inbox(memory.region(), 0);
  const auto put = [&](int id, const char* payload, bool duplicate = false, int qos = 1) {
    Arrival a = arrival("door", payload, static_cast<std::uint16_t>(id), duplicate);
    a.qos = static_cast<std::uint8_t>(qos);
    const std::uint64_t before = inbox.duplicates();
    REQUIRE(inbox.put(a).ok());
    return inbox.duplicates() == before ? "new" : "known";
  };
  // A broker that gives the lowest free identifier: the door opens again, and that was lost on its way.
  put(1, "open");
  CHECK(put(1, "open", true) == "new");
  for (int id : {1, 2, 3}) put(id, "open");
  CHECK(put(1, "open", true) == "new");
  CHECK(put(2, "open", true) == "new");  // a new run begins with the one before
  // One that counts: what lies within the run is known, however often it comes; what comes behind it is new.
  for (int id = 65530; id < 65536; ++id) put(id, "open");
  for (int id = 1; id < 10; ++id) put(id, "open");
  for (int round = 0; round < 3; ++round) {
    for (int id : {65534, 65535, 1, 2, 9}) CHECK(put(id, "open", true) == "known");
  }
  CHECK(put(10, "open", true) == "new");
  CHECK(put(9, "open", true) == "known");
  CHECK(put(9, "shut", true) == "new");
  // One that began again in between.
  CHECK(put(8, "open", true) == "new");
}

TEST_CASE("inbox: of QoS 2 a message is known until it is released, however identifiers are given") {
  Memory memory(1 << 20);
  const auto put = [&](MappedInbox& inbox, const char* input, int id, bool duplicate) {
    Arrival a = arrival("door", "open", static_cast<std::uint16_t>(id), duplicate);
    a.input = input;
    a.qos = 2;
    const std::uint64_t before = inbox.duplicates();
    REQUIRE(inbox.put(a).ok());
    return inbox.duplicates() == before ? "new" : "known";
  };
  {
    MappedInbox inbox(memory.region(), 0);
    for (const char* input : {"a", "b"}) put(inbox, input, 7, false);
  }
  MappedInbox inbox(memory.region(), 0);
  for (int i = 0; i < 3; ++i) CHECK(put(inbox, "a", 7, true) == "known");
  inbox.released("a", 7);
  CHECK(put(inbox, "b", 7, true) == "known");
  CHECK(put(inbox, "a", 7, true) == "new");
  CHECK(put(inbox, "a", 7, true) == "known");
  inbox.forget_session("a");
  CHECK(put(inbox, "a", 7, true) == "new");
  CHECK(put(inbox, "b", 7, true) == "known");
}

TEST_CASE("inbox: redeliveries are recognised with more inputs than it has slots for, each input's own") {
  Memory memory(1 << 20);
  constexpr int inputs = 20, flying = 40;
  const auto send_all = [&](MappedInbox& inbox, int from, bool duplicate) {
    // That identifiers are counted up is shown by the first, which its broker has heard acknowledged.
    for (std::uint16_t id = duplicate && from == 0 ? 2 : 1; id <= flying; ++id) {
      for (int i = from; i < from + inputs; ++i) {
        const std::string name = text("input-", i);
        const std::string payload = text(id);
        Arrival a = arrival("a/b", payload, id, duplicate);
        a.input = name;
        REQUIRE(inbox.put(a).ok());
      }
    }
  };
  {
    MappedInbox inbox(memory.region(), 0);
    send_all(inbox, 0, false);
    CHECK(take_all(inbox).size() == inputs * flying);
  }
  MappedInbox inbox(memory.region(), 0);
  CHECK(take_all(inbox).size() == inputs * flying);
  send_all(inbox, 0, true);
  CHECK(inbox.duplicates() == inputs * (flying - 1));
  CHECK(take_all(inbox).empty());
  // The same topic, identifier and payload from others: theirs, and new.
  send_all(inbox, inputs, true);
  CHECK(inbox.duplicates() == inputs * (flying - 1));
  CHECK(take_all(inbox).size() == inputs * flying);
}

TEST_CASE("inbox: an old message is no proof of a redelivery: packet ids repeat") {
  Memory memory(1 << 16);
  MappedInbox inbox(memory.region(), 0);
  CHECK(inbox.put(arrival("t", "21.5", 7)).ok());
  for (int i = 0; i < 40'000; ++i) {
    CHECK(inbox.put(arrival("t", "x", static_cast<std::uint16_t>(100 + i % 500))).ok());
    Ticket last = 0;
    take_all(inbox, &last);
    inbox.release(last);
  }
  CHECK(inbox.put(arrival("t", "21.5", 7, true)).ok());
  CHECK(take_all(inbox) == std::vector<std::string>{"21.5"});
}

TEST_CASE("inbox: what was in work when the process died twice is marked") {
  Memory memory(1 << 16);
  MappedInbox(memory.region(), 0).put(arrival("t", "bomb")).value();
  for (int life = 0; life < 3; ++life) {
    MappedInbox inbox(memory.region(), 0);
    Arrival a;
    Ticket ticket = 0;
    bool crashed = false;
    REQUIRE(inbox.take(a, ticket, crashed));
    CHECK(crashed == (life == 2));
    inbox.begin_work();  // and the process dies
  }
  MappedInbox inbox(memory.region(), 0);
  Arrival a;
  Ticket ticket = 0;
  bool crashed = false;
  REQUIRE(inbox.take(a, ticket, crashed));
  inbox.begin_work();
  inbox.end_work();
}

TEST_CASE("inbox: several producers, one consumer, and who waits hears when it is durable") {
  Memory memory(1 << 16);
  MappedInbox inbox(memory.region(), 0);
  constexpr int threads = 4, each = 2000;
  std::atomic<int> durable{0};
  std::vector<std::thread> producers;
  for (int t = 0; t < threads; ++t) {
    producers.emplace_back([&, t] {
      for (int i = 0; i < each;) {
        const auto ticket = inbox.put(arrival("t", text(t, "/", i)));
        if (!ticket.ok()) {
          std::this_thread::yield();
          continue;
        }
        if (i % 100 == 0 && inbox.wait_durable(ticket.value()).ok()) ++durable;
        ++i;
      }
    });
  }
  std::vector<int> next(threads);
  int taken = 0;
  while (taken < threads * each) {
    Ticket last = 0;
    for (const std::string& got : take_all(inbox, &last)) {
      const auto parts = split(got, '/');
      const int t = std::stoi(std::string(parts[0]));
      CHECK(std::stoi(std::string(parts[1])) == next[static_cast<std::size_t>(t)]++);
      ++taken;
    }
    if (last) inbox.release(last);
    else std::this_thread::yield();
  }
  for (std::thread& producer : producers) producer.join();
  CHECK(durable == threads * each / 100);
  inbox.close();
  CHECK_FALSE(inbox.wait_durable(UINT64_MAX).ok());
}

TEST_CASE("inbox: who sleeps is woken by whatever comes, who dozes by what is not patient") {
  Memory memory(1 << 16);
  MappedInbox inbox(memory.region(), 0);
  int woken = 0;
  inbox.on_wake([&] { ++woken; });
  Arrival poll = arrival("t", "poll");
  poll.patient = true;
  const auto woken_by = [&](const Arrival& one) {
    woken = 0;
    REQUIRE(inbox.put(one).ok());
    return woken;
  };
  CHECK(woken_by(poll) == 1);  // it begins asleep
  CHECK(woken_by(arrival("t", "other")) == 0);
  CHECK_FALSE(inbox.doze());  // there is something
  CHECK(woken_by(arrival("t", "other")) == 0);
  Arrival taken;
  Ticket ticket = 0;
  bool crashed = false;
  REQUIRE(inbox.take(taken, ticket, crashed));
  CHECK(taken.patient);
  REQUIRE(inbox.take(taken, ticket, crashed));
  CHECK_FALSE(taken.patient);
  take_all(inbox);
  REQUIRE(inbox.doze());
  CHECK(woken_by(poll) == 0);
  CHECK(woken_by(arrival("t", "other")) == 1);
  CHECK(woken_by(arrival("t", "other")) == 0);
  take_all(inbox);
  REQUIRE(inbox.doze());
  REQUIRE(inbox.sleep());
  CHECK(woken_by(poll) == 1);
}

TEST_CASE("inbox: a file of another size keeps what it holds") {
  std::string path = "/tmp/millrace-inbox-XXXXXX";
  const int fd = ::mkstemp(path.data());
  REQUIRE(fd >= 0);
  ::close(fd);
  const std::size_t bytes = MappedInbox::region_bytes(8192);
  {
    bool fresh = false;
    auto region = map_inbox_file(path, bytes, fresh);
    REQUIRE(region.ok());
    CHECK(fresh);
    MappedInbox::format(region.value()->bytes(), 7);
    MappedInbox inbox(region.value()->bytes(), 0);
    CHECK(inbox.put(arrival("t", "kept")).ok());
  }
  bool fresh = true;
  auto region = map_inbox_file(path, 2 * bytes, fresh);
  REQUIRE(region.ok());
  CHECK_FALSE(fresh);
  CHECK(region.value()->bytes().size() == bytes);
  REQUIRE(MappedInbox::verify(region.value()->bytes()).ok());
  CHECK(MappedInbox::holds_entries(region.value()->bytes(), 0));
  MappedInbox inbox(region.value()->bytes(), 0);
  Ticket last = 0;
  CHECK(take_all(inbox, &last) == std::vector<std::string>{"kept"});
  inbox.release(last);
  CHECK_FALSE(MappedInbox::holds_entries(region.value()->bytes(), last));
  ::unlink(path.c_str());
}

}  // namespace inbox_test
