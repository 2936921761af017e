// The pure parts of a shipper: how it stands with its far side, what becomes of a batch's rows, what goes
// into a batch.
#include <doctest/doctest.h>

#include "base/text.h"
#include "uplink/batching.h"
#include "uplink/flights.h"
#include "uplink/standing.h"

namespace shipper_parts_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

Piece piece(Sequence first, std::uint32_t count, std::size_t bytes, Piece::State state = Piece::waiting) {
  Piece piece;
  piece.state = state;
  piece.row = {Lane::raw, first, count, false, std::make_shared<const Bytes>(bytes)};
  return piece;
}

Run run_of(std::initializer_list<Piece> pieces) {
  Run run;
  run.id = 7;
  for (const Piece& piece : pieces) {
    run.pieces.push_back(piece);
    if (piece.state == Piece::waiting) run.bytes_waiting += piece.bytes();
  }
  return run;
}

// Batches for a link that has taken what it was given so far.
struct Bench {
  Metrics metrics;
  DrainConfig drain;
  DrainRate rate{drain, 0};
  Isolation isolation{"up", metrics.counter("refused", ""), [](const std::string&) {}};
  Batching batching{rate, isolation};
  Uplink::Limits limits{4, 256 << 10, 30s};
  Instant now{1'000'000'000};

  Flight flight() const {
    Flight flight;
    flight.lane = Lane::raw;
    flight.run = 7;
    flight.sent = now;
    return flight;
  }
  // An answer to so many bytes after so long.
  void back(std::size_t bytes, Duration after, bool late = false) {
    Flight was = flight();
    was.bytes = bytes;
    now = now + after;
    Outcome outcome;
    outcome.late = late;
    if (late) outcome.verdict = Verdict::retryable;
    batching.on_back(was, outcome, limits, now);
  }
};

}  // namespace

TEST_CASE(
    "standing: what needs a person is remembered until the far side is reached, whatever goes wrong in between") {
  Standing standing("up");
  CHECK(standing.words() == "not connected yet");
  CHECK((!standing.up() && !standing.healthy() && !standing.needs_person()));
  standing.on_reach({false, "the password is wrong", true});
  CHECK(standing.words() == "the password is wrong (somebody must act)");
  standing.on_reach({false, "connection refused", false});
  CHECK(standing.words() == "connection refused; before that: the password is wrong (somebody must act)");
  CHECK(standing.needs_person());
  standing.on_reach({true, "", false});
  CHECK(standing.words() == "up");
  CHECK((standing.up() && standing.healthy() && !standing.needs_person()));
}

TEST_CASE(
    "standing: trouble with what is sent lasts until something passes, and a blocked far side outlasts a busy one") {
  Standing standing("up");
  standing.on_reach({true, "", false});
  standing.on_trouble(Verdict::retryable, "busy");
  CHECK((standing.words() == "retryable: busy" && !standing.healthy() && !standing.needs_person()));
  standing.on_trouble(Verdict::blocked, "no such topic");
  standing.on_trouble(Verdict::retryable, "busy");
  CHECK((standing.words() == "blocked: no such topic" && standing.needs_person()));
  standing.on_passed();
  CHECK((standing.words() == "up" && standing.healthy()));
}

TEST_CASE("standing: what each answer says anew, its request's number and its time, is no change") {
  Standing standing("up");
  standing.on_reach({true, "", false});
  const auto says = [&](const std::string& status, const std::string& code, const std::string& request,
                        Verdict verdict = Verdict::retryable) {
    standing.on_trouble(verdict, text("HTTP ", status, ": <Error><Code>", code, "</Code><RequestId>", request,
                                      "</RequestId></Error>"));
    return standing.words();
  };
  const std::string first = says("503", "SlowDown", "4442587FB7D0A2F9");
  CHECK(first.find("4442587FB7D0A2F9") != std::string::npos);
  CHECK(says("503", "SlowDown", "9A0E2C11D7F38B60") == first);
  CHECK(says("429", "SlowDown", "9A0E2C11D7F38B60").find("HTTP 429") != std::string::npos);
  CHECK(says("429", "Throttling", "9A0E2C11D7F38B60").find("Throttling") != std::string::npos);
  const std::string blocked = says("403", "AccessDenied", "4442587FB7D0A2F9", Verdict::blocked);
  CHECK(blocked.starts_with("blocked: HTTP 403"));
  CHECK(says("403", "AccessDenied", "5DE2077F9A0C41B8", Verdict::blocked) == blocked);
  CHECK(says("403", "ExpiredToken", "5DE2077F9A0C41B8", Verdict::blocked) != blocked);
  standing.on_passed();
  const auto of_time = [&](const char* words) {
    standing.on_trouble(Verdict::retryable, words);
    return standing.words();
  };
  const std::string busy = of_time("HTTP 500: TrackingId:7c0a-1_G2, Timestamp:2026-12-03T05:41:00");
  CHECK(of_time("HTTP 500: TrackingId:91d4-8_G2, Timestamp:2026-12-03T05:41:31") == busy);
  CHECK(of_time("HTTP 500: quota exceeded").ends_with("quota exceeded"));
  CHECK(of_time("") == "retryable: ");
}

TEST_CASE("standing: who was usurped is not reached again") {
  Standing standing("up");
  standing.on_reach({true, "", false});
  standing.usurp();
  standing.on_reach({true, "", false});
  CHECK((!standing.up() && standing.needs_person()));
  CHECK(standing.words().find("another gateway") == 0);
}

TEST_CASE(
    "flights: what is open of a batch waits again, the rest is safe; of an acknowledged one nothing is open") {
  Run run = run_of({piece(1, 3, 10, Piece::flying), piece(4, 2, 20, Piece::flying),
                    piece(6, 1, 30, Piece::flying), piece(7, 1, 40)});
  Flights flights;
  Flight flight;
  flight.run = 7;
  flight.firsts = {1, 4, 6};
  const std::uint64_t id = flights.add(flight);
  CHECK((flights.any_of(7) && !flights.any_of(8) && flights.size() == 1));
  Outcome outcome;
  outcome.verdict = Verdict::refused;
  outcome.open = {1};
  std::vector<Sequence> passed;
  const auto note = [&](const Piece& one) { passed.push_back(one.row.first); };
  CHECK(take_back(flights.take(id), outcome, run, note) == std::vector<Sequence>{4});
  CHECK(flights.empty());
  CHECK(passed == std::vector<Sequence>{1, 6});
  CHECK(run.bytes_waiting == 60);
  CHECK((run.pieces[0].state == Piece::safe && run.pieces[1].state == Piece::waiting &&
         run.pieces[2].state == Piece::safe));
  run.pieces[1].state = Piece::flying;
  outcome.verdict = Verdict::acknowledged;
  flight.firsts = {4};
  CHECK(take_back(flight, outcome, run, note).empty());
  CHECK(run.pieces[1].state == Piece::safe);
}

TEST_CASE(
    "batching: one batch at a time until the link is known and after failures; then as many as the far side takes") {
  Bench bench;
  CHECK(bench.batching.flights_max(bench.limits, false) == 1);
  for (std::size_t bytes = 1 << 10; bytes <= 512 << 10; bytes *= 2) bench.back(bytes, 10ms);
  CHECK(bench.batching.flights_max(bench.limits, false) == 4);
  CHECK(bench.batching.flights_max(bench.limits, true) == 1);
  bench.back(256 << 10, 60s, true);  // too late: the link is what bounds a batch
  CHECK(bench.batching.flights_max(bench.limits, false) <= 2);
}

TEST_CASE(
    "batching: answers that come together by ways that share a link are no fast link, each took what it took") {
  Bench together, apart;
  apart.limits.apart = true;
  for (Bench* bench : {&together, &apart}) {
    // The link needs 8 s for four batches of 4 KiB, however they share it.
    for (int i = 0; i < 20; ++i) {
      const Instant sent = bench->now;
      bench->now = sent + 8s;
      for (int way = 0; way < 4; ++way) {
        Flight was = bench->flight();
        was.sent = sent;
        was.bytes = 4 << 10;
        bench->batching.on_back(was, {}, bench->limits, bench->now);
      }
    }
  }
  const auto first_batch = [](Bench& bench) {
    Run run = run_of({piece(1, 10, 4 << 10), piece(11, 10, 4 << 10), piece(21, 10, 4 << 10)});
    Flight flight = bench.flight();
    return bench.batching.fill(run, run.pieces.begin(), bench.limits, flight).rows.size();
  };
  CHECK(first_batch(apart) == 1);
  CHECK(first_batch(together) == 3);  // there they would have come one after the other
}

TEST_CASE(
    "batching: what was on its way beside one that got no answer, and got none either, is no more news") {
  Bench bench;
  bench.limits.apart = true;
  for (std::size_t bytes = 1 << 10; bytes <= 512 << 10; bytes *= 2) bench.back(bytes, 10ms);
  const Instant sent = bench.now;
  const auto late = [&](Instant since) {
    Flight was = bench.flight();
    was.sent = since;
    was.bytes = 256 << 10;
    Outcome outcome;
    outcome.late = true;
    outcome.verdict = Verdict::retryable;
    bench.batching.on_back(was, outcome, bench.limits, bench.now);
    Run run = run_of({piece(1, 100, 20 << 10), piece(101, 100, 20 << 10), piece(201, 100, 20 << 10),
                      piece(301, 100, 20 << 10)});
    Flight flight = bench.flight();
    return bench.batching.fill(run, run.pieces.begin(), bench.limits, flight).rows.size();
  };
  bench.now = sent + 30s;
  CHECK(late(sent) == 3);  // a quarter of it
  bench.now = bench.now + 10ms;
  CHECK(late(sent) == 3);
  CHECK(late(bench.now) == 1);  // the smaller one is late, too
}

TEST_CASE("batching: a batch takes what fits, live rows and backlog never in one, and its rows fly") {
  Bench bench;
  for (std::size_t bytes = 1 << 10; bytes <= 512 << 10; bytes *= 2) bench.back(bytes, 10ms);
  Run run = run_of({piece(1, 10, 100 << 10), piece(11, 10, 100 << 10), piece(21, 10, 100 << 10)});
  Flight flight = bench.flight();
  Batch batch = bench.batching.fill(run, run.pieces.begin(), bench.limits, flight);
  CHECK((batch.rows.size() == 2 && flight.firsts == std::vector<Sequence>{1, 11} && flight.full));
  CHECK(run.bytes_waiting == 100 << 10);
  CHECK((run.pieces[1].state == Piece::flying && run.pieces[2].state == Piece::waiting));
  // Less than a batch may rest; not so what is being isolated.
  run.rests_until = bench.now + 2s;
  CHECK(bench.batching.rest_of(run, bench.limits, bench.now) == 2s);
  run.rows_max = 1;
  CHECK(bench.batching.rest_of(run, bench.limits, bench.now) == 0s);
  // What was committed a while ago is backlog, what comes now is not.
  bench.rate.on_committed(100, 100, 0, bench.now);
  bench.now = bench.now + 60s;
  bench.rate.on_committed(110, 110, 0, bench.now);
  Run mixed = run_of({piece(91, 10, 1000), piece(101, 10, 1000)});
  Flight first = bench.flight();
  batch = bench.batching.fill(mixed, mixed.pieces.begin(), bench.limits, first);
  CHECK((batch.replay && batch.rows.size() == 1 && !first.full));
  Flight second = bench.flight();
  batch = bench.batching.fill(mixed, mixed.first_waiting(), bench.limits, second);
  CHECK((!batch.replay && batch.rows.size() == 1));
}

}  // namespace shipper_parts_test
