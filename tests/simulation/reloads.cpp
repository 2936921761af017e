// Reload at any event: a new configuration at any step, while records flow, uplinks fail, processes are
// killed and power goes. Whatever was acknowledged reaches every uplink that was there in the beginning and
// is there in the end, QoS 2 is stored once, nobody is there twice, and the ledgers agree with the rows. A
// failure names its round: MILLRACE_ROUND=N plays that one again.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "base/text.h"
#include "record/batch.h"
#include "sim/world/books.h"
#include "sim/world/reload_site.h"
#include "tests/support/seed.h"

namespace reloads_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

WindowConfig window(const char* name, Duration size) {
  WindowConfig window;
  window.name = name;
  window.size = size;
  return window;
}

SiteConfig original() {
  SiteConfig config;
  config.inputs = {{"ep1", "192.0.2.1:1883"}, {"ep2", "192.0.2.1:1884"}, {"field", ""}, {"other", ""}};
  config.uplinks = {{"steady"}, {"second"}, {"third", 1, true}};
  config.windows = {window("10s", 10s), window("1min", 1min)};
  return config;
}

struct Story {
  ReloadSite site;
  Rng rng;
  int step = 0;

  explicit Story(std::uint64_t seed) : site(seed, original()), rng(seed + 1) {
    for (const char* name : {"a1", "a2"}) site.add_device(name, "192.0.2.1:1883", name[1] - '0');
    for (const char* name : {"b1", "b2"}) site.add_device(name, "192.0.2.1:1884", name[1] - '0');
  }

  static std::string first_name(const std::string& name) { return name.substr(0, name.find('-')); }
  // Adds, changes, renames, removes, brings back or swaps.
  template <typename Part>
  void change(std::vector<Part>& parts, const std::vector<Part>& first) {
    Part* part = parts.empty() ? nullptr : &parts[rng.below(parts.size())];
    switch (rng.below(4)) {
      case 0:
        if (part) part->value = ++step;
        break;
      case 1:
        if (part) parts.erase(parts.begin() + (part - parts.data()));
        break;
      case 2:
        if (part) part->name = text(first_name(part->name), "-", ++step);
        break;
      default: {
        const Part& back = first[rng.below(first.size())];
        const auto same = [&](const Part& p) { return first_name(p.name) == first_name(back.name); };
        if (std::ranges::none_of(parts, same)) parts.push_back(back);
      }
    }
  }
  SiteConfig changed() {
    SiteConfig config = site.config();
    const SiteConfig first = original();
    const std::uint64_t what = rng.below(10);
    if (what < 4) change(config.inputs, first.inputs);
    else if (what < 7) change(config.uplinks, first.uplinks);
    else if (what == 7) swap_places(config);
    else if (what == 8) change_windows(config);
    else if (!config.uplinks.empty()) change_drain(config.uplinks[rng.below(config.uplinks.size())]);
    if (config.uplinks.empty()) config.uplinks.push_back(first.uplinks[0]);  // without any nothing is stored
    if (rng.chance(0.05)) config.log_bytes_max = (32 + rng.below(64)) << 20;
    drop_doubles(config);
    return config;
  }
  void change_windows(SiteConfig& config) {
    config.windows.clear();
    if (rng.chance(0.3)) return;
    config.windows = {window("10s", 10s), window("1min", rng.chance(0.5) ? 1min : 2min)};
  }
  void swap_places(SiteConfig& config) {
    std::vector<SiteInput*> endpoints;
    for (SiteInput& input : config.inputs) {
      if (!input.address.empty()) endpoints.push_back(&input);
    }
    if (!endpoints.empty() && rng.chance(0.3)) endpoints[rng.below(endpoints.size())]->needs_file ^= true;
    if (endpoints.size() > 1) std::swap(endpoints[0]->address, endpoints[1]->address);
    if (endpoints.size() == 1 && rng.chance(0.5)) {
      endpoints[0]->address = rng.chance(0.5) ? "192.0.2.1:1883" : "192.0.2.1:1884";
    }
  }
  // Lanes stay: what an uplink did not subscribe to is not its own.
  void change_drain(SiteUplink& uplink) {
    uplink.newest_first = !uplink.newest_first;
    ++uplink.value;
  }
  // Two endpoints of one address are an error of the configuration.
  static void drop_doubles(SiteConfig& config) {
    std::set<std::string> taken;
    std::erase_if(config.inputs, [&](const SiteInput& input) {
      return !input.address.empty() && !taken.insert(input.address).second;
    });
  }
  void some_work(int steps) {
    for (int i = 0; i < steps; ++i) {
      for (std::size_t d = 0; d < site.devices(); ++d) {
        if (rng.chance(0.6)) site.publish(d);
      }
      for (const SiteInput& input : site.config().inputs) {
        if (!input.address.empty() || rng.chance(0.5)) continue;
        (void)site.put(input.name, "i-" + first_name(input.name));  // refused when it is full
      }
      const std::uint64_t ns = rng.below(rng.chance(0.1) ? 3'000'000'000 : 60'000'000);
      site.loop().run_for(Duration{static_cast<std::int64_t>(ns)});
      if (rng.chance(0.05)) site.file_there = rng.chance(0.7);
      if (rng.chance(0.02)) site.device(rng.below(site.devices())).cut();
      if (rng.chance(0.03)) site.set_far_side(original().uplinks[rng.below(3)].name, rng.chance(0.6));
    }
  }
  // What an input put into the inbox and no commit holds yet is lost with the power.
  void forget_uncommitted() {
    if (site.inbox().fill() == 0) return;
    uncertain = true;
  }
  void some_life() {
    const int reloads = 1 + static_cast<int>(rng.below(12));
    for (int i = 0; i < reloads; ++i) {
      site.reload(changed());
      if (rng.chance(0.3)) continue;  // the next one comes on its heels
      some_work(static_cast<int>(rng.below(rng.chance(0.2) ? 200 : 12)));
    }
  }
  void end_of_life() {
    const std::uint64_t how = rng.below(4);
    if (how == 0) CHECK(site.stop());
    else if (how == 1) site.kill();
    else if (how == 2) {
      forget_uncommitted();
      site.cut_power();
    } else return;
    site.start();
  }
  // In a quiet moment the ledgers agree with the cursors and the rows.
  void check_books() {
    for (const SiteUplink& uplink : original().uplinks) site.set_far_side(uplink.name, false);
    site.loop().run_for(3s);
    for (const SiteUplink& uplink : original().uplinks) {
      INFO("uplink ", uplink.name);
      const std::uint64_t booked = site.log().ledger(uplink.name, Lane::raw).unsettled();
      CHECK(unsettled_records(site.loop(), site.log(), uplink.name, Lane::raw) == booked);
    }
    for (const SiteUplink& uplink : original().uplinks) site.set_far_side(uplink.name, rng.chance(0.5));
  }
  bool drain() {
    site.file_there = true;
    site.reload(original());
    for (const SiteUplink& uplink : original().uplinks) site.set_far_side(uplink.name, true);
    for (int i = 0; i < 20'000; ++i) {
      for (std::size_t d = 0; d < site.devices(); ++d) site.connect(d);
      site.loop().run_for(500ms);
      if (site.settled()) return true;
    }
    return false;
  }
  std::set<std::uint64_t> letters_of(const std::string& device);
  void check();
  bool uncertain = false;
};

// Numbers whose payloads lie in the dead lane: their input had left when they were decoded.
std::set<std::uint64_t> Story::letters_of(const std::string& device) {
  std::set<std::uint64_t> numbers;
  each_row(site.loop(), site.log(), Lane::dead, {1, UINT64_MAX}, [&](const Row& row) {
    std::vector<Record> records;
    REQUIRE(decode_batch(*row.columns, row.zstd, records).ok());
    for (const Record& record : records) {
      const auto& dead = std::get<DeadDetail>(record.detail->body);
      const std::string payload(text_of(dead.payload));
      if (dead.channel != "dev/" + device) continue;
      numbers.insert(std::strtoull(payload.c_str() + payload.find("\"value\":") + 8, nullptr, 10));
    }
  });
  return numbers;
}

void Story::check() {
  INFO(site.reloads, " reloads, ", site.kills, " kills, ", site.cuts, " of them power cuts");
  CHECK(site.doubled == 0);
  const LogStats stats = site.log().stats();
  CHECK(stats.evicted_records == 0);
  CHECK(stats.lost_records == 0);
  CHECK(stats.vanished_records == 0);
  for (const SiteUplink& uplink : original().uplinks) {
    std::map<std::string, std::map<std::uint64_t, std::set<Sequence>>> came;
    for (const Record& record : site.received[uplink.name]) {
      if (record.kind != Kind::reading) continue;
      const auto n = static_cast<std::uint64_t>((record.time.us / 1000 - World::first_ms) / 1000);
      came[record.device][n].insert(record.detail->sequence);
    }
    for (std::size_t d = 0; d < site.devices(); ++d) {
      const SimDevice& device = site.device(d);
      std::vector<std::uint64_t> missing, twice;
      for (const std::uint64_t n : device.acknowledged()) {
        const auto found = came[device.name()].find(n);
        if (found == came[device.name()].end()) missing.push_back(n);
        else if (device.qos() == 2 && found->second.size() > 1) twice.push_back(n);
      }
      INFO("uplink ", uplink.name, ", device ", device.name(), " of ", device.acknowledged().size(),
           ": first missing ", missing.empty() ? 0 : missing[0], ", first stored twice ",
           twice.empty() ? 0 : twice[0]);
      CHECK(missing.empty());
      CHECK(twice.empty());
    }
    for (const Lane lane : {Lane::raw, Lane::alarm}) {
      const LaneLedger ledger = site.log().ledger(uplink.name, lane);
      INFO("uplink ", uplink.name, ", lane ", std::string(lane_name(lane)));
      const auto& by_how = ledger.settled;
      CHECK(std::accumulate(by_how.begin(), by_how.end(), std::uint64_t{0}) == ledger.admitted);
    }
    if (uncertain) continue;
    for (const auto& [device, numbers] : site.accepted) {
      const auto letters = letters_of(device);
      std::size_t missing = 0;
      for (const std::uint64_t n : numbers) missing += !came[device].contains(n) && !letters.contains(n);
      INFO("uplink ", uplink.name, ", inbox device ", device, " of ", numbers.size());
      CHECK(missing == 0);
    }
  }
}

}  // namespace

TEST_CASE("reloads: at any event, nothing acknowledged is lost, QoS 2 is stored once, nobody is twice") {
  Rng rng(seed() + 60);
  std::uint64_t reloads = 0, kills = 0, cuts = 0, acknowledged = 0;
  const char* repeat = std::getenv("MILLRACE_ROUND");
  for (int round = 0; round < (repeat ? 1 : 8 * effort()); ++round) {
    const std::uint64_t round_seed = repeat ? std::strtoull(repeat, nullptr, 10) : rng.next();
    INFO("MILLRACE_ROUND=", round_seed);
    Story story(round_seed);
    story.some_work(20);
    for (int life = 0; life < 10; ++life) {
      story.some_life();
      story.end_of_life();
      if (story.rng.chance(0.4)) story.check_books();
    }
    CHECK(story.drain());
    story.check();
    reloads += story.site.reloads;
    kills += story.site.kills;
    cuts += story.site.cuts;
    for (std::size_t d = 0; d < story.site.devices(); ++d) {
      acknowledged += story.site.device(d).acknowledged().size();
    }
  }
  MESSAGE(reloads, " reloads, ", kills, " kills and stops, ", cuts, " of them power cuts, ", acknowledged,
          " readings acknowledged");
}

}  // namespace reloads_test
