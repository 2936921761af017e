// Whether devices live: events, storms, restarts, inventories, and what of it is written to flash.
#include <doctest/doctest.h>

#include <algorithm>

#include "base/text.h"
#include "liveness.h"
#include "log/sqlite_log.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "tests/support/remembering_intake.h"
#include "tests/support/seed.h"

namespace liveness_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

struct Reports final : RememberingIntake {
  void report(Record event) override { events.push_back(std::move(event)); }
  std::vector<Record> events;
};

struct Site {
  SimDisk disk{seed()};
  std::unique_ptr<Folder> folder = disk.folder();
  std::unique_ptr<SimLoop> loop;
  std::unique_ptr<SqliteLog> log;
  Reports intake;
  std::unique_ptr<Metrics> metrics;
  ClockWatch watch;
  std::unique_ptr<LogAge> age;
  std::unique_ptr<DeviceTable> table;
  std::unique_ptr<Liveness> liveness;
  DeviceTable::Options limits{5min, 10'000};
  Liveness::Options options;
  std::uint64_t boot = 1;
  bool hears = true;

  Site() { open(); }
  void open() {
    loop = std::make_unique<SimLoop>();
    LogOptions of_log;
    of_log.vfs = disk.vfs();
    of_log.bytes_max = 64 << 20;
    of_log.state_bytes_max = 16 << 20;
    auto opened = SqliteLog::open(*loop, *folder, of_log, 7);
    REQUIRE(opened.ok());
    log = std::move(opened).value();
    metrics = std::make_unique<Metrics>();
    options.boot_id = boot;
    age = std::make_unique<LogAge>(*loop, *log, watch, boot);
    table = std::make_unique<DeviceTable>(limits);
    liveness = std::make_unique<Liveness>(*loop, *log, intake, *table, *age, *metrics, options);
    liveness->load();
  }
  void restart(bool clean = true) {
    bool stopped = false;
    if (clean) {
      liveness->save();
      age->save();
    }
    log->stop([&] { stopped = true; });
    REQUIRE(loop->run_until([&] { return stopped; }, 10s));
    liveness.reset();
    age.reset();
    log.reset();
    ++boot;
    watch = {};
    open();
  }
  void look() {
    liveness->look([this](const std::string&) { return hears; });
  }
  void speak(const std::string& device, std::initializer_list<const char*> metrics_of = {"m"},
             Duration expected = {}) {
    table->payload("in", loop->now());
    if (!table->seen(device, metrics_of.size(), loop->now())) return;
    for (const char* metric : metrics_of) table->brought(metric, loop->now());
    table->expects(expected);
  }
  // `every`: those who speak do so
  void live(Duration time, Duration every, const std::vector<std::string>& who, Duration expected = {}) {
    for (Duration passed{0}; passed < time; passed += every) {
      for (const std::string& device : who) speak(device, {"m"}, expected);
      loop->run_for(every);
      look();
    }
  }
  std::string told() {
    std::string all;
    for (const Record& event : intake.events) {
      if (event.metric == "device_inventory") continue;
      all += text(all.empty() ? "" : " ", event.metric, event.device.empty() ? "" : ":", event.device);
    }
    intake.events.clear();
    return all;
  }
  std::uint64_t counted(const char* name) { return metrics->counter(name, "").value(); }
};

}  // namespace

TEST_CASE("liveness: a device is alive, late, silent and back, each told once") {
  Site site;
  site.live(4min, 10s, {"a", "b"});
  CHECK(site.told().empty());  // names that come once are nobody's
  site.live(2min, 10s, {"a", "b"});
  CHECK(site.told() == "device_alive:a device_alive:b");
  site.live(2min, 10s, {"a"});
  CHECK(site.told().empty());
  site.live(1min, 10s, {"a"});
  REQUIRE(site.intake.events.size() == 1);
  const Record late = site.intake.events[0];
  CHECK(late.kind == Kind::event);
  CHECK(late.device == "b");
  CHECK(late.unit == "s");
  CHECK(std::get<double>(late.value) == doctest::Approx(160));
  CHECK(late.tags == Tags{{"input", "in"}});
  CHECK(site.told() == "device_late:b");
  site.live(3min, 10s, {"a"});
  CHECK(site.told() == "device_silent:b");
  site.live(1h, 10s, {"a"});
  CHECK(site.told().empty());
  site.live(10s, 10s, {"a", "b"});
  REQUIRE(site.intake.events.size() == 1);
  CHECK(std::get<double>(site.intake.events[0].value) == doctest::Approx(66 * 60).epsilon(0.02));
  CHECK(site.told() == "device_back:b");
}

TEST_CASE("liveness: an interval that the route expects counts, whatever the habit") {
  Site site;
  site.live(10min, 20s, {"a", "b"}, 20s);
  site.told();
  site.live(60s, 20s, {"a"}, 20s);
  CHECK(site.told() == "device_late:b");
  site.live(60s, 20s, {"a"}, 20s);
  CHECK(site.told() == "device_silent:b");
}

TEST_CASE("liveness: a storm of thousands is a few events and a summary, and each device is counted") {
  Site site;
  std::vector<std::string> all;
  for (int i = 0; i < 5000; ++i) all.push_back(text("d", i));
  site.live(6min, 60s, all);
  site.intake.events.clear();
  const std::uint64_t before = site.counted("millrace_device_events_summed_total");
  site.live(30min, 10s, {});
  std::erase_if(site.intake.events, [](const Record& event) { return event.metric == "device_inventory"; });
  std::map<std::string, std::int64_t> events, summed;
  for (const Record& event : site.intake.events) {
    if (const auto* devices = std::get_if<std::int64_t>(&event.value)) summed[event.metric] += *devices;
    else ++events[event.metric];
  }
  CHECK(site.intake.events.size() < 150);
  CHECK(events["device_late"] + summed["devices_late"] == 5000);
  CHECK(events["device_silent"] + summed["devices_silent"] == 5000);
  CHECK(site.counted("millrace_device_events_summed_total") - before ==
        static_cast<std::uint64_t>(summed["devices_late"] + summed["devices_silent"]));
}

TEST_CASE("liveness: an input without a connection is one event, and its devices are not judged") {
  Site site;
  site.live(6min, 10s, {"a", "b"});
  site.told();
  site.hears = false;
  site.live(1h, 10s, {});
  REQUIRE(site.intake.events.size() == 1);
  CHECK(std::get<std::int64_t>(site.intake.events[0].value) == 2);
  CHECK(site.told() == "input_silent");
  site.hears = true;
  site.live(2min, 10s, {"a"});
  CHECK(site.told() == "input_back");
  site.live(4min, 10s, {"a"});
  CHECK(site.told() == "device_late:b device_silent:b");
}

TEST_CASE(
    "liveness: over a restart a silent device stays silent, and is back once, after the time that passed") {
  Site site;
  site.live(6min, 10s, {"a", "b"});
  site.live(10min, 10s, {"a"});
  site.told();
  for (int i = 0; i < 3; ++i) {
    site.restart();
    site.look();
    CHECK(site.table->size() == 2);
    site.table->for_each([&](const std::string&, const std::string& name, const DeviceTable::Device& device) {
      CHECK(device.pulse() == (name == "b" ? Pulse::silent : Pulse::alive));
      CHECK(site.table->silent(device, site.loop->now()) == (name == "b"));
      CHECK(device.age(site.loop->now()) == doctest::Approx(name == "b" ? 610 + 60 * i : 10).epsilon(0.05));
      CHECK(to_seconds(site.loop->now() - device.first()) == doctest::Approx(960 + 60 * i).epsilon(0.05));
    });
    CHECK(site.told().empty());  // and nobody is late because we were away
    site.live(1min, 10s, {"a"});
  }
  site.live(10s, 10s, {"b"});
  CHECK(site.told() == "device_back:b");
}

TEST_CASE("liveness: after a kill devices are known as they were saved last") {
  Site site;
  site.live(20min, 10s, {"a", "b"});
  site.told();
  site.restart(false);
  CHECK(site.table->size() == 2);
  site.live(2min, 10s, {"a", "b"});
  CHECK(site.told().empty());
}

TEST_CASE("liveness: an inventory comes with the device, once a day, and when it brings something else") {
  Site site;
  const auto inventories = [&] {
    std::vector<std::string> all;
    for (const Record& event : site.intake.events) {
      if (event.metric == "device_inventory")
        all.push_back(text(event.device, " ", std::get<std::string>(event.value)));
    }
    site.intake.events.clear();
    return all;
  };
  site.live(6min, 10s, {"a"});
  auto first = inventories();
  REQUIRE(first.size() == 1);
  CHECK(first[0].find(R"("metrics":["m"])") != std::string::npos);
  CHECK(first[0].find(R"("pulse":"alive")") != std::string::npos);
  CHECK(first[0].find(R"("first_seen":"2026-)") != std::string::npos);
  site.live(1h, 10s, {"a"});
  CHECK(inventories().empty());
  for (int i = 0; i < 12; ++i) {
    site.speak("a", {"m", "n"});
    site.live(10s, 10s, {"a"});
  }
  auto changed = inventories();
  REQUIRE(changed.size() == 1);
  CHECK(changed[0].find(R"("metrics":["m","n"])") != std::string::npos);
  site.restart();
  site.live(1h, 10s, {"a"});
  CHECK(inventories().empty());  // a restart is no news
  site.live(24h, 60s, {"a"});
  auto next = inventories();
  REQUIRE(next.size() == 1);
  CHECK(next[0].find(R"("metrics":["m"])") != std::string::npos);  // the other one did not come any more
  CHECK(next[0].find(R"("readings_per_hour":0)") == std::string::npos);
}

TEST_CASE("liveness: a thousand devices that speak every minute cost flash next to nothing") {
  Site site;
  std::vector<std::string> all;
  for (int i = 0; i < 1000; ++i) all.push_back(text("plant/line-", i % 10, "/device-", i));
  site.live(24h, 60s, all);
  const std::uint64_t bytes = site.counted("millrace_device_state_bytes_total");
  CHECK(bytes > 0);
  CHECK(bytes < 600'000);
}

TEST_CASE("liveness: so many devices as it may have series have one, and who is forgotten has none") {
  Site site;
  site.options.series_max = 3;
  site.restart();
  site.live(6min, 10s, {"a", "b", "c", "d", "e"});
  std::string page = site.metrics->expose();
  const auto series = [&] {
    std::size_t count = 0;
    for (std::size_t at = 0;
         (at = page.find("\nmillrace_device_last_seen_seconds{", at)) != std::string::npos; ++at)
      ++count;
    return count;
  };
  CHECK(series() == 3);
  CHECK(page.find("millrace_device_series_left_out 2") != std::string::npos);
  site.table->sweep([](const std::string&) { return true; }, site.loop->now() + 200h);
  page = site.metrics->expose();
  CHECK(series() == 0);
}

TEST_CASE("liveness: what is kept is read as far as it is whole, and in its chunks") {
  Site site;
  std::vector<std::string> all;
  for (int i = 0; i < 200; ++i) all.push_back(text("d", i));
  site.live(6min, 10s, all);
  site.liveness->save();
  site.loop->run_for(2s);
  const auto names = site.log->states(Liveness::prefix);
  REQUIRE(names.size() == 4);
  WriteSet set;
  Bytes half = *site.log->state(names[1]);
  half.resize(half.size() / 2);
  set.states.push_back({names[1], half});
  set.states.push_back({"live/in/nonsense", to_bytes("\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f")});
  set.states.push_back({"live/", to_bytes("\x07")});
  site.log->commit(std::move(set), {});
  site.loop->run_for(2s);
  site.restart(false);
  CHECK(site.table->size() > 150);
  CHECK(site.table->size() < 200);
  site.live(6min, 10s, all);
  site.restart();
  CHECK(site.table->size() == 200);
}

TEST_CASE("devices: one that was kept is not silent for the time in which nobody listened") {
  DeviceTable table({5min, 100});
  DeviceTable::Kept kept;
  kept.name = "a";
  kept.last = Instant{} + 1000s;
  kept.usual = 10;
  table.restore("in", 0, 0, kept, Instant{} + 5000s);
  const auto silent = [&](Duration now) {
    bool is = false;
    table.for_each([&](const std::string&, const std::string&, const DeviceTable::Device& device) {
      CHECK(device.age(Instant{} + now) == doctest::Approx(to_seconds(now) - 1000));
      is = table.silent(device, Instant{} + now);
    });
    return is;
  };
  CHECK_FALSE(silent(5001s));
  CHECK_FALSE(silent(5299s));
  CHECK(silent(5301s));
}

}  // namespace liveness_test
