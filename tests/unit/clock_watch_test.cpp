// Time that jumped is not time that passed: by which clock ages are judged, and how much has passed for a
// log.
#include <doctest/doctest.h>

#include "ingest/clock_watch.h"
#include "ingest/passed_time.h"
#include "net/certificate_time.h"
#include "net/tls_tickets.h"

namespace clock_watch_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t second = 1'000'000, minute = 60 * second, hour = 60 * minute, year = 365 * 24 * hour;
constexpr WallTime today{1'790'000'000 * second};

Instant at(std::int64_t us) { return {us * 1000 + 1}; }
WallTime wall(std::int64_t us, std::int64_t error = 0) { return {today.us + us + error}; }

}  // namespace

TEST_CASE("clock watch: ages go by a clock that nobody set, and by none for an hour after somebody did") {
  for (const std::int64_t step : {hour, -hour, 50 * year, -50 * year, 55 * minute, 2 * second}) {
    ClockWatch watch;
    CHECK_FALSE(watch.for_ages(at(0)));
    CHECK(watch.look(at(0), wall(0), true) == 0);
    CHECK(watch.for_ages(at(minute))->us / second == wall(minute).us / second);
    CHECK(watch.look(at(minute), wall(minute, step), true) == step);
    CHECK_FALSE(watch.for_ages(at(hour)));
    CHECK(watch.steps() == 1);
    // Then by the lower of the two: right or wrong, nothing is older by it than it is.
    CHECK(watch.for_ages(at(2 * hour))->us / second ==
          wall(2 * hour, std::min<std::int64_t>(0, step)).us / second);
    CHECK(watch.look(at(3 * hour), wall(3 * hour), true) == -step);
    CHECK_FALSE(watch.for_ages(at(3 * hour + 59 * minute)));
  }
}

TEST_CASE(
    "clock watch: a leap second and slewing are no steps; a clock in 1970 is none to go by, before or after it is set") {
  ClockWatch watch;
  for (int s = 0; s < 100; ++s)
    CHECK(watch.look(at(s * second), wall(s * second, s > 50 ? -second : s * 1000), true) == 0);
  CHECK(watch.steps() == 0);
  ClockWatch woken;
  CHECK(woken.look(at(0), {3 * second}, false) == 0);
  CHECK_FALSE(woken.for_ages(at(minute)));
  CHECK(woken.look(at(minute), wall(minute), true) > 50 * year);
  CHECK_FALSE(woken.for_ages(at(hour)));
  CHECK(woken.for_ages(at(2 * hour))->us / second == wall(2 * hour).us / second);
}

TEST_CASE("clock watch: the next process of this boot knows the lowest clock, one of another boot does not") {
  ClockWatch first;
  (void)first.look(at(0), wall(0), true);
  const auto saved = first.take_news(7);
  REQUIRE(saved);
  CHECK_FALSE(first.take_news(7));
  (void)first.look(at(minute), wall(minute, 50 * year), true);
  CHECK_FALSE(first.take_news(7));  // not lower
  ClockWatch next, other, unknown;
  next.restore(saved, 7);
  other.restore(saved, 8);
  unknown.restore(Bytes(2), 7);
  for (ClockWatch* watch : {&next, &other, &unknown})
    (void)watch->look(at(2 * minute), wall(2 * minute, 50 * year), true);
  CHECK(next.for_ages(at(2 * minute))->us / second == wall(2 * minute).us / second);
  CHECK(other.for_ages(at(2 * minute))->us / second == wall(2 * minute, 50 * year).us / second);
  CHECK(unknown.for_ages(at(2 * minute))->us / second == wall(2 * minute, 50 * year).us / second);
}

TEST_CASE("clock watch: settled is an hour of trust without a step") {
  ClockWatch watch;
  (void)watch.look(at(0), wall(0), true);
  CHECK_FALSE(watch.settled(at(59 * minute)));
  CHECK(watch.settled(at(61 * minute)));
  (void)watch.look(at(62 * minute), wall(62 * minute, hour), true);
  CHECK_FALSE(watch.settled(at(62 * minute)));
  (void)watch.look(at(130 * minute), wall(130 * minute, hour), false);
  CHECK_FALSE(watch.settled(at(200 * minute)));
}

TEST_CASE(
    "passed time: while the process runs, and over a restart in the same boot, by the monotonic clock whatever the wall says") {
  PassedTime first({}, 7, at(1000 * hour));
  CHECK(first.us(at(1002 * hour)) == 2 * hour);
  PassedTime second_process(first.save({3 * second}, false, at(1002 * hour)), 7, at(1005 * hour));
  CHECK(second_process.us(at(1006 * hour)) == 6 * hour);
}

TEST_CASE(
    "passed time: a month without power counts where the clock was settled at both ends, and a jump never does") {
  const std::int64_t month = 30 * 24 * hour;
  PassedTime before({}, 7, at(0));
  const Bytes settled = before.save(wall(0), true, at(2 * hour)),
              unsettled = before.save(wall(0), false, at(2 * hour));
  const auto after = [&](const Bytes& saved, std::optional<WallTime> then) {
    PassedTime passed(saved, 8, at(0));
    CHECK(passed.us(at(hour)) == 3 * hour);  // the first hour of the boot: nobody can know yet
    if (then) passed.settled(*then, at(2 * hour));
    return passed.us(at(2 * hour)) - 4 * hour;
  };
  CHECK(after(settled, wall(month + 2 * hour)) == month);
  CHECK(after(settled, {}) == 0);
  CHECK(after(unsettled, wall(month + 2 * hour)) == 0);
  CHECK(after(settled, wall(-month)) == 0);
  // The clock that is never settled: what runs counts, what is off does not.
  PassedTime again(PassedTime(settled, 8, at(0)).save(wall(0), false, at(hour)), 9, at(0));
  again.settled(wall(month), at(hour));
  CHECK(again.us(at(hour)) == 4 * hour);
}

TEST_CASE("passed time: damaged state begins anew") {
  CHECK(PassedTime(Bytes(3, std::byte{0xff}), 7, at(0)).us(at(hour)) == hour);
  CHECK(PassedTime(Bytes{}, 7, at(0)).us(at(hour)) == hour);
}

namespace {

constexpr WallTime in_1970{3 * second}, later{4'000'000'000 * second};  // than any build

}  // namespace

TEST_CASE(
    "certificate time: the latest of the clock, the build and what is known to have been; a clock that is trusted takes it back") {
  set_certificate_floor({});
  const WallTime build = certificate_time(in_1970);
  CHECK(certificate_time(later) == later);
  set_certificate_floor(later);
  CHECK(certificate_time(in_1970) == later);
  CHECK(certificate_time({later.us + hour}).us == later.us + hour);
  set_certificate_floor({later.us + 50 * year});
  CHECK(certificate_time(later).us == later.us + 50 * year);
  set_certificate_floor({});
  CHECK(certificate_time(later) == later);
  CHECK(certificate_time(in_1970) == build);
}

TEST_CASE(
    "tickets: devices resume after a power cut though the clock begins in 1970, and no longer than a day by what is known") {
  TicketKeys keys("", "policy", {});
  set_certificate_floor({});
  const Bytes session(100, std::byte{1});
  const Bytes ticket = keys.seal(session, certificate_time(later));
  CHECK(keys.open(ticket, certificate_time(in_1970)).empty());  // nothing is known of it: a full handshake
  set_certificate_floor({later.us + minute});                   // the newest commit under a settled clock
  CHECK(keys.open(ticket, certificate_time(in_1970)) == session);
  set_certificate_floor({later.us + 23 * hour});  // and what has passed since
  CHECK(keys.open(ticket, certificate_time(in_1970)) == session);
  set_certificate_floor({later.us + 25 * hour});
  CHECK(keys.open(ticket, certificate_time(in_1970)).empty());
  set_certificate_floor({});
  // Set back by 55 minutes, or an hour ahead: still good. By years: a full handshake, no more.
  CHECK(keys.open(ticket, certificate_time({later.us - 55 * minute})) == session);
  CHECK(keys.open(ticket, certificate_time({later.us + hour})) == session);
  CHECK(keys.open(ticket, certificate_time({later.us + year})).empty());
}

}  // namespace clock_watch_test
