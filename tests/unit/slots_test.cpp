// The state machine behind reloads, with parts that stop when the test says so.
#include <doctest/doctest.h>

#include <set>

#include "base/rng.h"
#include "sim/world/sim_loop.h"
#include "slots.h"
#include "tests/support/seed.h"

namespace slots_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

struct FakePlan {
  std::string name, config;
  std::vector<std::string> claims;
};

// What really runs: who is made, started and not yet destroyed.
struct Site {
  struct Part {
    Part(Site& s, const FakePlan& p) : site(s), plan(p) {
      CHECK(site.here.count(plan.name) == 0);  // never two of one name
      site.here[plan.name] = this;
      site.history += plan.name + "=" + plan.config + " ";
    }
    ~Part() {
      CHECK(site.here.at(plan.name) == this);
      site.here.erase(plan.name);
      for (const std::string& claim : plan.claims) {
        if (started) site.held.erase(claim);
      }
    }
    void start() {
      CHECK(!started);
      CHECK(!done);
      started = true;
      // a port is nobody else's
      for (const std::string& claim : plan.claims) CHECK(site.held.insert(claim).second);
    }
    void stop(std::function<void()> d) {
      CHECK(!done);  // told once
      done = std::move(d);
      site.stopping.push_back(this);
    }
    Site& site;
    const FakePlan plan;
    bool started = false;
    std::function<void()> done;
  };

  sim::SimLoop loop;
  std::map<std::string, Part*> here;
  std::set<std::string> held, removed;
  std::vector<Part*> stopping;
  std::string history;
  bool ready = true;
  std::set<std::string> absent;  // files that are not there yet, by the plan that needs them
  Slots<FakePlan, Part> slots{
      loop,
      {"part",
       [this](const FakePlan& plan) { return std::make_unique<Part>(*this, plan); },
       [this](const FakePlan&) { return ready; },
       [this](const std::string& name) { removed.insert(name); },
       {},
       [this](const FakePlan& plan) { return absent.contains(plan.config) ? "file " + plan.config : ""; }}};

  void reload(const std::vector<FakePlan>& plans) {
    slots.want(plans);
    slots.go_on();
  }
  // The stops that were begun call back, those of `only` if it is given.
  void let_stop(const std::string& only = "") {
    const auto now = std::exchange(stopping, {});
    for (Part* part : now) {
      if (only.empty() || part->plan.name == only) part->done();
      else stopping.push_back(part);
    }
    loop.run_for(1ms);
  }
  std::string running() const {
    std::string all;
    for (const auto& [name, part] : here) {
      if (part->started && !part->done) all += name + "=" + part->plan.config + " ";
    }
    return all;
  }
};

}  // namespace

TEST_CASE(
    "slots: who needs a file waits for it, the others run, and it starts by itself when the file comes") {
  Site site;
  site.absent = {"1"};
  site.reload({{"a", "1", {}}, {"b", "2", {}}});
  CHECK(site.running() == "b=2 ");
  CHECK(site.slots.waits_for("a") == "file 1");
  CHECK(site.slots.waits_for("b") == "");
  site.loop.run_for(1min);
  CHECK(site.running() == "b=2 ");
  site.absent.clear();
  site.loop.run_for(std::chrono::seconds(11));
  CHECK(site.running() == "a=1 b=2 ");
  CHECK(site.slots.waits_for("a") == "");
  site.absent = {"1", "2"};  // who runs needs nothing any more
  site.reload({{"a", "1", {}}, {"b", "2", {}}});
  site.loop.run_for(1min);
  CHECK(site.running() == "a=1 b=2 ");
}

TEST_CASE("slots: at a reload who runs goes on until the successor's file is there") {
  Site site;
  site.reload({{"a", "1", {}}});
  site.absent = {"2"};
  site.reload({{"a", "2", {}}});
  site.loop.run_for(1min);
  CHECK(site.running() == "a=1 ");
  CHECK(site.stopping.empty());
  CHECK(site.slots.waits_for("a") == "file 2");
  SUBCASE("the file comes") {
    site.absent.clear();
    site.loop.run_for(std::chrono::seconds(11));
    site.let_stop();
    CHECK(site.running() == "a=2 ");
  }
  SUBCASE("the configuration goes back") {
    site.reload({{"a", "1", {}}});
    site.loop.run_for(1min);
    CHECK(site.running() == "a=1 ");
    CHECK(site.slots.waits_for("a") == "");
    CHECK(site.stopping.empty());
  }
  SUBCASE("another configuration can start at once") {
    site.reload({{"a", "3", {}}});
    site.let_stop();
    CHECK(site.running() == "a=3 ");
  }
  SUBCASE("it is taken out") {
    site.reload({});
    site.let_stop();
    CHECK(site.running() == "");
    CHECK(site.removed.contains("a"));
  }
  SUBCASE("the gateway stops") {
    bool stopped = false;
    site.slots.stop([&] { stopped = true; });
    site.let_stop();
    site.loop.run_for(1ms);
    CHECK(stopped);
  }
}

TEST_CASE("slots: what waits may be changed and taken out") {
  Site site;
  site.absent = {"1"};
  site.reload({{"a", "1", {}}});
  site.reload({{"a", "2", {}}});
  site.let_stop();
  CHECK(site.running() == "a=2 ");
  site.absent = {"1"};
  site.reload({{"b", "1", {}}});
  site.let_stop();
  CHECK(site.running() == "");
  site.reload({});
  site.let_stop();
  site.absent.clear();
  site.loop.run_for(1min);
  CHECK(site.running() == "");
  CHECK(site.here.empty());
}

TEST_CASE("slots: a changed part is made anew once the old one has stopped, its neighbour goes on") {
  Site site;
  site.reload({{"a", "1", {}}, {"b", "1", {}}});
  CHECK(site.running() == "a=1 b=1 ");
  site.reload({{"a", "2", {}}, {"b", "1", {}}});
  CHECK(site.running() == "b=1 ");
  CHECK(site.slots.find("a") == nullptr);
  CHECK(site.slots.contains("a"));
  site.let_stop();
  CHECK(site.running() == "a=2 b=1 ");
  CHECK(site.history == "a=1 b=1 a=2 ");
}

TEST_CASE("slots: of several reloads while a part stops the last one counts, and one successor comes") {
  Site site;
  site.reload({{"a", "1", {}}});
  for (const char* fingerprint : {"2", "3", "4"}) site.reload({{"a", fingerprint, {}}});
  site.let_stop();
  CHECK(site.running() == "a=4 ");
  CHECK(site.history == "a=1 a=4 ");
}

TEST_CASE("slots: back to what was there before: it starts anew, for the old one is stopping already") {
  Site site;
  site.reload({{"a", "1", {}}});
  site.reload({{"a", "2", {}}});
  site.reload({{"a", "1", {}}});
  site.let_stop();
  CHECK(site.history == "a=1 a=1 ");
  CHECK(site.running() == "a=1 ");
}

TEST_CASE("slots: what was changed and then removed does not come back") {
  Site site;
  site.reload({{"a", "1", {}}, {"b", "1", {}}});
  site.reload({{"a", "2", {}}, {"b", "1", {}}});
  site.reload({{"b", "1", {}}});
  CHECK(site.removed.empty());  // it is still stopping
  site.let_stop();
  CHECK(site.running() == "b=1 ");
  CHECK(site.removed == std::set<std::string>{"a"});
  CHECK(!site.slots.contains("a"));
}

TEST_CASE("slots: what was removed and came back while it stopped is there once") {
  Site site;
  site.reload({{"a", "1", {}}});
  site.reload({});
  site.reload({{"a", "1", {}}});
  site.let_stop();
  CHECK(site.running() == "a=1 ");
  CHECK(site.removed.empty());
}

TEST_CASE(
    "slots: renamed on the same port, the new name waits for the old one; on another port it does not") {
  Site site;
  site.reload({{"old", "1", {"port 1883"}}, {"other", "1", {"port 1884"}}});
  site.reload({{"new", "1", {"port 1883"}}, {"third", "1", {"port 1885"}}, {"other", "1", {"port 1884"}}});
  CHECK(site.running() == "other=1 third=1 ");
  site.let_stop("old");
  CHECK(site.running() == "new=1 other=1 third=1 ");
}

TEST_CASE("slots: two that change places wait for each other's end, not for each other") {
  Site site;
  site.reload({{"a", "1", {"port 1"}}, {"b", "1", {"port 2"}}});
  site.reload({{"a", "2", {"port 2"}}, {"b", "2", {"port 1"}}});
  site.let_stop("a");
  CHECK(site.running() == "");
  site.let_stop("b");
  CHECK(site.running() == "a=2 b=2 ");
}

TEST_CASE(
    "slots: what is made before the owner is ready starts then, and what changed meanwhile starts as changed") {
  Site site;
  site.ready = false;
  site.reload({{"a", "1", {}}, {"b", "1", {}}});
  CHECK(site.running() == "");
  CHECK(site.here.size() == 2);
  site.reload({{"a", "1", {}}, {"b", "2", {}}});
  site.ready = true;
  site.slots.go_on();
  CHECK(site.running() == "a=1 ");
  site.let_stop();
  CHECK(site.running() == "a=1 b=2 ");
}

TEST_CASE(
    "slots: the end waits also for those that an earlier reload told to stop, and nothing starts any more") {
  Site site;
  site.reload({{"a", "1", {}}, {"b", "1", {}}, {"c", "1", {}}});
  site.reload({{"a", "2", {}}, {"c", "1", {}}});
  int ended = 0;
  site.slots.stop([&] { ++ended; });
  site.loop.run_for(1ms);
  CHECK(site.stopping.size() == 3);
  site.reload({{"a", "3", {}}, {"d", "1", {}}});
  site.let_stop("a");
  site.let_stop("c");
  CHECK(ended == 0);
  CHECK(site.slots.stopping_names() == "b");
  site.let_stop();
  CHECK(ended == 1);
  CHECK(site.here.empty());
}

TEST_CASE("slots: the end of nobody is told as well, later") {
  Site site;
  int ended = 0;
  site.slots.stop([&] { ++ended; });
  CHECK(ended == 0);
  site.loop.run_for(1ms);
  CHECK(ended == 1);
}

TEST_CASE(
    "slots: a stop that never calls back holds its own name and claims, and the others reload as ever") {
  Site site;
  site.reload({{"stuck", "1", {"tty 0"}}, {"b", "1", {}}});
  site.reload({{"stuck", "2", {"tty 0"}}, {"b", "2", {}}, {"heir", "1", {"tty 0"}}});
  site.let_stop("b");
  site.loop.run_for(1min);
  CHECK(site.running() == "b=2 ");
  CHECK(site.slots.stopping_names() == "stuck");
}

TEST_CASE(
    "slots: whatever is reloaded and whenever stops call back, in the end the last configuration runs") {
  for (int round = 0; round < 200; ++round) {
    Rng rng(seed() + static_cast<std::uint64_t>(round));
    Site site;
    std::vector<FakePlan> last;
    for (int i = 0; i < 40; ++i) {
      if (rng.below(3) > 0) {
        last.clear();
        std::vector<std::string> ports{"1", "2", "3", "4"};
        for (const char* name : {"a", "b", "c", "d"}) {
          if (rng.below(3) == 0) continue;
          const std::size_t port = rng.below(ports.size());
          last.push_back({name, text(rng.below(3), ports[port]), {"port " + ports[port]}});
          ports.erase(ports.begin() + static_cast<std::ptrdiff_t>(port));
        }
        site.reload(last);
      } else if (!site.stopping.empty()) {
        site.let_stop(site.stopping[rng.below(site.stopping.size())]->plan.name);
      }
    }
    while (!site.stopping.empty()) site.let_stop();
    std::string wanted;
    for (const FakePlan& plan : last) wanted += plan.name + "=" + plan.config + " ";
    CHECK(site.running() == wanted);
  }
}

}  // namespace slots_test
