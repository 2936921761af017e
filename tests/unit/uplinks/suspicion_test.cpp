// What is held against a record, and what a link takes: decided without a link.
#include <doctest/doctest.h>

#include "uplink/mqtt/take_overs.h"
#include "uplink/pace.h"
#include "uplink/suspicion.h"

namespace suspicion_test {
using namespace millrace;
using namespace std::chrono_literals;
using Finding = Suspicion::Finding;

namespace {

Suspicion::Part part(Sequence first, Sequence last, std::size_t bytes, Lane lane = Lane::raw) {
  return {lane, {first, last}, bytes};
}

struct Trials {
  Suspicion suspicion;
  Instant now{1'000'000'000};
  Finding hang_up(std::vector<Suspicion::Part> open, bool said_so = false, Duration after = 100ms) {
    return suspicion.on_doubt(open, {after, suspicion.control(open.front()).count() > 0, said_so, false},
                              now);
  }
  Finding swallow(std::vector<Suspicion::Part> open) {
    return suspicion.on_doubt(open, {30s, false, false, true}, now);
  }
  bool waits(const Suspicion::Part& suspect) const {
    const auto waiting = suspicion.waiting_for_neighbours(suspect.lane);
    return std::any_of(waiting.begin(), waiting.end(),
                       [&](const auto& part) { return part.range == suspect.range; });
  }
  // As far as the trial of a record that is lost alone goes.
  void until_a_neighbour_decides(const Suspicion::Part& suspect) {
    for (int i = 0; i < 50 && !waits(suspect); ++i) hang_up({suspect});
    REQUIRE(waits(suspect));
  }
};

}  // namespace

TEST_CASE_FIXTURE(
    Trials,
    "suspicion: a row that is on its way at three losses in a row goes alone, is split, and its record tried behind a control") {
  const auto row = part(10, 19, 300'000), other = part(20, 20, 100);
  CHECK(hang_up({row, other}) == Finding::nothing);
  CHECK(hang_up({row, other}) == Finding::nothing);
  CHECK_FALSE(suspicion.alone());
  CHECK(hang_up({row, other}) == Finding::nothing);
  CHECK(suspicion.alone());
  CHECK(hang_up({row}) == Finding::split);
  const auto record = part(14, 14, 290'000);
  CHECK(suspicion.control(record).count() == 0);
  CHECK(hang_up({record}) == Finding::nothing);
  CHECK(suspicion.control(record) >= 1s);
  until_a_neighbour_decides(record);
  CHECK(suspicion.neighbour_below(record) == 290'000);
  suspicion.on_passed(part(15, 19, 200), now);
  CHECK(suspicion.charge(record) ==
        "refused by hanging up: 290000 bytes ended 4 good connections, and smaller ones pass");
  CHECK(suspicion.on_neighbour_passed(record, now) == Finding::give_up);
  CHECK(suspicion.smallest_refused() == 290'000);
  CHECK(suspicion.limit_words() == "a limit of the far side between 200 and 290000 bytes is suspected");
  suspicion.on_passed(part(10, 13, 100), now);
  suspicion.on_passed(other, now);
  CHECK_FALSE(suspicion.alone());
}

TEST_CASE_FIXTURE(
    Trials, "suspicion: a control that fails, a loss that comes late, or in another way, is no evidence") {
  const auto record = part(1, 1, 300'000);
  for (int i = 0; i < 3; ++i) hang_up({record});
  REQUIRE(suspicion.alone());
  for (int i = 0; i < 100; ++i) {
    hang_up({record});
    hang_up({record});
    suspicion.on_lost({record}, true);
  }
  for (int i = 0; i < 100; ++i) hang_up({record}, false, 25s);
  CHECK_FALSE(waits(record));
  suspicion.on_passed(record, now);
  CHECK_FALSE(suspicion.alone());
  CHECK(suspicion.smallest_refused() == 0);
}

TEST_CASE_FIXTURE(Trials,
                  "suspicion: where nothing smaller passes it is not the record, and somebody must act") {
  const auto record = part(1, 1, 100);
  for (int i = 0; i < 3; ++i) hang_up({record});
  for (int i = 1; i <= 3; ++i) {
    until_a_neighbour_decides(record);
    CHECK(suspicion.on_neighbour_failed(record) == (i < 3 ? Finding::nothing : Finding::blocked));
  }
  CHECK_FALSE(waits(record));  // and it is tried again
  CHECK(suspicion.smallest_refused() == 0);
}

TEST_CASE_FIXTURE(Trials,
                  "suspicion: what was lost while neighbours were lost, too, says nothing once one passes") {
  const auto record = part(1, 1, 100);
  for (int i = 0; i < 3; ++i) hang_up({record});
  until_a_neighbour_decides(record);
  CHECK(suspicion.on_neighbour_failed(record) == Finding::nothing);
  until_a_neighbour_decides(record);
  suspicion.on_passed(part(2, 2, 90), now);  // mended, or it never was the record
  CHECK(suspicion.on_neighbour_passed(record, now) == Finding::nothing);
  CHECK_FALSE(waits(record));
  until_a_neighbour_decides(record);
  CHECK(suspicion.on_neighbour_passed(record, now) == Finding::give_up);
}

TEST_CASE_FIXTURE(Trials,
                  "suspicion: a DISCONNECT that names the data needs no rounds, but something that passed") {
  const auto record = part(1, 1, 300'000);
  CHECK(hang_up({record}, true) == Finding::nothing);
  REQUIRE(waits(record));
  suspicion.on_passed(part(2, 2, 100), now);
  CHECK(suspicion.on_neighbour_passed(record, now) == Finding::give_up);
  CHECK(hang_up({part(3, 3, 400'000)}, true) == Finding::give_up);
}

TEST_CASE_FIXTURE(
    Trials,
    "suspicion: what is swallowed is given up after six rounds, each with a smaller one that passes; one that does not counts anew") {
  const auto record = part(10, 10, 300);
  for (int i = 0; i < 3; ++i) swallow({record});
  CHECK(suspicion.alone());
  const auto pass_until_given_up = [&] {
    for (int round = 1;; ++round) {
      REQUIRE(waits(record));
      if (suspicion.on_neighbour_passed(record, now) == Finding::give_up) return round;
      CHECK_FALSE(waits(record));
      CHECK(swallow({record}) == Finding::nothing);
    }
  };
  for (int i = 0; i < 5; ++i) {
    CHECK(suspicion.on_neighbour_passed(record, now) == Finding::nothing);
    swallow({record});
  }
  CHECK(suspicion.on_neighbour_failed(record) == Finding::nothing);
  CHECK_FALSE(waits(record));
  swallow({record});
  CHECK(pass_until_given_up() == 7);
  CHECK(suspicion.smallest_refused() == 300);
}

TEST_CASE_FIXTURE(Trials, "suspicion: rows that are cut anew at each try are one suspect still") {
  CHECK(swallow({part(1, 10, 900)}) == Finding::nothing);
  CHECK(swallow({part(5, 14, 900)}) == Finding::nothing);
  CHECK_FALSE(suspicion.alone());
  CHECK(swallow({part(4, 5, 200), part(20, 29, 900)}) == Finding::nothing);
  CHECK(suspicion.alone());
}

TEST_CASE_FIXTURE(
    Trials,
    "suspicion: where each batch goes a way of its own, what is lost there says nothing of the others, for or against") {
  const auto lose = [&](const Suspicion::Part& row) {
    return suspicion.on_doubt({row}, {100ms, false, false, false, true}, now);
  };
  const auto one = part(10, 19, 900), other = part(20, 29, 900), third = part(30, 39, 900);
  // Two that are hung up on by turns are each in a row of its own losses; what is lost in another way, too.
  CHECK(lose(one) == Finding::nothing);
  CHECK(lose(other) == Finding::nothing);
  suspicion.on_lost({third}, false, true);
  CHECK(lose(one) == Finding::nothing);
  CHECK(lose(other) == Finding::nothing);
  CHECK_FALSE(suspicion.alone());
  // One that is lost in another way is not in a row any more; nor is one that passes.
  suspicion.on_lost({other}, false, true);
  CHECK(lose(other) == Finding::nothing);
  CHECK_FALSE(suspicion.alone());
  SUBCASE("lost") {
    CHECK(lose(one) == Finding::nothing);
    CHECK(suspicion.alone());
    CHECK(lose(one) == Finding::split);
  }
  SUBCASE("passed") {
    suspicion.on_passed(one, now);
    CHECK(lose(one) == Finding::nothing);
    CHECK(lose(other) == Finding::nothing);
    CHECK_FALSE(suspicion.alone());
    CHECK(lose(other) == Finding::nothing);
    CHECK(suspicion.alone());
  }
}

TEST_CASE_FIXTURE(
    Trials,
    "suspicion: what is known to be too large is not tried while that is fresh; what passes ends it") {
  hang_up({part(1, 1, 3000)}, true);
  suspicion.on_passed(part(2, 2, 100), now);
  (void)suspicion.on_neighbour_passed(part(1, 1, 3000), now);
  CHECK(suspicion.known_too_large(part(3, 3, 3000), now));
  CHECK_FALSE(suspicion.known_too_large(part(3, 3, 2999), now));
  CHECK_FALSE(suspicion.known_too_large(part(3, 3, 3000), now + 11min));
  suspicion.on_passed(part(3, 3, 3000), now + 11min);
  CHECK(suspicion.smallest_refused() == 0);
  CHECK_FALSE(suspicion.known_too_large(part(4, 4, 1 << 20), now + 11min));
}

TEST_CASE_FIXTURE(Trials,
                  "suspicion: an announced limit gives up the odd record, and none where nothing passes") {
  CHECK(suspicion.on_too_large(part(1, 1, 900)) == Finding::nothing);  // nothing has passed yet
  CHECK(waits(part(1, 1, 900)));
  CHECK(suspicion.control(part(1, 1, 900)).count() == 0);
  suspicion.on_passed(part(2, 2, 100), now);
  CHECK(suspicion.on_neighbour_passed(part(1, 1, 900), now) == Finding::give_up);
  int given_up = 0;
  for (Sequence n = 10; n < 100; ++n) given_up += suspicion.on_too_large(part(n, n, 900)) == Finding::give_up;
  CHECK(given_up <= 8);
  // each lane for itself: it has a topic
  CHECK(suspicion.on_too_large(part(1, 1, 900, Lane::window)) == Finding::nothing);
}

TEST_CASE_FIXTURE(
    Trials, "suspicion: words that anybody may have said are believed while others pass, of whichever lane") {
  const auto alarm = part(1, 1, 900, Lane::alarm);
  CHECK(suspicion.on_too_large(alarm, "HTTP 400: no") == Finding::nothing);  // nothing has passed yet
  CHECK(suspicion.charge(alarm) == "HTTP 400: no");
  CHECK_FALSE(suspicion.known_too_large(part(2, 2, 1000, Lane::alarm), now));  // it teaches no size
  suspicion.on_passed(part(3, 3, 100), now);
  int given_up = 0;
  for (Sequence n = 10; n < 100; ++n)
    given_up += suspicion.on_too_large(part(n, n, 900, Lane::alarm), "HTTP 400: no") == Finding::give_up;
  CHECK(given_up == 8);
}

TEST_CASE(
    "pace: a batch takes some seconds of the link, whatever the link; alone, so many that the rest after it costs little") {
  for (const bool alone : {false, true}) {
    for (const double rate : {30.0, 300.0, 1200.0, 8000.0, 1e6, 1e9}) {
      for (const double round_trip : {0.001, 0.3, 1.0, 2.0}) {
        CAPTURE(alone);
        CAPTURE(rate);
        CAPTURE(round_trip);
        Pace pace;
        pace.on_connected();
        const std::size_t most = 256 << 10;
        double seconds = 0;
        for (int i = 0; i < 40; ++i) {
          const std::size_t bytes = pace.batch_bytes(most);
          seconds = static_cast<double>(bytes) / rate + (alone ? round_trip : 0);
          pace.on_acknowledged(bytes, Duration{static_cast<std::int64_t>(seconds * 1e9)}, alone, 10min);
        }
        const bool all = pace.batch_bytes(most) == most;
        CHECK((seconds <= (alone ? 38 : 10) || pace.batch_bytes(most) == Pace::least));
        CHECK((seconds >= 6 || all));
        if (alone) CHECK((round_trip <= 0.1 * seconds || all));
        // who waits behind it waits no longer than need be
        if (alone && round_trip == 0.3 && rate >= 1200) CHECK(seconds <= 12);
        CHECK(pace.slow(most) == (pace.row_bytes() < most));
        CHECK_FALSE(pace.starting(most));
      }
    }
  }
}

TEST_CASE("pace: a batch stays far below the time that is waited for an answer") {
  Pace pace;
  pace.on_connected();
  double seconds = 0;
  for (int i = 0; i < 40; ++i) {
    const std::size_t bytes = pace.batch_bytes(256 << 10);
    seconds = static_cast<double>(bytes) / 1200 + 2;
    pace.on_acknowledged(bytes, Duration{static_cast<std::int64_t>(seconds * 1e9)}, true, 30s);
  }
  CHECK(seconds <= 12.5);
}

TEST_CASE("pace: a small batch says nothing, a missed answer a lot, and a reconnect begins small") {
  Pace pace;
  pace.on_connected();
  for (int i = 0; i < 20; ++i) pace.on_acknowledged(pace.batch_bytes(256 << 10), 10ms, false, 10min);
  CHECK(pace.batch_bytes(256 << 10) == 256 << 10);
  pace.on_acknowledged(100, 7s, false, 10min);
  CHECK(pace.batch_bytes(256 << 10) == 256 << 10);
  pace.on_connected();
  CHECK(pace.batch_bytes(256 << 10) == Pace::reconnect);
  CHECK(pace.starting(256 << 10));
  pace.on_late(64 << 10);
  CHECK(pace.row_bytes() == 16 << 10);
  for (int i = 0; i < 20; ++i) pace.on_late(1);
  CHECK(pace.row_bytes() == Pace::least);
}

TEST_CASE("take-overs: connections that worked and are ended soon, again and again") {
  TakeOvers some;
  for (int i = 0; i < 3; ++i) some.on_gone(true, 1s, true);
  CHECK_FALSE(some.suspected());
  some.on_gone(true, 1s, false);  // with data in question
  CHECK_FALSE(some.suspected());
  some.on_gone(true, 1s, true);
  CHECK(some.suspected());
  some.on_gone(true, 10min, true);
  CHECK_FALSE(some.suspected());
  for (int i = 0; i < 9; ++i) some.on_gone(false, 1s, true);  // our own end
  CHECK_FALSE(some.suspected());
}

}  // namespace suspicion_test
