#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/rng.h"
#include "base/text.h"
#include "windows/window_engine.h"
#include "windows/window_pages.h"
#include "record/varint.h"
#include "tests/support/seed.h"

namespace window_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

// a whole minute
constexpr std::int64_t second = 1'000'000, minute = 60 * second, t0 = 1'700'000'040'000'000;

WindowConfig one_minute() {
  WindowConfig window;
  window.name = "1min";
  window.size = 1min;
  window.allowed_lateness = 1min;
  window.idle_close = 10s;
  return window;
}

Record reading(std::int64_t time, double value, const char* device = "d") {
  Record record;
  record.device = device;
  record.metric = "m";
  record.time = {time};
  record.value = value;
  return record;
}

Record stamped(std::int64_t time, double value, const char* device = "d") {
  Record record = reading(time, value, device);
  record.trust = TimeTrust::gateway;
  return record;
}

Record tagged(std::int64_t time, double value, const char* device, Tags tags) {
  Record record = reading(time, value, device);
  record.tags = std::move(tags);
  return record;
}

// Where pieces of snapshots lie, as in the log.
struct Store {
  std::map<std::string, Bytes> pieces;
  std::size_t written = 0, removed = 0;  // by the last snapshot, the head left out

  void take(WindowEngine& engine) {
    written = removed = 0;
    for (auto& [name, bytes] : WindowPages::take_changes(engine)) {
      CHECK(bytes.size() <= WindowPages::piece_bytes_max);
      if (bytes.empty()) {
        pieces.erase(name);
        ++removed;
      } else {
        pieces[name] = bytes;
        written += name.ends_with("head") ? 0 : 1;
      }
    }
  }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& [name, bytes] : pieces) sum += bytes.size();
    return sum;
  }
  WindowPages::Found restore(WindowEngine& engine) const {
    return WindowPages::restore(engine, [this](const std::string& name) {
      const auto found = pieces.find(name);
      return found == pieces.end() ? std::nullopt : std::optional(found->second);
    });
  }
};

const WindowDetail& detail(const Record& record) { return std::get<WindowDetail>(record.detail->body); }

std::string said(const Record& record) {
  const WindowDetail& w = detail(record);
  return text(w.ordinal, " ", w.name, " ", record.device, " ", record.metric, " ", record.time.us, " r",
              w.revision, " ", w.count, " ", w.mean, " ", w.min, " ", w.max);
}

std::uint64_t refused(const WindowEngine& engine, WindowRefusal why, std::size_t window = 0) {
  return engine.stats(window).refused[static_cast<std::size_t>(why)];
}

}  // namespace

TEST_CASE("windows: count, mean, min and max of a minute, when the next one begins") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  for (const auto& [at, value] : {std::pair{0, 3.0}, {10, 1.0}, {59, 5.0}})
    engine.feed(reading(t0 + at * 1'000'000, value), out);
  CHECK(out.empty());
  engine.feed(reading(t0 + minute, 100), out);
  REQUIRE(out.size() == 1);
  CHECK(out[0].kind == Kind::window);
  CHECK(out[0].time.us == t0);
  CHECK(detail(out[0]).count == 3);
  CHECK(detail(out[0]).mean == 3.0);
  CHECK(detail(out[0]).min == 1.0);
  CHECK(detail(out[0]).max == 5.0);
  CHECK(detail(out[0]).end_us == t0 + minute);
  CHECK(detail(out[0]).revision == 0);
  CHECK(detail(out[0]).ordinal == 1);
}

TEST_CASE("windows: a late reading revises its window; one later than allowed is counted") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(reading(t0, 1), out);
  engine.feed(reading(t0 + minute, 1), out);
  engine.feed(reading(t0 + 30'000'000, 3), out);
  REQUIRE(out.size() == 1);
  engine.feed(WindowEngine::tick({t0 + minute + 1'000'000}), out);
  REQUIRE(out.size() == 2);
  CHECK(detail(out[1]).revision == 1);
  CHECK(detail(out[1]).count == 2);
  CHECK(out[1].time.us == t0);
  engine.feed(reading(t0 + 3 * minute, 1), out);
  engine.feed(reading(t0 + 1, 1), out);
  CHECK(engine.stats(0).too_late == 1);
}

TEST_CASE("windows: an idle device's window is closed by a tick") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(reading(t0, 1), out);
  for (int s = 0; s < 70; s += 5) engine.feed(WindowEngine::tick({t0 + s * second}), out);
  CHECK(out.empty());
  engine.feed(WindowEngine::tick({t0 + minute + 10'000'000}), out);
  CHECK(out.size() == 1);
  CHECK_FALSE(engine.has_open());
}

TEST_CASE(
    "windows: where our stamps made the times, the clock closes them also when nobody ticked meanwhile") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(stamped(t0, 1), out);
  engine.feed(WindowEngine::tick({t0 + minute}), out);
  CHECK(out.empty());
  engine.feed(WindowEngine::tick({t0 + minute + 10'000'000}), out);
  CHECK(out.size() == 1);
}

TEST_CASE("windows: one reading from the future closes nobody's windows") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(WindowEngine::tick({t0}), out);
  engine.feed(reading(t0, 1), out);
  engine.feed(reading(t0 + 365ll * 24 * 60 * minute, 1), out);
  CHECK(out.empty());
  engine.feed(reading(t0 + 1'000'000, 2), out);
  engine.feed(reading(t0 + minute, 2), out);
  REQUIRE(out.size() == 1);
  CHECK(detail(out[0]).count == 2);
  CHECK(engine.stats(0).too_late == 0);
}

TEST_CASE("windows: devices do not close each other's windows") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  engine.feed(reading(t0, 1, "a"), out);
  engine.feed(reading(t0 + 2 * minute, 1, "b"), out);
  CHECK(out.empty());
}

TEST_CASE("windows: a metric that falls silent while its device speaks is closed by the device's time") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  Record other = reading(t0, 7);
  other.metric = "other";
  engine.feed(other, out);
  engine.feed(reading(t0, 1), out);
  engine.feed(reading(t0 + minute + 9'999'999, 1), out);
  CHECK(out.size() == 1);
  engine.feed(reading(t0 + minute + 10'000'000, 1), out);
  REQUIRE(out.size() == 2);
  CHECK(out[1].metric == "other");
}

TEST_CASE(
    "windows: two windows, and two devices of one name under different tags, do not know of each other") {
  WindowConfig hour = one_minute();
  hour.name = "1h";
  hour.size = 1h;
  hour.metrics = {"m", "n"};
  WindowConfig some = one_minute();
  some.name = "n only";
  some.metrics = {"n"};
  WindowEngine engine({one_minute(), hour, some});
  std::vector<Record> out;
  engine.feed(tagged(t0, 1, "press", {{"line", "a"}}), out);
  engine.feed(tagged(t0, 2, "press", {{"line", "b"}}), out);
  // Neither a separator nor a NUL in a name makes one key of two.
  engine.feed(tagged(t0, 3, "press", {{"line", std::string("a\0m", 3)}}), out);
  engine.feed(tagged(t0, 4, "press/line", {{"a", ""}}), out);
  engine.feed(tagged(t0, 5, "press", {{"linea", ""}}), out);
  CHECK(engine.keys(0) == 5);
  CHECK(engine.keys(1) == 5);
  CHECK(engine.keys(2) == 0);
  engine.feed(tagged(t0 + minute, 1, "press", {{"line", "a"}}), out);
  REQUIRE(out.size() == 1);
  CHECK(detail(out[0]).name == "1min");
  CHECK(detail(out[0]).max == 1);
  engine.feed(tagged(t0 + 60 * minute, 1, "press", {{"line", "b"}}), out);
  REQUIRE(out.size() == 3);
  CHECK(detail(out[1]).name == "1min");
  CHECK(detail(out[2]).name == "1h");
  CHECK(detail(out[2]).max == 2);
}

TEST_CASE("windows: names too long are refused and counted, and the others' windows are as ever") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  for (int i = 0; i < 640; ++i) {
    std::string level(60'000, 'x');
    level += text(i);
    engine.feed(tagged(t0, 1, "flood", {{"line", level}}), out);
    engine.feed(reading(t0 + i * 1000, i), out);
  }
  CHECK(refused(engine, WindowRefusal::name) == 640);
  CHECK(engine.keys(0) == 1);
  Store store;
  store.take(engine);
  CHECK(store.bytes() < 500);
  // At the bound: device, tags, metric and unit together.
  const std::size_t others = 2 + 1;  // the device's length, and the metric
  Record longest = reading(t0, 1);
  longest.device = std::string(window_identity_bytes_max - others, 'd');
  engine.feed(longest, out);
  CHECK(refused(engine, WindowRefusal::name) == 640);
  CHECK(engine.keys(0) == 2);
  longest.device += 'd';
  engine.feed(longest, out);
  CHECK(refused(engine, WindowRefusal::name) == 641);
}

TEST_CASE(
    "windows: at keys_max further keys are refused, known ones go on, and another window is not concerned") {
  WindowConfig few = one_minute(), many = one_minute();
  few.keys_max = 3;
  many.name = "many";
  WindowEngine engine({few, many});
  std::vector<Record> out;
  for (int i = 0; i < 5; ++i) engine.feed(reading(t0, 1, text("d", i).c_str()), out);
  CHECK(engine.keys(0) == 3);
  CHECK(engine.keys(1) == 5);
  CHECK(refused(engine, WindowRefusal::keys, 0) == 2);
  CHECK(refused(engine, WindowRefusal::keys, 1) == 0);
  CHECK(engine.last_refused(0).device == "d4");
  engine.feed(reading(t0 + minute, 1, "d0"), out);
  CHECK(out.size() == 2);
}

TEST_CASE(
    "windows: at state_max further keys are refused, and known ones always have room for the next window") {
  WindowConfig small = one_minute();
  small.state_max = 64 << 10;
  small.allowed_lateness = 1h;
  WindowEngine engine({small});
  std::vector<Record> out;
  for (int i = 0; i < 1000; ++i) engine.feed(reading(t0, 1, text("device-", i).c_str()), out);
  const std::size_t keys = engine.keys(0);
  CHECK(keys > 200);
  CHECK(keys < 330);
  CHECK(refused(engine, WindowRefusal::bytes) == 1000 - keys);
  for (int round = 1; round <= 20; ++round) {
    for (std::size_t i = 0; i < keys; ++i)
      engine.feed(reading(t0 + round * minute, 1, text("device-", i).c_str()), out);
    CHECK(engine.bytes(0) <= small.state_max);
    Store store;
    WindowPages::all_changed(engine);
    store.take(engine);
    CHECK(store.bytes() <= small.state_max);
  }
  CHECK(out.size() == 20 * keys);
  CHECK(engine.given_up() > 0);
  CHECK(refused(engine, WindowRefusal::bytes) == 1000 - keys);
  // What was given up is too late from then on.
  engine.feed(reading(t0, 1, "device-0"), out);
  CHECK(out.size() == 20 * keys);
  CHECK(engine.stats(0).too_late == 1);
}

TEST_CASE("windows: a device with a window a second keeps the newest of them, however far it goes back") {
  WindowConfig second = one_minute();
  second.size = 1s;
  second.allowed_lateness = 24h;
  WindowEngine engine({second});
  std::vector<Record> out;
  engine.feed(WindowEngine::tick({t0}), out);
  for (int i = 0; i < 5000; ++i) engine.feed(reading(t0 - 5000'000'000ll + i * 1'000'000ll, 1), out);
  CHECK(out.size() == 4999);
  CHECK(engine.given_up() == 5000 - window_panes_max);
  // Backwards, each a window of its own: only what finds room.
  WindowEngine back({second});
  for (int i = 0; i < 5000; ++i) back.feed(reading(t0 - i * 1'000'000ll, 1, "b"), out);
  CHECK(refused(back, WindowRefusal::panes) == 5000 - window_panes_max);
}

TEST_CASE("windows: a time beyond future_max is not aggregated, at its bound it is") {
  WindowEngine engine({one_minute()});
  const std::int64_t bound = t0 + to_us(one_minute().future_max) + WindowEngine::clock_grain_us;
  std::vector<Record> out;
  engine.feed(WindowEngine::note({t0}, WindowEngine::Clock::plausible), out);
  engine.feed(reading(4'070'908'800'000'000, 1), out);
  engine.feed(reading(INT64_MAX, 1), out);
  engine.feed(reading(bound + 1, 1), out);
  CHECK(engine.stats(0).future == 3);
  CHECK(engine.keys(0) == 0);
  engine.feed(reading(t0, 1), out);
  engine.feed(reading(t0 + minute, 1), out);
  CHECK(out.size() == 1);
  engine.feed(reading(bound, 1), out);
  CHECK(engine.stats(0).future == 3);
}

TEST_CASE(
    "windows: while the clock is not known a device may be ahead of it; once it is, its watermark is mended") {
  for (const bool over_snapshot : {false, true}) {
    auto engine = std::make_unique<WindowEngine>(std::vector{one_minute()});
    std::vector<Record> out;
    engine->feed(WindowEngine::note({1'000'000}, WindowEngine::Clock::unknown), out);
    engine->feed(reading(4'070'908'800'000'000, 1), out);
    engine->feed(reading(t0, 1), out);
    engine->feed(reading(t0, 1, "other"), out);
    CHECK(engine->stats(0).too_late == 1);
    CHECK(engine->stats(0).future == 0);
    if (over_snapshot) {
      Store store;
      store.take(*engine);
      engine = std::make_unique<WindowEngine>(std::vector{one_minute()});
      CHECK(store.restore(*engine).head);
    }
    engine->feed(WindowEngine::note({t0}, WindowEngine::Clock::plausible), out);
    CHECK(out.size() == 1);  // what was ahead is given, and gone
    engine->feed(reading(t0, 2), out);
    engine->feed(reading(t0 + minute, 2), out);
    REQUIRE(out.size() == 2);
    CHECK(detail(out[1]).max == 2);
  }
}

TEST_CASE("windows: a clock hours ahead at boot closes no window of a device that speaks") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  for (int i = 0; i < 120; ++i) {
    engine.feed(reading(t0 + i * 2'000'000, i), out);
    if (i % 2)
      engine.feed(WindowEngine::tick({t0 + 120 * minute + i * 2'000'000}, WindowEngine::Clock::plausible),
                  out);
  }
  REQUIRE(out.size() == 3);
  for (const Record& window : out) {
    CHECK(detail(window).revision == 0);
    CHECK(detail(window).count == 30);
  }
}

TEST_CASE(
    "windows: who is silent for a day is forgotten, for an hour when it is crowded, with all its room") {
  for (const bool crowded : {false, true}) {
    WindowConfig window = one_minute();
    window.keys_max = crowded ? 4 : 100;
    WindowEngine engine({window});
    std::vector<Record> out;
    std::int64_t now = t0;
    const auto minutes = [&](int count) {
      for (int i = 0; i < count * 12; ++i) {
        now += 5'000'000;
        engine.feed(reading(now, 1, "alive"), out);
        engine.feed(WindowEngine::tick({now}), out);
      }
    };
    for (const char* device : {"a", "b", "c"}) engine.feed(reading(now, 1, device), out);
    minutes(crowded ? 58 : 1438);
    CHECK(engine.keys(0) == 4);
    const std::size_t bytes = engine.bytes(0);
    minutes(63);
    CHECK(engine.keys(0) == (crowded ? 3 : 1));  // until it is crowded no longer
    CHECK(engine.bytes(0) < bytes);
    engine.feed(reading(now, 1, "d"), out);
    CHECK(engine.keys(0) == (crowded ? 4 : 2));
  }
}

namespace {

// Everything that happens to windows, in numbers: late and future readings, floods of keys, clocks that jump,
// silence.
Record some_entry(Rng& rng, std::int64_t& now) {
  now += static_cast<std::int64_t>(rng.below(1'500'000));
  if (rng.chance(0.0005)) now += static_cast<std::int64_t>(rng.below(20 * 60 * minute));
  if (rng.chance(0.02)) return WindowEngine::tick({now});
  if (rng.chance(0.005))
    return WindowEngine::note({now - static_cast<std::int64_t>(rng.below(2 * minute))},
                              WindowEngine::Clock::trusted);
  if (rng.chance(0.002)) return WindowEngine::note({1'000'000}, WindowEngine::Clock::unknown);
  std::int64_t at = now - static_cast<std::int64_t>(rng.below(90'000'000));
  if (rng.chance(0.01)) at += static_cast<std::int64_t>(rng.below(600 * minute));
  const bool flood = rng.chance(0.2);
  Record record = reading(at, rng.unit(), text(flood ? "flood" : "d", rng.below(flood ? 5000 : 20)).c_str());
  if (rng.chance(0.3)) record.tags = {{"line", text(rng.below(2))}};
  if (rng.chance(0.3)) record.metric = "n";
  return record;
}

std::vector<WindowConfig> three_windows() {
  WindowConfig second = one_minute(), some = one_minute();
  second.name = "1s";
  second.size = 1s;
  second.allowed_lateness = 10s;
  second.keys_max = 60;
  some.name = "10s";
  some.size = 10s;
  some.allowed_lateness = 0s;
  some.idle_close = 1s;
  some.state_max = 10'000;
  some.metrics = {"n"};
  return {one_minute(), second, some};
}

}  // namespace

TEST_CASE(
    "windows: an engine restored again and again gives what one without gives, bit for bit, with its bounds reached") {
  Rng rng(seed());
  WindowEngine whole(three_windows());
  auto split = std::make_unique<WindowEngine>(three_windows());
  std::vector<Record> expected, got;
  Store store;
  std::int64_t now = t0;
  std::vector<Record> behind;  // since the last snapshot
  for (int i = 0; i < 12'000 * effort(); ++i) {
    const Record entry = some_entry(rng, now);
    whole.feed(entry, expected);
    split->feed(entry, got);
    behind.push_back(entry);
    if (rng.chance(0.01)) {
      store.take(*split);
      behind.clear();
    }
    if (i % 700 == 650 && !store.pieces.empty()) {  // killed: the snapshot, and what lies behind it again
      auto again = std::make_unique<WindowEngine>(three_windows());
      const auto found = store.restore(*again);
      CHECK(found.head);
      CHECK(found.pages_lost == 0);
      CHECK(found.keys_dropped == 0);
      std::vector<Record> repeated;
      for (const Record& old : behind) again->feed(old, repeated);
      REQUIRE(repeated.size() <= got.size());
      for (std::size_t r = 0; r < repeated.size(); ++r)
        CHECK(said(repeated[r]) == said(got[got.size() - repeated.size() + r]));
      split = std::move(again);
    }
  }
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(said(got[i]) == said(expected[i]));
  CHECK(got.size() > 1000);
  CHECK(refused(whole, WindowRefusal::keys, 1) > 0);
  CHECK(refused(whole, WindowRefusal::bytes, 2) > 0);
  CHECK(whole.stats(0).future > 0);
  for (std::size_t w = 0; w < 3; ++w) {
    CHECK(split->keys(w) == whole.keys(w));
    CHECK(split->bytes(w) == whole.bytes(w));
    CHECK(split->stats(w).too_late == whole.stats(w).too_late);
  }
  CHECK(whole.bytes(2) <= 10'000);
}

TEST_CASE("windows: a snapshot writes the pieces of who changed, and removes those of who is forgotten") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  for (int i = 0; i < 2000; ++i) engine.feed(reading(t0, 1, text("device-", i).c_str()), out);
  Store store;
  store.take(engine);
  CHECK(store.written > 20);
  store.take(engine);
  CHECK(store.written == 0);
  engine.feed(reading(t0 + 1, 1, "device-700"), out);
  store.take(engine);
  CHECK(store.written == 1);
  const std::size_t pieces = store.pieces.size();
  std::int64_t now = t0;
  for (int i = 0; i < 25 * 60 * 12; ++i) {
    now += 5'000'000;
    if (i % 12 == 0) engine.feed(reading(now, 1, "device-1"), out);
    engine.feed(WindowEngine::tick({now}), out);
  }
  store.take(engine);
  CHECK(engine.keys(0) == 1);
  CHECK(store.removed == pieces - 2);
  CHECK(store.pieces.size() == 2);
}

TEST_CASE(
    "windows: a page that is missing or damaged costs its own devices' windows, a head that is costs all") {
  WindowEngine engine({one_minute()});
  std::vector<Record> out;
  for (int i = 0; i < 500; ++i) engine.feed(reading(t0, 1, text("device-", i).c_str()), out);
  Store store;
  store.take(engine);
  for (const bool missing : {true, false}) {
    Store damaged = store;
    auto page = damaged.pieces.begin();
    REQUIRE_FALSE(page->first.ends_with("head"));
    if (missing) damaged.pieces.erase(page);
    else page->second[page->second.size() / 2] ^= std::byte{1};
    WindowEngine restored({one_minute()});
    const auto found = damaged.restore(restored);
    CHECK(found.head);
    CHECK(found.pages_lost == 1);
    CHECK(restored.keys(0) < 500);
    CHECK(restored.keys(0) > 400);
    CHECK(WindowPages::names(restored).size() == store.pieces.size() - 1);
    std::vector<Record> closed;
    for (int i = 0; i < 500; ++i) restored.feed(reading(t0 + minute, 1, text("device-", i).c_str()), closed);
    CHECK(restored.keys(0) == 500);
    CHECK(closed.size() < 500);
    Store after = damaged;
    after.take(restored);
    WindowEngine again({one_minute()});
    CHECK(after.restore(again).pages_lost == 0);
    CHECK(again.keys(0) == 500);
  }
  store.pieces["windows/head"].pop_back();
  WindowEngine anew({one_minute()});
  CHECK_FALSE(store.restore(anew).head);
  CHECK(anew.keys(0) == 0);
}

TEST_CASE(
    "windows: a changed definition starts anew, its neighbours do not; less room than there was drops what does not fit") {
  WindowConfig a = one_minute(), b = one_minute();
  b.name = "b";
  WindowEngine engine({a, b});
  std::vector<Record> out;
  for (int i = 0; i < 100; ++i) engine.feed(reading(t0, 1, text("device-", i).c_str()), out);
  Store store;
  store.take(engine);
  a.size = 2min;
  WindowEngine changed({b, a});
  CHECK(store.restore(changed).head);
  CHECK(changed.keys(0) == 100);
  CHECK(changed.keys(1) == 0);
  store.take(changed);
  WindowEngine again({b, a});
  CHECK(store.restore(again).head);
  CHECK(again.keys(0) == 100);
  b.keys_max = 30;
  WindowEngine less({b, a});
  CHECK(store.restore(less).keys_dropped == 70);
  CHECK(less.keys(0) == 30);
}

TEST_CASE(
    "windows: the one blob of earlier versions is read once, and what lay in the far future in it is mended") {
  Bytes blob;
  wire::Writer writer(blob);
  const auto put = [&](std::string_view text) {
    writer.put_varint(text.size());
    writer.append(text.data(), text.size());
  };
  const std::int64_t far = 4'070'908'800'000'000;
  writer.put_varint(1);
  for (const std::uint64_t n : {wire::zigzag(0), std::uint64_t{41}, std::uint64_t{7}, std::uint64_t{1}})
    writer.put_varint(n);
  writer.put_fixed64(digest64(bytes_of(text("1min/", std::chrono::nanoseconds(1min).count()))));
  writer.put_varint(2);
  for (const auto& [device, time] :
       {std::pair{std::string("good\0line\0one", 13), t0 + 5}, {std::string("ahead"), far}}) {
    put(device);
    writer.put_varint(wire::zigzag(time));
  }
  writer.put_varint(2);
  for (const bool good : {true, false}) {
    writer.put_varint(0);
    for (const char* text : {good ? "good" : "ahead", "m", "C"}) put(text);
    writer.put_varint(good ? 1 : 0);
    if (good) {
      put("line");
      put("one");
    }
    writer.put_varint(1);
    writer.put_varint(wire::zigzag(good ? t0 : far - far % minute));
    writer.put_varint(3);
    for (const double v : {6.0, 1.0, 3.0}) writer.put_fixed64(std::bit_cast<std::uint64_t>(v));
    writer.put_varint(0);
    writer.put_varint(0);
  }
  WindowEngine engine({one_minute()});
  REQUIRE(WindowPages::restore_blob(engine, blob).ok());
  CHECK(engine.keys(0) == 2);
  CHECK(engine.stats(0).too_late == 7);
  std::vector<Record> out;
  engine.feed(WindowEngine::note({t0 + 10}, WindowEngine::Clock::plausible), out);
  out.clear();
  for (const std::int64_t at : {t0 + 10, t0 + minute}) {
    engine.feed(tagged(at, 2, "good", {{"line", "one"}}), out);
    engine.feed(reading(at, 2, "ahead"), out);
  }
  REQUIRE(out.size() == 2);
  CHECK(detail(out[0]).count == 4);
  CHECK(out[0].unit == "C");
  CHECK(detail(out[0]).ordinal == 43);
  CHECK(detail(out[1]).count == 1);
  for (std::size_t size = 0; size < blob.size(); ++size) {
    WindowEngine cut({one_minute()});
    CHECK_FALSE(WindowPages::restore_blob(cut, BytesView(blob).first(size)).ok());
    CHECK(cut.keys(0) == 0);
  }
}
// ---- aggregates

namespace {

WindowConfig asking(std::vector<std::string> aggregates) {
  WindowConfig window = one_minute();
  window.aggregates = std::move(aggregates);
  return window;
}

std::string stats_of(const Record& record) {
  std::string all;
  for (const WindowStat& stat : detail(record).stats)
    all += text(all.empty() ? "" : " ", stat.name, "=", stat.value);
  return all;
}

std::vector<Record> fed(WindowEngine& engine, const std::vector<std::pair<std::int64_t, double>>& readings) {
  std::vector<Record> out;
  for (const auto& [at, value] : readings) engine.feed(reading(t0 + at * second, value), out);
  return out;
}

}  // namespace

TEST_CASE("windows: what a window asks for is in its record besides, in the order of the build") {
  WindowEngine engine({asking({"last", "stddev", "first", "sum"})});
  // By time: 4 2 6 8; they come in another order.
  const auto out = fed(engine, {{20, 6}, {5, 4}, {10, 2}, {50, 8}, {60, 0}, {121, 0}});
  REQUIRE(out.size() == 2);
  CHECK(detail(out[0]).count == 4);
  CHECK(detail(out[0]).mean == 5);
  CHECK(stats_of(out[0]) == text("sum=20 stddev=", std::sqrt(20.0 / 3), " first=4 last=8"));
  CHECK_MESSAGE(stats_of(out[1]) == "sum=0 first=0 last=0", "one reading deviates from nothing");
  WindowEngine plain({one_minute()});
  CHECK(stats_of(fed(plain, {{0, 1}, {60, 2}}).at(0)).empty());
}

TEST_CASE(
    "windows: of readings at one moment the first that came is the first, and the last that came the last") {
  WindowEngine engine({asking({"first", "last"})});
  CHECK(stats_of(fed(engine, {{7, 1}, {7, 2}, {7, 3}, {60, 0}}).at(0)) == "first=1 last=3");
}

TEST_CASE("windows: deviations of large readings that lie close together are not lost") {
  WindowEngine engine({asking({"stddev"})});
  CHECK(stats_of(fed(engine, {{0, 1e9 + 4}, {1, 1e9 + 7}, {2, 1e9 + 13}, {3, 1e9 + 16}, {60, 0}}).at(0)) ==
        text("stddev=", std::sqrt(30.0)));
}

TEST_CASE("windows: a stat that is no number is not there, and an infinite reading spoils no other window") {
  WindowEngine engine({asking({"sum", "stddev", "last"})});
  const double inf = std::numeric_limits<double>::infinity();
  const auto out = fed(engine, {{0, 1}, {1, inf}, {60, 2}, {61, 4}, {120, 0}});
  REQUIRE(out.size() == 2);
  CHECK(stats_of(out[0]).empty());
  CHECK(stats_of(out[1]) == text("sum=6 stddev=", std::sqrt(2.0), " last=4"));
}

TEST_CASE("windows: a mean whose sum no double holds is finite, and marked") {
  WindowEngine engine({asking({"sum"})});
  constexpr double most = std::numeric_limits<double>::max();
  const auto out =
      fed(engine, {{0, most}, {1, most}, {60, -most}, {61, -most}, {120, most}, {121, -most}, {180, 0}});
  REQUIRE(out.size() == 3);
  CHECK(detail(out[0]).mean == most);
  CHECK(detail(out[1]).mean == -most);
  CHECK(detail(out[2]).mean == 0);
  CHECK(stats_of(out[0]).empty());
  CHECK(out[0].quality == Quality::uncertain);
  CHECK(out[1].quality == Quality::uncertain);
  CHECK(out[2].quality == Quality::good);
}

TEST_CASE("windows: a revision has its stats anew") {
  WindowEngine engine({asking({"sum", "last"})});
  auto out = fed(engine, {{0, 1}, {1, 2}, {60, 5}, {59, 7}});
  REQUIRE(out.size() == 1);
  CHECK(stats_of(out[0]) == "sum=3 last=2");
  engine.feed(WindowEngine::tick({t0 + 65 * second}), out);
  REQUIRE(out.size() == 2);
  CHECK(detail(out[1]).revision == 1);
  CHECK(stats_of(out[1]) == "sum=10 last=7");
}

TEST_CASE("windows: a further aggregate costs nobody the open windows: it begins with the next ones") {
  Store store;
  WindowConfig other = one_minute();
  other.name = "other";
  WindowEngine before({asking({"sum"}), other});
  fed(before, {{0, 1}, {1, 2}});
  store.take(before);
  WindowEngine after({asking({"stddev", "sum"}), other});
  REQUIRE(store.restore(after).pages_lost == 0);
  auto out = fed(after, {{2, 6}});
  store.take(after);  // the lack is remembered, too
  WindowEngine again({asking({"stddev", "sum"}), other});
  REQUIRE(store.restore(again).pages_lost == 0);
  out = fed(again, {{3, 3}, {60, 1}, {61, 3}, {121, 0}});
  REQUIRE(out.size() == 4);
  CHECK(detail(out[0]).count == 4);
  CHECK_MESSAGE(stats_of(out[0]) == "sum=12", "what has not seen all readings says nothing");
  CHECK(stats_of(out[1]).empty());
  CHECK(stats_of(out[2]) == text("sum=4 stddev=", std::sqrt(2.0)));
}

TEST_CASE(
    "windows: aggregates that are added to a full window cost some that are open, with the state_max they need none") {
  WindowConfig config = asking({});
  config.state_max = 64 << 10;
  config.allowed_lateness = 1h;
  // many keys, and many panes of each
  for (const auto& [devices, minutes] : {std::pair{1000, 1}, {20, 100}}) {
    WindowEngine before({config});
    std::vector<Record> out;
    for (int at = 0; at < minutes; ++at) {
      for (int i = 0; i < devices; ++i)
        before.feed(reading(t0 + at * minute, 1, text("device-", i).c_str()), out);
    }
    Store store;
    store.take(before);
    WindowConfig asks = config;
    asks.aggregates = {"first", "last", "stddev", "sum"};
    WindowEngine full({asks});
    CHECK(store.restore(full).keys_dropped > 0);
    asks.state_max = window_state_needed(asks);
    WindowEngine after({asks});
    const WindowPages::Found found = store.restore(after);
    CHECK(found.pages_lost == 0);
    CHECK(found.keys_dropped == 0);
    CHECK(after.keys(0) == before.keys(0));
    CHECK(after.bytes(0) > config.state_max);
  }
}

TEST_CASE("windows: a snapshot without a list of aggregates is one of windows that have the summary alone") {
  const AggregateKind* summary = nullptr;
  for (const ChoiceKind* kind : built_aggregates()) {
    if (kind->name == summary_name) summary = static_cast<const AggregateKind*>(kind);
  }
  REQUIRE(summary);
  AggregateKind second = *summary, grown = *summary;
  second.name = "second";  // every window has it, too
  grown.saved_bytes += 8;
  CHECK(WindowAggregates(one_minute()).only_summary());
  CHECK_FALSE(WindowAggregates(asking({"sum"})).only_summary());
  CHECK_FALSE(WindowAggregates(one_minute(), {summary, &second}).only_summary());
  CHECK_FALSE(WindowAggregates(one_minute(), {&second}).only_summary());
  CHECK_FALSE(WindowAggregates(one_minute(), {&grown}).only_summary());
}

TEST_CASE("windows: an aggregate that is asked for no longer costs nobody the open windows either") {
  Store store;
  WindowEngine before({asking({"last", "stddev"})});
  fed(before, {{0, 1}, {1, 2}});
  store.take(before);
  for (const std::vector<std::string>& now : {std::vector<std::string>{}, {"last"}, {"last", "first"}}) {
    WindowEngine after({asking(now)});
    REQUIRE(store.restore(after).pages_lost == 0);
    const auto out = fed(after, {{2, 6}, {60, 1}});
    REQUIRE(out.size() == 1);
    CHECK(detail(out[0]).mean == 3);
    CHECK(stats_of(out[0]) == (now.empty() ? "" : "last=6"));
  }
}

TEST_CASE("windows: an aggregate of a snapshot that this build does not know is stepped over") {
  Store store;
  WindowEngine before({asking({"last", "sum"})});
  fed(before, {{0, 1}, {1, 2}});
  store.take(before);
  Bytes& head = store.pieces.at("windows/head");
  head.resize(head.size() - 8);
  const auto name = bytes_of("last"), another = bytes_of("lost");
  const auto at = std::search(head.begin(), head.end(), name.begin(), name.end());
  REQUIRE(at != head.end());
  std::copy(another.begin(), another.end(), at);
  wire::Writer(head).put_fixed64(digest64(head));
  WindowEngine after({asking({"last", "sum"})});
  const WindowPages::Found found = store.restore(after);
  CHECK(found.head);
  CHECK(found.pages_lost == 0);
  const auto out = fed(after, {{2, 6}, {60, 1}, {61, 3}, {120, 0}});
  REQUIRE(out.size() == 2);
  CHECK(detail(out[0]).mean == 3);
  CHECK(stats_of(out[0]) == "sum=9");
  CHECK(stats_of(out[1]) == "sum=4 last=3");
}

TEST_CASE(
    "windows: what aggregates take counts for state_max, and the snapshot is never more than what is counted") {
  for (const std::vector<std::string>& asked :
       {std::vector<std::string>{}, {"first", "last", "stddev", "sum"}}) {
    WindowConfig config = asking(asked);
    config.allowed_lateness = 1h;
    WindowEngine engine({config});
    std::vector<Record> out;
    for (int device = 0; device < 50; ++device) {
      for (int minute_of = 0; minute_of < 30; ++minute_of)
        engine.feed(reading(t0 + minute_of * minute, 1e-3 * minute_of, text("d", device).c_str()), out);
    }
    Store store;
    store.take(engine);
    const std::size_t head = store.pieces.at("windows/head").size();
    CHECK(store.bytes() - head <= engine.bytes(0));
    CHECK(engine.bytes(0) > 50 * 28 * (asked.empty() ? 50 : 100));
  }
}

}  // namespace window_test
