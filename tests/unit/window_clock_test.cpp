// What clocks that jump do to windows: nothing to those whose devices bring their own times, and to stamps of
// arrival what packaging/docs/clocks.md says.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "base/text.h"
#include "windows/window_engine.h"
#include "windows/window_pages.h"

namespace window_clock_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t second = 1'000'000, minute = 60 * second, hour = 60 * minute;
constexpr std::int64_t t0 = 1'790'000'040'000'000;  // a whole minute

WindowConfig ten_seconds() {
  WindowConfig window;
  window.name = "10s";
  window.size = 10s;
  window.allowed_lateness = 0s;
  window.idle_close = 10s;
  return window;
}

Record reading(std::int64_t time, double value, TimeTrust trust, const char* device = "d") {
  Record record;
  record.device = device;
  record.metric = "m";
  record.time = {time};
  record.value = value;
  record.trust = trust;
  return record;
}

const WindowDetail& detail(const Record& record) { return std::get<WindowDetail>(record.detail->body); }

// A site as the consumer plays it: a reading every `every` seconds of true time, a tick every five, a note
// when one is needed. `error` is by how much the gateway's clock is wrong at a second of true time.
struct Site {
  explicit Site(const WindowConfig& window) : engine({window, twice(window)}) {}
  // A second window over the same readings: one of a thing proves nothing.
  static WindowConfig twice(WindowConfig window) {
    window.name = "20s";
    window.size = 2 * window.size;
    return window;
  }

  WindowEngine engine;
  std::vector<Record> out;
  std::int64_t said = 0;  // the error when it last spoke
  bool own_times = true;
  int every = 2;
  WindowEngine::Clock clock = WindowEngine::Clock::trusted;

  void note(std::int64_t true_now, std::int64_t error) {
    const WallTime wall{true_now + error};
    const std::int64_t step = error - said;
    if (step != 0 || engine.needs_note(wall, clock)) engine.feed(WindowEngine::note(wall, clock, step), out);
    said = error;
  }
  void run(int from, int to, const std::function<std::int64_t(int)>& error) {
    for (int s = from; s < to; ++s) {
      const std::int64_t now = t0 + s * second;
      note(now, error(s));
      if (s % every == 0)
        engine.feed(
            reading(own_times ? now : now + error(s), s, own_times ? TimeTrust::device : TimeTrust::gateway),
            out);
      if (s % 5 == 4) engine.feed(WindowEngine::tick({now + error(s)}, clock), out);
    }
  }
  void restart(const WindowConfig& window) {
    std::map<std::string, Bytes> pieces;
    for (auto& [name, bytes] : WindowPages::take_changes(engine)) pieces[name] = bytes;
    WindowEngine again({window, twice(window)});
    CHECK(WindowPages::restore(again, [&](const std::string& name) {
            return std::optional(pieces.at(name));
          }).pages_lost == 0);
    engine = std::move(again);
  }
  // Of the windows that begin before this second: what is open at the end of a story may be given a tick
  // sooner or later.
  std::string told(int before) const {
    std::string all;
    for (const Record& window : out) {
      if (window.time.us >= t0 + before * second) continue;
      all += text(detail(window).name, " ", window.time.us, " r", detail(window).revision, " n",
                  detail(window).count, " ", detail(window).mean, "\n");
    }
    return all;
  }
  // No window twice under one revision.
  bool once() const {
    std::set<std::tuple<std::string, std::int64_t, std::uint32_t>> seen;
    for (const Record& window : out) {
      if (!seen.emplace(detail(window).name, window.time.us, detail(window).revision).second) return false;
    }
    return true;
  }
};

std::int64_t right(int) { return 0; }

}  // namespace

TEST_CASE("clocks: windows of devices with their own times are the same whatever the gateway's clock does") {
  const std::pair<const char*, std::function<std::int64_t(int)>> histories[] = {
      {"two hours ahead, then right", [](int s) { return s < 200 ? 2 * hour : 0; }},
      {"right, an hour ahead for 20 s, right", [](int s) { return s >= 100 && s < 120 ? hour : 0; }},
      {"set back by 55 minutes, for good", [](int s) { return s >= 100 ? -55 * minute : 0; }},
      {"50 years ahead and back", [](int s) { return s >= 100 && s < 300 ? 50 * 365 * 24 * hour : 0; }},
      {"a week's jump, as after a suspension", [](int s) { return s >= 100 ? 7 * 24 * hour : 0; }},
      {"a leap second", [](int s) { return s >= 100 ? -second : 0; }},
      {"back and forth without end", [](int s) { return s / 7 % 2 ? 40 * minute : -40 * minute; }},
  };
  for (const int every : {1, 2, 19}) {
    for (const Duration lateness : {0s, 60s}) {
      WindowConfig window = ten_seconds();
      window.allowed_lateness = lateness;
      Site steady(window);
      steady.every = every;
      steady.run(0, 20, right);
      steady.run(20, 500, right);
      for (const auto& [name, error] : histories) {
        Site site(window);
        site.every = every;
        // It is known from before: a device that is first heard while the clock is behind is from the future
        // as far as we know.
        site.run(0, 20, error(0) >= 0 ? error : right);
        site.run(20, 500, error);
        INFO(name, ", a reading every ", every, " s, lateness ", lateness.count());
        CHECK(site.told(460) == steady.told(460));
        CHECK(site.engine.stats(0).too_late == 0);
        CHECK(site.engine.stats(0).future == 0);
        CHECK(site.engine.stats(1).future == 0);
      }
    }
  }
}

TEST_CASE(
    "clocks: an hour ahead for 20 s ends no windows of readings that we stamp, whatever future_max and wherever the note stands") {
  for (const Duration future_max : {0s, 300s, 7200s}) {
    for (const bool unknown_between : {false, true}) {
      for (const bool restarted : {false, true}) {
        WindowConfig window = ten_seconds();
        window.future_max = future_max;
        Site site(window);
        site.own_times = false;
        const auto error = [](int s) { return s >= 100 && s < 120 ? hour : 0; };
        site.run(0, 120, error);
        // A stamp of before the step, in a group that the note leads.
        site.note(t0 + 120 * second, 0);
        site.engine.feed(reading(t0 + 119 * second + hour, 1, TimeTrust::gateway), site.out);
        if (unknown_between)
          site.engine.feed(WindowEngine::note({t0 + 120 * second}, WindowEngine::Clock::unknown), site.out);
        if (restarted) site.restart(window);
        site.out.clear();
        site.run(120, 200, error);
        INFO("future_max ", future_max.count(), " unknown ", unknown_between, " restarted ", restarted);
        CHECK(site.engine.stats(0).too_late == 0);
        std::size_t whole = 0;
        for (const Record& record : site.out)
          whole += detail(record).name == "10s" && record.time.us >= t0 + 120 * second &&
                   record.time.us < t0 + 190 * second && detail(record).count == 5 &&
                   // the one of the step may have been given
                   (detail(record).revision == 0 || record.time.us == t0 + 120 * second);
        CHECK(whole == 7);
      }
    }
  }
}

TEST_CASE(
    "clocks: time that is lived twice gives its windows twice, the second time whole and with a higher revision") {
  for (const Duration lateness : {0s, 3600s}) {
    for (const bool restarted : {false, true}) {
      WindowConfig window = ten_seconds();
      window.allowed_lateness = lateness;
      Site site(window);
      site.own_times = false;
      site.run(0, 600, right);
      if (restarted) site.restart(window);
      site.run(600, 1300, [](int) { return -500 * second; });  // 100 to 800 again
      if (restarted) site.restart(window);
      CHECK(site.once());
      CHECK(site.engine.stats(0).too_late == 0);
      std::map<std::int64_t, WindowDetail> last;
      for (const Record& record : site.out) {
        if (detail(record).name != "10s") continue;
        if (!last.contains(record.time.us) || last[record.time.us].revision < detail(record).revision)
          last[record.time.us] = detail(record);
      }
      for (int s = 0; s < 780; s += 10) {
        INFO("lateness ", lateness.count(), " second ", s);
        REQUIRE(last.contains(t0 + s * second));
        const WindowDetail& w = last[t0 + s * second];
        CHECK((w.revision > 0) == (s >= 100 && s < 600));
        if (s != 100) CHECK(w.count == 5);
      }
    }
  }
}

TEST_CASE("clocks: windows from an hour ahead are not mixed with those of the true hour") {
  for (const Duration lateness : {0s, 7200s}) {
    WindowConfig window = ten_seconds();
    window.allowed_lateness = lateness;
    Site site(window);
    site.own_times = false;
    site.run(0, 3900, [](int s) { return s >= 100 && s < 120 ? hour : 0; });
    CHECK(site.once());
    CHECK(site.engine.stats(0).too_late == 0);
    std::map<std::int64_t, WindowDetail> last;
    for (const Record& record : site.out) {
      if (detail(record).name == "10s") last[record.time.us] = detail(record);
    }
    for (int s = 3700; s < 3720; s += 10) {
      CHECK(last.at(t0 + s * second).count == 5);
      CHECK(last.at(t0 + s * second).mean == s + 4);
      CHECK(last.at(t0 + s * second).revision > 0);
    }
    for (const int s : {130, 200, 3600, 3690, 3800}) CHECK(last.at(t0 + s * second).revision == 0);
  }
}

TEST_CASE(
    "clocks: a device that follows the gateway's clock with its own is believed when both are set back") {
  for (const Duration lateness : {0s, 60s}) {
    WindowConfig window = ten_seconds();
    window.allowed_lateness = lateness;
    Site site(window);
    for (int s = 0; s < 300; ++s) {
      const std::int64_t error = s >= 100 && s < 120 ? hour : 0, now = t0 + s * second;
      site.note(now, error);
      site.engine.feed(reading(now + error, s, TimeTrust::device), site.out);
      if (s % 5 == 4) site.engine.feed(WindowEngine::tick({now + error}), site.out);
    }
    CHECK(site.once());
    CHECK(site.engine.stats(0).too_late == 0);
    std::size_t whole = 0;
    for (const Record& record : site.out)
      whole += detail(record).name == "10s" && record.time.us >= t0 + 130 * second &&
               record.time.us < t0 + 290 * second && detail(record).count == 10;
    CHECK(whole == 16);
  }
}

TEST_CASE("clocks: one reading from the future is still refused, however its device went on before") {
  Site site(ten_seconds());
  site.run(0, 100, right);
  site.engine.feed(reading(t0 + 100 * second + hour, 1, TimeTrust::device), site.out);
  CHECK(site.engine.stats(0).future == 1);
  site.run(100, 300, right);
  CHECK(site.engine.stats(0).too_late == 0);
  CHECK(std::count_if(site.out.begin(), site.out.end(),
                      [](const Record& record) { return detail(record).name == "10s"; }) == 29);
}

TEST_CASE(
    "clocks: a device that speaks between two ticks is not taken for silent, however short idle_close is") {
  WindowConfig window = ten_seconds();
  window.size = 1s;
  window.idle_close = 1s;
  Site site(window);
  site.own_times = false;
  site.every = 1;
  site.run(0, 100, right);
  CHECK(site.once());
  CHECK(site.engine.stats(0).too_late == 0);
  for (const Record& record : site.out) CHECK(detail(record).revision == 0);
}

}  // namespace window_clock_test
