// Who of an uplink and its standby sends, in virtual time: by members that say what they are told to, and by
// two shippers over one log.
#include <doctest/doctest.h>

#include <set>

#include "kinds.h"
#include "log/sqlite_log.h"
#include "record/batch.h"
#include "sim/world/sim_disk.h"
#include "sim/world/sim_loop.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"
#include "uplink/shipper.h"
#include "uplink/standby_check.h"

namespace standby_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

// Two members of a Duty, which write down what they are told.
struct Pair {
  SimLoop loop;
  Duty duty{loop};
  std::string told;
  bool idle[2] = {true, true};
  std::unique_ptr<Duty::Seat> one = join(Duty::first, "one"), two = join(Duty::standby, "two");

  std::unique_ptr<Duty::Seat> join(Duty::Side side, const std::string& name) {
    return duty.join(side,
                     {name, [this, side] { return idle[side]; }, [this, name] { told += "+" + name + " "; },
                      [this, name] { told += "-" + name + " "; }},
                     1min);
  }
  std::string sender() const { return one && one->mine() ? "one" : two && two->mine() ? "two" : "nobody"; }
};

}  // namespace

TEST_CASE("standby: sends when the first is down for longer than it may be, and no longer than that") {
  Pair pair;
  pair.one->reached(true);
  pair.two->reached(true);
  pair.loop.run_for(1h);
  CHECK(pair.sender() == "one");
  pair.one->reached(false);
  pair.loop.run_for(59s);
  CHECK(pair.sender() == "one");
  pair.one->reached(true);  // in time; the next outage is another
  pair.one->reached(false);
  pair.loop.run_for(59s);
  CHECK(pair.sender() == "one");
  CHECK(pair.told.empty());
  pair.loop.run_for(2s);
  CHECK(pair.sender() == "two");
  CHECK(pair.two->sends_instead().empty());
  CHECK(pair.one->sends_instead() == "two");
  pair.one->reached(true);
  CHECK(pair.sender() == "one");
  CHECK(pair.told == "-one +two -two +one ");
}

TEST_CASE(
    "standby: who is up and takes nothing is down; it is tried again now and then, and one answer decides") {
  Pair pair;
  pair.one->reached(true);
  pair.two->reached(true);
  pair.one->answered(true);
  for (int i = 0; i < 7; ++i) {
    pair.one->answered(false);
    pair.loop.run_for(10s);
  }
  CHECK(pair.sender() == "two");  // a minute after the first failure
  pair.loop.run_for(49s);
  CHECK(pair.sender() == "two");
  pair.loop.run_for(2s);
  CHECK(pair.sender() == "one");  // a try
  pair.one->answered(false);
  CHECK(pair.sender() == "two");
  pair.loop.run_for(61s);
  CHECK(pair.sender() == "one");
  pair.one->answered(true);
  pair.loop.run_for(10min);
  CHECK(pair.sender() == "one");
  pair.one->answered(false);  // once is no outage
  CHECK(pair.sender() == "one");
}

TEST_CASE("standby: a first that comes back at each connection and fails at once does not keep the duty") {
  Pair pair;
  pair.two->reached(true);
  pair.loop.run_for(61s);  // it never came
  CHECK(pair.sender() == "two");
  for (int i = 0; i < 10; ++i) {
    pair.one->reached(true);
    CHECK(pair.sender() == "one");
    pair.one->reached(false);
    pair.one->answered(false);
    CHECK(pair.sender() == "two");
    pair.loop.run_for(5s);
  }
}

TEST_CASE("standby: nobody sends while the one before still has something on its way") {
  Pair pair;
  pair.one->reached(true);
  pair.two->reached(true);
  pair.idle[Duty::first] = false;
  pair.one->reached(false);
  pair.loop.run_for(5min);
  CHECK(pair.sender() == "nobody");
  pair.idle[Duty::first] = true;
  pair.one->answered(false);
  CHECK(pair.sender() == "two");
  pair.idle[Duty::standby] = false;
  pair.one->reached(true);
  CHECK(pair.sender() == "nobody");
  pair.one->reached(
      false);  // gone again before the standby had its answer: it plans anew, for it began to give up
  pair.idle[Duty::standby] = true;
  pair.two->answered(true);
  CHECK(pair.sender() == "two");
  CHECK(pair.told == "-one +two -two +two ");
}

TEST_CASE("standby: where neither can be reached the first has the duty; where one goes the other has it") {
  Pair pair;
  pair.loop.run_for(5min);
  CHECK(pair.sender() == "one");
  pair.two->reached(true);
  CHECK(pair.sender() == "two");
  pair.two->reached(false);
  CHECK(pair.sender() == "one");
  pair.two->reached(true);
  CHECK(pair.sender() == "two");
  pair.one.reset();  // a reload: its successor begins as it stood
  pair.one = pair.join(Duty::first, "one");
  CHECK(pair.sender() == "two");
  pair.two.reset();
  CHECK(pair.sender() == "one");
  pair.one.reset();
  CHECK(pair.sender() == "nobody");
}

TEST_CASE(
    "standby: an outage goes to the spare side, and what comes after it to the first; nothing twice, in order") {
  World::Options options;
  options.clock = ClockHistory::Kind::steady;
  options.standby_after = 5min;
  World world(seed(), options);
  std::uint64_t n = 0;
  const auto minutes = [&](int count) {
    for (int i = 0; i < count * 60; ++i) {
      ++n;
      CHECK(world.send("a", n, 1.5));
      world.loop().run_for(1s);
    }
  };
  minutes(2);
  CHECK(world.spare().batches == 0);
  CHECK(world.standby().health() == "stands by for far");
  CHECK(world.standby().healthy());
  world.far_side().set_up(false);
  minutes(4);
  CHECK(world.spare().batches == 0);
  minutes(6);
  CHECK(world.spare().batches > 0);
  CHECK(world.shipper().health() == "the cable is out; spare sends instead");
  CHECK(world.standby().health() == "up, sends instead of far");
  world.far_side().set_up(true);
  world.loop().run_for(5s);
  const std::uint64_t by_spare = world.spare().batches;
  minutes(5);
  CHECK(world.spare().batches == by_spare);
  CHECK(world.shipper().health() == "up");
  CHECK(world.drain());
  const auto arrivals = world.arrivals("a");
  CHECK(arrivals.size() == n);
  for (const auto& [number, times] : arrivals) CHECK(times == 1);
  for (std::size_t i = 1; i < world.received.size(); ++i)
    CHECK(world.received[i - 1].time <= world.received[i].time);
}

namespace {

// Both sides come and go, answers take their time, some batches are refused: what is on its way when a side
// fails never arrives.
void play(World& world, Rng& rng, std::map<std::string, std::uint64_t>& n, bool kills) {
  bool up[2] = {true, true};
  for (int i = 0; i < 400; ++i) {
    for (const char* device : {"a", "b"}) {
      for (std::uint64_t k = rng.below(20); k > 0; --k) {
        if (world.send(device, n[device] + 1, 0.25)) ++n[device];
      }
    }
    world.loop().run_for(std::chrono::milliseconds(rng.below(5'000)));
    const std::size_t side = rng.below(2);
    if (rng.chance(0.1)) (side == 0 ? world.far_side() : world.spare()).set_up(up[side] = !up[side]);
    if (rng.chance(0.05)) world.loop().run_for(std::chrono::seconds(rng.below(100)));
    if (kills && rng.chance(0.03)) {
      rng.chance(0.5) ? world.kill() : (void)world.stop();
      world.start();
      world.far_side().set_up(up[0]);
      world.spare().set_up(up[1]);
    }
  }
  world.far_side().set_up(true);
  world.spare().set_up(true);
}

}  // namespace

TEST_CASE(
    "standby: both come and go at random: everything arrives, and exactly once as long as nobody is killed") {
  for (int round = 0; round < 4 * effort(); ++round) {
    CAPTURE(round);
    World::Options options;
    options.clock = ClockHistory::Kind::steady;
    options.standby_after = 10s;
    options.drain.newest_first = round % 3 == 2;
    World world(seed() + static_cast<std::uint64_t>(round), options);
    world.far_side().round_trip = world.spare().round_trip = 700ms;
    Rng rng(seed() + 100 + static_cast<std::uint64_t>(round));
    std::map<std::string, std::uint64_t> n;
    const bool kills = round % 2 == 1;
    play(world, rng, n, kills);
    REQUIRE(world.drain());
    for (const auto& [device, last] : n) {
      const auto arrivals = world.arrivals(device);
      CHECK(arrivals.size() == last);
      if (kills) continue;
      for (const auto& [number, times] : arrivals) CHECK(times == 1);
    }
    CHECK(world.clashes() == 0);
    const LaneLedger ledger = world.log().ledger("far", Lane::raw);
    CHECK(ledger.unsettled() == 0);
  }
}

TEST_CASE(
    "standby: a first that keeps its cursor with the data learns what the spare side got, and does not send it") {
  World::Options options;
  options.clock = ClockHistory::Kind::steady;
  options.standby_after = 10s;
  options.exactly_once = true;
  World world(seed(), options);
  for (std::uint64_t n = 1; n <= 600; ++n) {
    CHECK(world.send("a", n, 1));
    if (n == 100 || n == 300) world.far_side().set_up(false);
    if (n == 200 || n == 400) world.far_side().set_up(true);
    world.loop().run_for(1s);
  }
  CHECK(world.spare().batches > 0);
  CHECK(world.drain());
  CHECK(world.shipper().healthy());
  const auto arrivals = world.arrivals("a");
  CHECK(arrivals.size() == 600);
  for (const auto& [number, times] : arrivals) CHECK(times == 1);
}

TEST_CASE("standby: what it refuses lies in the dead lane under its own name") {
  World::Options options;
  options.clock = ClockHistory::Kind::steady;
  options.standby_after = 1s;
  options.uplink_up = false;
  World world(seed(), options);
  world.spare().poison = [](const Record& record) { return record.time.us / 1000 == World::first_ms + 3000; };
  for (std::uint64_t n = 1; n <= 5; ++n) CHECK(world.send("a", n, 1));
  CHECK(world.drain());
  CHECK(world.arrivals("a").size() == 4);
  std::vector<Record> letters;
  world.log().read(Lane::dead, {1, UINT64_MAX}, Log::Direction::up, 1 << 20,
                   [&](const Result<std::vector<Row>>& rows) {
                     for (const Row& row : rows.value())
                       CHECK(decode_batch(*row.columns, row.zstd, letters).ok());
                   });
  world.loop().run_for(1s);
  REQUIRE(letters.size() == 1);
  CHECK(std::get<DeadDetail>(letters[0].detail->body).consumer == "spare");
  CHECK(world.log().ledger("far", Lane::raw).settled[static_cast<std::size_t>(How::dead)] == 1);
}

namespace {

// An uplink that answers as it is told to, at once.
struct Answering final : Uplink {
  SimLoop& loop;
  std::function<Outcome(const Batch&)> answer;
  std::uint64_t batches = 0;
  explicit Answering(SimLoop& l) : loop(l) {}
  Limits limits() const override { return {1, 64 << 10}; }
  Status start(StateChanged changed) override {
    changed({true, {}, false});
    return {};
  }
  void send(Batch batch, std::function<void(Outcome)> done) override {
    ++batches;
    loop.post([done = std::move(done), outcome = answer(batch)] { done(outcome); });
  }
  void stop(std::function<void()> done) override { loop.post(std::move(done)); }
};

// A first and its standby over one log.
struct Two {
  SimDisk disk{seed()};
  std::unique_ptr<Folder> folder = disk.folder();
  SimLoop loop;
  std::unique_ptr<SqliteLog> log;
  Metrics metrics;
  Rng rng{seed()};
  Duty duty{loop};
  Answering one{loop}, two{loop};
  std::unique_ptr<Shipper> first, standby;

  explicit Two(std::function<Outcome(const Batch&)> answer) {
    LogOptions options;
    options.vfs = disk.vfs();
    log = std::move(SqliteLog::open(loop, *folder, options, 11)).value();
    one.answer = std::move(answer);
    two.answer = [](const Batch&) { return Outcome{}; };
    ShipperOptions shipping;
    shipping.name = "far";
    shipping.duty = &duty;
    first = std::make_unique<Shipper>(loop, *log, one, metrics, rng, shipping);
    shipping.name = "spare";
    shipping.standby_of = "far";
    shipping.standby_after = 1min;
    standby = std::make_unique<Shipper>(loop, *log, two, metrics, rng, shipping);
    (void)first->start();
    (void)standby->start();
  }
  void commit(int count, Lane lane = Lane::raw) {
    WriteSet set;
    for (int i = 0; i < count; ++i) {
      Record record;
      record.device = "d";
      record.metric = "m";
      record.value = rng.unit();
      set.records.emplace_back(lane, std::move(record));
    }
    set.urgent = true;
    log->commit(std::move(set), {});
    loop.run_for(2s);
  }
  std::uint64_t settled(How how) const {
    return log->ledger("far", Lane::raw).settled[static_cast<std::size_t>(how)];
  }
};

Outcome all_open(const Batch& batch, Verdict verdict) {
  Outcome outcome;
  outcome.verdict = verdict;
  outcome.reason = "so it is";
  for (std::uint32_t i = 0; i < batch.rows.size(); ++i) outcome.open.push_back(i);
  return outcome;
}

}  // namespace

TEST_CASE("standby: what the first refuses without asking its far side is no sign that that works") {
  std::uint64_t asked = 0;
  Two site([&](const Batch& batch) {
    // Alarms have no form there, and never go out; the far side takes nothing at all.
    const bool local = batch.rows.front().lane == Lane::alarm;
    Outcome outcome = all_open(batch, local ? Verdict::refused : Verdict::retryable);
    outcome.unasked = local;
    asked += local ? 0 : 1;
    return outcome;
  });
  for (int i = 0; i < 200; ++i) {
    site.commit(1);
    site.commit(1, Lane::alarm);
  }
  CHECK(asked > 0);
  CHECK(site.standby->far_side().on_duty());
  CHECK(site.two.batches > 0);
  CHECK(site.settled(How::delivered) > 100);
}

TEST_CASE("shipper: a far side that stores a part of each batch is not waited for longer and longer") {
  // One row of each batch is throttled the first time it comes.
  std::set<Sequence> seen;
  Two site([&](const Batch& batch) {
    Outcome outcome;
    if (!seen.insert(batch.rows.front().first).second || batch.rows.size() < 2) return outcome;
    outcome.verdict = Verdict::retryable;
    outcome.reason = "throttled";
    outcome.open = {0};
    outcome.some = true;
    return outcome;
  });
  for (int i = 0; i < 500; ++i) site.commit(20);
  site.loop.run_for(1min);
  CHECK(site.settled(How::delivered) == 10'000);
  CHECK(site.metrics.expose().find("millrace_uplink_breaker_open{uplink=\"far\"} 0") != std::string::npos);
  CHECK_FALSE(site.standby->far_side().on_duty());
}

TEST_CASE("shipper: what has no form at the far side is passed over: counted, no letter, no loss, no proof") {
  Two site([](const Batch& batch) {
    Outcome outcome;
    outcome.unasked = true;
    for (std::uint32_t i = 0; i < batch.rows.size(); ++i) {
      const std::uint32_t skipped = batch.rows[i].count >= 4 ? 3 : batch.rows[i].count;
      outcome.skipped.emplace_back(i, skipped);
      if (skipped < batch.rows[i].count) outcome.unasked = false;
    }
    return outcome;
  });
  for (int i = 0; i < 5; ++i) site.commit(10);
  site.commit(2);
  CHECK(site.settled(How::skipped) == 5 * 3 + 2);
  CHECK(site.settled(How::delivered) == 5 * 7);
  CHECK(site.settled(How::dead) == 0);
  CHECK(site.log->ledger("far", Lane::raw).unsettled() == 0);
  CHECK(site.log->ledger("far", Lane::alarm).admitted == 0);
  const std::string metrics = site.metrics.expose();
  CHECK(metrics.find("millrace_uplink_skipped_records_total{uplink=\"far\"} 17") != std::string::npos);
  CHECK(metrics.find("millrace_uplink_records_total{uplink=\"far\"} 35") != std::string::npos);
}

TEST_CASE("standby: nonsense is told where it stands") {
  const auto errors_of = [](const std::string& more) {
    LoadedConfig loaded = load_config(
        "[gateway]\nname = \"gw\"\n[[uplinks.mqtt]]\nname = \"central\"\nservers = [\"mqtt://a\"]\n" + more,
        "m.toml", built_kinds());
    std::vector<UplinkPlan> plans;
    for (const PartConfig& part : loaded.config.uplinks) {
      plans.push_back(static_cast<const UplinkKind*>(part.kind)->plan(part.values.get(), "gw"));
      plans.back().name = part.name;
      plans.back().config = part;
    }
    for (const UplinkPlan& plan : plans) check_standby(plan, plans, loaded);
    std::string all;
    for (const ConfigError& error : loaded.errors) {
      if (error.message.find("input") == std::string::npos) all += error.message + "\n";
    }
    return all;
  };
  const auto spare = [](const std::string& name, const std::string& keys) {
    return "[[uplinks.https]]\nname = \"" + name + "\"\nservers = [\"http://b\"]\n" + keys + "\n";
  };
  CHECK(errors_of(spare("spare", "standby_of = \"central\"\nstandby_after = \"10s\"")).empty());
  const std::pair<std::string, const char*> table[] = {
      {spare("spare", "standby_of = \"spare\""), "cannot stand by for itself"},
      {spare("spare", "standby_of = \"centrl\""), "there is no uplink \"centrl\"; did you mean \"central\"?"},
      {spare("spare", "standby_of = \"central\"") + spare("more", "standby_of = \"spare\""),
       "is itself a standby, of \"central\""},
      {spare("x", "standby_of = \"y\"") + spare("y", "standby_of = \"x\""), "is itself a standby, of \"x\""},
      {spare("spare", "standby_of = \"central\"") + spare("more", "standby_of = \"central\""),
       "\"central\" has a standby, \"spare\""},
      {spare("spare", "standby_of = \"central\"\ndrain = { lanes = [\"alarm\"] }"),
       "drain.lanes must be those of \"central\""},
      {spare("spare", "standby_of = \"central\"\ndrain = { max_age = \"7d\" }"),
       "drain.max_age must be that of \"central\""},
      {spare("spare", "standby_of = \"central\"\nstart = \"oldest\""), "a standby has no start of its own"},
      {spare("spare", "standby_after = \"10s\""), "is of a standby"},
  };
  for (const auto& [more, words] : table) {
    CAPTURE(more);
    const std::string errors = errors_of(more);
    CAPTURE(errors);
    CHECK(errors.find(words) != std::string::npos);
  }
}

}  // namespace standby_test
