// Who was turned away last: bounded, clean, and nobody's place is taken by who invents names.
#include <doctest/doctest.h>

#include "base/text.h"
#include "ingest/refused_devices.h"

namespace refused_devices_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

constexpr Instant start{1'000'000'000};

RefusedDevice refused(std::string client, std::string from, std::string why = "wrong user name or password",
                      std::string topic = "") {
  return {std::move(client), "", std::move(from), std::move(topic), std::move(why), "mend it", {}, {}};
}

std::vector<std::string> clients(const RefusedDevices& devices, Instant now) {
  std::vector<std::string> names;
  for (const RefusedDevice& one : devices.list(now)) names.push_back(one.client);
  return names;
}

}  // namespace

TEST_CASE("refused devices: the last first, since when for this reason, and for an hour") {
  RefusedDevices devices;
  devices.note(refused("press-1", "192.0.2.1"), start);
  devices.note(refused("press-2", "192.0.2.2"), start + 1s);
  devices.note(refused("press-1", "192.0.2.1"), start + 60s);
  CHECK(clients(devices, start + 60s) == std::vector<std::string>{"press-1", "press-2"});
  CHECK(devices.list(start + 60s)[0].since == start);
  CHECK(devices.list(start + 60s)[0].last == start + 60s);
  devices.note(refused("press-1", "192.0.2.1", "no user name and password"), start + 90s);
  CHECK(devices.list(start + 90s).size() == 2);
  CHECK(devices.list(start + 90s)[0].why == "no user name and password");
  CHECK(devices.list(start + 90s)[0].since == start + 90s);
  CHECK(clients(devices, start + 1h + 30s) == std::vector<std::string>{"press-1"});
  CHECK(clients(devices, start + 2h).empty());
}

TEST_CASE("refused devices: who comes in is no longer out, but what it may not publish stays") {
  RefusedDevices devices;
  const std::string longest(256, 'x');
  devices.note(refused("press-1", "192.0.2.1"), start);
  devices.note(refused("press-1", "192.0.2.1", "may not publish to this topic", "plant/l2/d1"), start);
  devices.note(refused(longest, "192.0.2.1"), start);
  devices.came_in("press-1");
  devices.came_in(longest);
  REQUIRE(devices.list(start).size() == 1);
  CHECK(devices.list(start)[0].topic == "plant/l2/d1");
}

TEST_CASE("refused devices: whoever invents names takes the places of his own source") {
  RefusedDevices devices;
  devices.note(refused("press-1", "192.0.2.1"), start);
  for (int i = 0; i < 1000; ++i)
    devices.note(refused(text("made-up-", i), "203.0.113.9"), start + std::chrono::milliseconds(i));
  const auto names = clients(devices, start + 1s);
  CHECK(names.size() == RefusedDevices::kept_max);
  CHECK(names.front() == "made-up-999");
  CHECK(names.back() == "press-1");
  for (int i = 0; i < 20; ++i)  // a site behind one address: the last of them
    devices.note(refused(text("press-", i), "192.0.2.1"), start + 2s + std::chrono::milliseconds(i));
  CHECK(clients(devices, start + 3s).front() == "press-19");
  CHECK(devices.list(start + 3s).size() == RefusedDevices::kept_max);
}

TEST_CASE("refused devices: what strangers say is bounded, and nothing that a terminal obeys") {
  RefusedDevices devices;
  devices.note(refused(std::string("a\x1b[2J\n") + std::string(5000, 'x'), "192.0.2.1",
                       std::string(5000, 'y'), "\x07/" + std::string(5000, 'z')),
               start);
  const RefusedDevice one = devices.list(start).at(0);
  CHECK(one.client.starts_with("a\\x1b[2J\\x0a"));
  CHECK(one.client.size() < 100);
  CHECK(one.topic.starts_with("\\x07/"));
  CHECK(one.topic.size() < 200);
  CHECK(one.why.size() < 310);
}

}  // namespace refused_devices_test
