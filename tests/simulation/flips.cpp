// Bit flips in what is stored, at random moments of a site's life: segments and their ledgers, cursors,
// state files, the settle note, the held journal, the inbox. One flipped bit loses little, and nothing
// silently: every reading that was accepted arrives as it was sent, or is told as lost. A failure names its
// round: MILLRACE_ROUND=N plays that one again.
#include <doctest/doctest.h>

#include <cstdlib>
#include <numeric>

#include "base/text.h"
#include "sim/world/books.h"
#include "sim/world/world.h"
#include "tests/support/seed.h"

namespace flips_test {
using namespace millrace;
using namespace millrace::sim;
using namespace std::chrono_literals;

namespace {

// The high-water mark is that old at most: what is younger need not be missed at start.
constexpr Duration marked_after = 12s;

struct Flips {
  World world;
  Rng rng;
  std::uint64_t sent = 0, flips = 0;
  std::map<std::uint64_t, Instant> young;  // sent in this life, and when
  std::set<std::uint64_t> carried;         // by the inbox out of former lives, as far as is known
  std::set<std::uint64_t> unmarked;        // may have vanished with a flip, untold
  std::uint64_t told = 0;                  // as lost, by former lives
  bool damaged = false;
  std::string last;  // where they were

  Flips(std::uint64_t seed, const World::Options& options) : world(seed, options), rng(seed + 1) {}

  static double value_of(std::uint64_t n) { return static_cast<double>(n * 7 % 1001) / 4; }
  std::uint64_t told_here() {
    const LogStats stats = world.log().stats();
    return stats.lost_records + stats.vanished_records;
  }
  void live(std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps; ++i) {
      const std::uint64_t burst = 1 + rng.below(rng.chance(0.1) ? 40 : 4);
      for (std::uint64_t k = 0; k < burst && !world.paused; ++k) {
        if (world.send("a", sent + 1, value_of(sent + 1))) young[++sent] = world.loop().now();
      }
      const std::uint64_t ns = rng.below(rng.chance(0.1) ? 5'000'000'000 : 300'000'000);
      world.loop().run_for(Duration{static_cast<std::int64_t>(ns)});
      if (rng.chance(0.05)) world.far_side().set_up(rng.chance(0.5));
      // Others fill the disk: what is settled meanwhile goes into the note.
      if (rng.chance(0.03)) world.disk().bytes_max = rng.chance(0.5) ? world.disk().used() : UINT64_MAX;
    }
  }
  // In one of the files, whatever kind; the small ones and the inbox as often as the large.
  void flip() {
    std::map<std::string, std::vector<std::pair<SimDisk*, std::string>>> kinds;
    for (const auto& [name, file] : world.disk().files) {
      const bool segment = name.starts_with("seg-");
      const std::string kind = segment ? name.substr(name.find('.')) : name.substr(0, name.find('-'));
      if (!file->now.empty()) kinds[kind].emplace_back(&world.disk(), name);
    }
    for (const auto& [name, file] : world.tmpfs().files) {
      if (!file->now.empty()) kinds["held"].emplace_back(&world.tmpfs(), name);
    }
    kinds["inbox"];
    if (const auto heads = kinds.find(".db"); heads != kinds.end()) kinds["state entry"] = heads->second;
    auto kind = kinds.begin();
    std::advance(kind, rng.below(kinds.size()));
    ++flips;
    const auto bit = static_cast<char>(1 << rng.below(8));
    if (kind->first == "inbox") {
      const std::span<std::byte> region = world.region();
      const std::size_t at = rng.chance(0.3) ? rng.below(4096) : rng.below(region.size());
      last += text("inbox at ", at, "; ");
      region[at] ^= static_cast<std::byte>(bit);
      return;
    }
    const auto& [disk, name] = kind->second[rng.below(kind->second.size())];
    auto& file = *disk->files.at(name);
    const std::size_t at =
        kind->first == "state entry" ? in_a_state_entry(file.now) : rng.below(file.now.size());
    last += text(name, " at ", at, "; ");
    damaged = damaged || name.ends_with("-wal");  // the last commits go with it, untold
    file.now[at] ^= bit;
    if (at < file.durable.size()) file.durable[at] ^= bit;
  }
  // Of what uplinks, windows and segments are remembered by: rare among rows, and what it says decides about
  // all of them.
  std::size_t in_a_state_entry(const std::string& bytes) {
    static constexpr std::string_view keys[] = {"cursor/raw/far", "cursor/",  "segment/",
                                                "state/",         "reserved", "last"};
    const std::string_view key = keys[rng.chance(0.5) ? 0 : rng.below(std::size(keys))];
    std::vector<std::size_t> places;
    for (std::size_t at = bytes.find(key); at != std::string::npos; at = bytes.find(key, at + 1))
      places.push_back(at);
    if (places.empty()) return rng.below(bytes.size());
    return std::min(places[rng.below(places.size())] + key.size() + rng.below(12), bytes.size() - 1);
  }
  void end() {
    told += told_here();
    const Instant now = world.loop().now();
    const std::size_t aside = world.inboxes_set_aside;
    const bool uncommitted = world.inbox().fill() > 0;
    const std::uint64_t how = rng.below(3);
    if (how == 0) (void)world.stop();  // not in time where the disk is full
    else if (how == 1) world.kill();
    else {
      world.cut_power();
      young_may_go(now, uncommitted);
    }
    if (rng.chance(0.8)) {
      flip();
      young_may_go(now, false);
    }
    world.disk().bytes_max = UINT64_MAX;
    world.start();
    if (world.inboxes_set_aside > aside) young_may_go(now, true);  // that it is lost was told
    if (world.inbox().fill() == 0) carried.clear();
    else
      for (const auto& [n, at] : young) carried.insert(n);
    young.clear();
    check_books();
  }
  // In a quiet moment the ledgers agree with the cursors and the rows; once there was damage, only when all
  // is settled: how many records a lost row or commit had is then known in sum.
  void check_books() {
    world.far_side().set_up(false);
    world.loop().run_for(3s);
    INFO(flips, " flips: ", last);
    for (const Lane lane : {Lane::raw, Lane::window}) {
      INFO("lane ", std::string(lane_name(lane)));
      const std::uint64_t found = unsettled_records(world.loop(), world.log(), "far", lane);
      const LogStats stats = world.log().stats();  // reading may have found some
      damaged = damaged || stats.vanished_records + stats.lost_records + stats.files_set_aside > 0;
      damaged = damaged || stats.damaged_states > 0;
      if (!damaged) CHECK(found == world.log().ledger("far", lane).unsettled());
    }
    world.far_side().set_up(rng.chance(0.5));
  }
  void young_may_go(Instant now, bool all) {
    if (all) unmarked.insert(carried.begin(), carried.end());
    for (const auto& [n, at] : young) {
      if (all || now - at < marked_after) unmarked.insert(n);
    }
  }
  void check() {
    world.disk().bytes_max = UINT64_MAX;
    world.far_side().set_up(true);
    const bool drained = world.drain();
    world.loop().run_for(1min);
    told += told_here();
    CHECK(drained);
    CHECK(world.drain());
    std::set<std::uint64_t> arrived;
    std::uint64_t wrong = 0, missing = 0, untold = 0;
    for (const Record& record : world.received) {
      if (record.kind != Kind::reading) continue;
      const auto n = static_cast<std::uint64_t>((record.time.us / 1000 - World::first_ms) / 1000);
      arrived.insert(n);
      wrong += n == 0 || n > sent || std::get<double>(record.value) != value_of(n);
    }
    for (std::uint64_t n = 1; n <= sent; ++n) {
      if (arrived.contains(n)) continue;
      ++(unmarked.contains(n) ? untold : missing);
    }
    INFO(flips, " flips: ", last, sent, " sent, ", untold, " of the last seconds missing, ", told, " told");
    CHECK(wrong == 0);
    CHECK(missing <= told);
    CHECK(world.clashes() == 0);
    CHECK(unsettled_records(world.loop(), world.log(), "far", Lane::raw) == 0);
    const LaneLedger ledger = world.log().ledger("far", Lane::raw);
    CHECK(std::accumulate(ledger.settled.begin(), ledger.settled.end(), std::uint64_t{0}) == ledger.admitted);
  }
};

World::Options some_options(Rng& rng) {
  World::Options options;
  options.log.bytes_max = 8 << 20;
  options.log.segment_bytes = 64 << 10;
  options.when_unsent = rng.chance(0.3);
  options.inbox_bytes = 64 << 10;
  WindowConfig window;
  window.name = "10s";
  window.size = 10s;
  options.windows = {window};
  options.clock = ClockHistory::Kind::steady;
  return options;
}

}  // namespace

TEST_CASE("flips: one bit of anything that is stored loses little, and nothing silently") {
  Rng rng(seed() + 70);
  std::uint64_t flips = 0, sent = 0, told = 0;
  const char* repeat = std::getenv("MILLRACE_ROUND");
  for (int round = 0; round < (repeat ? 1 : 50 * effort()); ++round) {
    const std::uint64_t round_seed = repeat ? std::strtoull(repeat, nullptr, 10) : rng.next();
    INFO("MILLRACE_ROUND=", round_seed);
    Rng choice(round_seed);
    Flips site(round_seed, some_options(choice));
    for (int life = 0; life < 3; ++life) {
      site.live(10 + site.rng.below(120));
      site.end();
    }
    site.live(5);
    site.check();
    flips += site.flips;
    sent += site.sent;
    told += site.told;
  }
  MESSAGE(flips, " flips, ", sent, " readings, ", told, " told as lost");
}

}  // namespace flips_test
