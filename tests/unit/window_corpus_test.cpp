// Snapshots of windows that earlier versions left in a log (tests/golden/windows-*.txt): each line is a piece
// of one, or a window that the version which wrote it gave after it, from the same readings.
// MILLRACE_WRITE_WINDOWS=FILE writes such a file.
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "base/text.h"
#include "windows/window_engine.h"
#include "windows/window_pages.h"

namespace window_corpus_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

// a whole minute
constexpr std::int64_t second = 1'000'000, minute = 60 * second, t0 = 1'700'000'040'000'000;

std::vector<WindowConfig> two_windows() {
  WindowConfig each, warm;
  each.name = "1min";
  each.size = 1min;
  each.allowed_lateness = 2min;
  each.state_max = 1 << 20;
  warm.name = "10s";
  warm.size = 10s;
  warm.allowed_lateness = 10s;
  warm.metrics = {"temperature"};
  warm.state_max = 1 << 20;
  return {each, warm};
}

Record reading(std::int64_t at, const char* device, const char* metric, double value, Tags tags = {}) {
  Record record;
  record.device = device;
  record.metric = metric;
  record.unit = metric == std::string_view("temperature") ? "degC" : "";
  record.tags = std::move(tags);
  record.time = {t0 + at};
  record.value = value;
  return record;
}

std::string said(const Record& record) {
  const auto& w = std::get<WindowDetail>(record.detail->body);
  std::string tags;
  for (const auto& [name, value] : record.tags) tags += text(" ", name, "=", value);
  return text(w.ordinal, " ", w.name, " ", record.device, " ", record.metric, " ", record.unit, tags, " ",
              record.time.us, " r", w.revision, " ", w.count, " ", w.mean, " ", w.min, " ", w.max);
}

// Two minutes before the snapshot, with a window that was revised and one that is to be.
void feed_before(WindowEngine& engine, std::vector<Record>& out) {
  engine.feed(WindowEngine::note({t0}, WindowEngine::Clock::trusted), out);
  for (int s = 0; s < 110; ++s) {
    engine.feed(reading(s * second, "press-1", "temperature", 20 + s * 0.37), out);
    if (s % 3 == 0) engine.feed(reading(s * second, "press-1", "pressure", -1.5 * s), out);
    if (s % 2 == 0) engine.feed(reading(s * second, "press-1", "temperature", 0.1 * s, {{"line", "b"}}), out);
    if (s == 70) engine.feed(reading(58 * second, "press-1", "temperature", 99), out);
    if (s % 5 == 0) engine.feed(WindowEngine::tick({t0 + s * second}), out);
  }
  for (int d = 0; d < 300; ++d)
    engine.feed(reading(100 * second + d, text("sensor-", d).c_str(), "temperature", d), out);
  engine.feed(reading(30 * second, "press-1", "temperature", -40), out);
}

void feed_after(WindowEngine& engine, std::vector<Record>& out) {
  for (int s = 110; s < 200; ++s) {
    engine.feed(reading(s * second, "press-1", "temperature", 20 + s * 0.37), out);
    engine.feed(reading(s * second, "press-1", "pressure", s), out);
    if (s == 130) engine.feed(reading(62 * second, "press-1", "pressure", 1000), out);
    if (s % 5 == 0) engine.feed(WindowEngine::tick({t0 + s * second}), out);
  }
}

struct Corpus {
  std::map<std::string, Bytes> pieces;
  std::vector<std::string> windows;

  WindowPages::Found restore(WindowEngine& engine) const {
    return WindowPages::restore(engine, [this](const std::string& name) {
      const auto found = pieces.find(name);
      return found == pieces.end() ? std::nullopt : std::optional(found->second);
    });
  }
};

Corpus made_today() {
  Corpus corpus;
  WindowEngine engine(two_windows());
  std::vector<Record> out;
  feed_before(engine, out);
  for (auto& [name, bytes] : WindowPages::take_changes(engine)) corpus.pieces[name] = bytes;
  out.clear();
  feed_after(engine, out);
  for (const Record& window : out) corpus.windows.push_back(said(window));
  return corpus;
}

Corpus read(const std::string& path) {
  Corpus corpus;
  std::ifstream in(path);
  REQUIRE(in);
  for (std::string line; std::getline(in, line);) {
    const std::size_t blank = line.find(' ');
    const std::string what = line.substr(0, blank), rest = line.substr(blank + 1);
    if (what == "window") {
      corpus.windows.push_back(rest);
    } else {
      REQUIRE(what == "piece");
      const std::size_t at = rest.find(' ');
      Bytes& bytes = corpus.pieces[rest.substr(0, at)];
      for (std::size_t i = at + 1; i + 1 < rest.size(); i += 2)
        bytes.push_back(static_cast<std::byte>(std::stoi(rest.substr(i, 2), nullptr, 16)));
    }
  }
  return corpus;
}

}  // namespace

TEST_CASE("windows: what an earlier version left open is given as it would have given it") {
  if (const char* path = std::getenv("MILLRACE_WRITE_WINDOWS")) {
    std::ofstream file(path);
    const Corpus made = made_today();
    for (const auto& [name, bytes] : made.pieces) file << "piece " << name << " " << to_hex(bytes) << "\n";
    for (const std::string& window : made.windows) file << "window " << window << "\n";
    return;
  }
  for (const char* name : {"windows-2.txt"}) {
    CAPTURE(name);
    const Corpus corpus = read(std::string(MILLRACE_SOURCE "/tests/golden/") + name);
    REQUIRE(corpus.pieces.size() > 3);
    REQUIRE(corpus.windows.size() > 300);
    WindowEngine engine(two_windows());
    const WindowPages::Found found = corpus.restore(engine);
    CHECK(found.head);
    CHECK(found.pages_lost == 0);
    std::vector<Record> out;
    feed_after(engine, out);
    std::vector<std::string> windows;
    for (const Record& window : out) windows.push_back(said(window));
    CHECK(windows == corpus.windows);
  }
}

}  // namespace window_corpus_test
