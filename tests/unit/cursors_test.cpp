#include <doctest/doctest.h>

#include "base/rng.h"
#include "log/cursors.h"
#include "log/row_cache.h"
#include "log/state_table.h"
#include "log/struck_letters.h"
#include "tests/support/seed.h"

namespace cursors_test {
using namespace millrace;

namespace {

const Cursors::Key raw{"up", Lane::raw}, alarms{"up", Lane::alarm};

Row row(Lane lane, Sequence first, std::uint32_t count, std::size_t bytes = 10) {
  Row row;
  row.lane = lane;
  row.first = first;
  row.count = count;
  row.columns = std::make_shared<const Bytes>(Bytes(bytes));
  return row;
}

void settle(Cursors& cursors, Range range, std::uint64_t records, How how = How::delivered) {
  std::vector<Range> left_open;
  cursors.settle({"up", Lane::raw, range, records, how}, false, left_open);
  CHECK(left_open.empty());
}

std::vector<Sequence> firsts(const std::vector<Row>& rows) {
  std::vector<Sequence> all;
  for (const Row& r : rows) all.push_back(r.first);
  return all;
}

}  // namespace

TEST_CASE("cursors: what is admitted is in the ledger once, however it is settled") {
  Cursors cursors;
  CHECK(cursors.subscribe(raw, 1));
  CHECK_FALSE(cursors.subscribe(raw, 2));
  cursors.admit(Lane::raw, 10, 10);
  cursors.admit(Lane::alarm, 5, 15);
  settle(cursors, {1, 4}, 4);
  settle(cursors, {3, 6}, 4);  // two of them for the second time
  CHECK(cursors.lose(raw, {{9, 10}}, 2, How::evicted) == 2);
  CHECK_MESSAGE(cursors.lose(raw, {{7, 8}}, 50, How::evicted) == 2, "no more than there were");
  const LaneLedger ledger = cursors.ledger(raw);
  CHECK(ledger.admitted == 10);
  CHECK(ledger.settled[static_cast<std::size_t>(How::delivered)] == 6);
  CHECK(ledger.settled[static_cast<std::size_t>(How::evicted)] == 4);
  CHECK(ledger.unsettled() == 0);
  CHECK(cursors.unsettled(raw, 12) == std::vector<Range>{{11, 12}});
  CHECK(cursors.unsettled(alarms, 12).empty());
}

TEST_CASE("cursors: who left has its data until it is forgotten, a successor of its name takes it over") {
  Cursors cursors;
  cursors.subscribe(raw, 1);
  cursors.subscribe(alarms, 1);
  cursors.subscribe({"other", Lane::raw}, 2);
  CHECK(cursors.absent().empty());
  cursors.unsubscribe(1);
  CHECK(cursors.absent() == std::vector<std::string>{"up"});
  CHECK_FALSE(cursors.subscribe(raw, 3));
  CHECK_MESSAGE(cursors.absent_of("up") == std::vector<Cursors::Key>{alarms},
                "a lane that the successor does not take");
  cursors.unsubscribe(1);  // late, from one that has a successor
  CHECK(cursors.find(raw)->subscribed());
  CHECK(cursors.consumers() == std::vector<std::string>{"other", "up"});
}

TEST_CASE("cursors: a ninth settled range is never opened") {
  Cursors cursors;
  cursors.subscribe(raw, 1);
  cursors.admit(Lane::raw, 100, 100);
  for (Sequence at = 2; at <= 16; at += 2) settle(cursors, {at, at}, 1);
  CHECK_FALSE(cursors.can_settle(raw, {50, 50}));
  CHECK(cursors.can_settle(raw, {1, 1}));
  std::vector<Range> left_open;
  cursors.settle({"up", Lane::raw, {50, 50}, 1, How::delivered}, false, left_open);
  CHECK(left_open == std::vector<Range>{{50, 50}});
  CHECK_MESSAGE(cursors.lose(raw, {{60, 60}}, 1, How::evicted) == 1,
                "what is lost is in the ledger all the same");
  CHECK(cursors.unsettled(raw, 100).back() == Range{17, 100});
}

TEST_CASE("cursors: a segment is wanted while somebody lacks a row of it, and dead letters always are") {
  Cursors cursors;
  cursors.subscribe(raw, 1);
  cursors.subscribe({"other", Lane::raw}, 2);
  SegmentInfo segment;
  segment.lanes[static_cast<std::size_t>(Lane::raw)].add(5, 9, 5, 100);
  CHECK(cursors.wanted(segment, Lane::raw));
  CHECK_FALSE(cursors.wanted(segment, Lane::alarm));
  std::vector<Range> left_open;
  for (const char* who : {"up", "other"}) {
    CHECK(cursors.wanted(segment, Lane::raw));
    cursors.settle({who, Lane::raw, {1, 9}, 5, How::delivered}, true, left_open);
  }
  CHECK_FALSE(cursors.wanted(segment, Lane::raw));
  segment.lanes[static_cast<std::size_t>(Lane::raw)].add(10, 12, 3, 100);
  CHECK(cursors.wanted(segment, Lane::raw));
  segment.valid_through = 9;  // what lies behind it is no row of the log
  CHECK_FALSE(cursors.wanted(segment, Lane::raw));
  segment.lanes[static_cast<std::size_t>(Lane::dead)].add(7, 7, 1, 10);
  CHECK(cursors.wanted(segment, Lane::dead));
}

TEST_CASE("cursors: they come back from the state table as they were") {
  Rng rng(seed());
  Cursors cursors;
  const Cursors::Key odd{"a/b", Lane::window};
  cursors.subscribe(raw, 1);
  cursors.subscribe(odd, 1);
  cursors.admit(Lane::raw, 500, 500);
  for (int i = 0; i < 40; ++i) {
    const Sequence first = 1 + rng.below(480);
    if (cursors.can_settle(raw, {first, first + 5})) {
      std::vector<Range> left_open;
      cursors.settle({"up", Lane::raw, {first, first + 5}, 6, static_cast<How>(rng.below(how_count))}, false,
                     left_open);
    }
  }
  Cursors again;
  for (const auto& [key, cursor] : cursors)
    again.restore(cursor_key(key.first, key.second), Cursors::encode(cursor));
  REQUIRE(again.find(raw));
  REQUIRE(again.find(odd));
  CHECK(again.unsettled(raw, 600) == cursors.unsettled(raw, 600));
  CHECK(again.ledger(raw).settled == cursors.ledger(raw).settled);
  CHECK(again.ledger(raw).admitted == 500);
  CHECK(again.absent() == std::vector<std::string>{"a/b", "up"});
  again.take_over({row(Lane::raw, 499, 2), row(Lane::raw, 501, 4), row(Lane::alarm, 505, 9)});
  CHECK_MESSAGE(again.ledger(raw).admitted == 504, "only what came after it was written");
}

TEST_CASE("cursors: a note settled more than the damaged storage admits, and the ledger balances") {
  Cursors cursors;
  cursors.subscribe(raw, 1);
  cursors.subscribe(alarms, 1);
  cursors.take_over({row(Lane::raw, 1, 4), row(Lane::alarm, 5, 3)});  // what is left of raw's twelve
  std::vector<Range> left_open;
  cursors.settle({"up", Lane::raw, {1, 4}, 4, How::delivered}, true, left_open);
  cursors.settle({"up", Lane::raw, {8, 15}, 8, How::dead}, true, left_open);
  CHECK(left_open.empty());
  CHECK(cursors.ledger(raw).admitted == 4);
  cursors.balance();
  const LaneLedger ledger = cursors.ledger(raw);
  CHECK(ledger.admitted == 12);
  CHECK(ledger.unsettled() == 0);
  CHECK(ledger.settled[static_cast<std::size_t>(How::delivered)] == 4);
  CHECK(ledger.settled[static_cast<std::size_t>(How::dead)] == 8);
  CHECK_MESSAGE(cursors.ledger(alarms).admitted == 3, "what has records open stays as it was");
  CHECK(cursors.ledger(alarms).unsettled() == 3);
  cursors.admit(Lane::raw, 5, 20);
  CHECK(cursors.ledger(raw).unsettled() == 5);
}

TEST_CASE(
    "cursors: one that ran ahead of the books begins with the oldest, a doubtful one has its books put right") {
  const std::map<Sequence, Row> rows{{1, row(Lane::raw, 1, 10)}, {11, row(Lane::raw, 11, 10)}};
  for (const bool doubtful : {false, true}) {
    Cursors cursors;
    cursors.subscribe(raw, 1);
    cursors.admit(Lane::raw, 20, 20);
    settle(cursors, {1, 15}, 5);  // ten of them nobody booked
    const auto again =
        cursors.check(rows, doubtful ? std::set<Cursors::Key>{raw} : std::set<Cursors::Key>{}, 20);
    REQUIRE(again.size() == 1);
    CHECK(again[0].found == 5);
    CHECK(again[0].booked == 15);
    CHECK(again[0].ran_ahead == !doubtful);
    CHECK(again[0].sent_again == (doubtful ? 5u : 20u));
    CHECK(cursors.ledger(raw).unsettled() == again[0].sent_again);
    CHECK(cursors.check(rows, {}, 20).empty());
  }
}

TEST_CASE("the row cache has the newest rows, and says how far back it reaches") {
  RowCache cache(100);
  cache.begin_after(4);
  CHECK_FALSE(cache.reaches(4));
  CHECK(cache.reaches(5));
  for (Sequence at = 5; at < 25; at += 2) cache.add(row(at % 4 == 1 ? Lane::raw : Lane::alarm, at, 2, 20));
  CHECK(cache.reaches(15));
  CHECK_FALSE(cache.reaches(14));
  CHECK(firsts(cache.read(Lane::raw, {15, 30}, 1000)) == std::vector<Sequence>{17, 21});
  CHECK_MESSAGE(firsts(cache.read(Lane::raw, {18, 20}, 1000)) == std::vector<Sequence>{17},
                "a row that touches the range");
  CHECK_MESSAGE(firsts(cache.read(Lane::raw, {15, 30}, 1)) == std::vector<Sequence>{17}, "at least one");
  cache.add(row(Lane::raw, 21, 2, 20));  // it is there
  cache.add(row(Lane::raw, 3, 2, 20));   // before it
  CHECK(firsts(cache.read(Lane::raw, {1, 30}, 1000)) == std::vector<Sequence>{17, 21});
  cache.begin_after(24);
  CHECK(cache.read(Lane::raw, {1, 30}, 1000).empty());
}

TEST_CASE("struck letters: ranges join, what is older than any letter is forgotten, and nothing else") {
  StruckLetters struck;
  struck.strike({{5, 6}, {10, 12}}, 1);
  struck.strike({{7, 8}, {12, 20}}, 1);
  for (const auto& [number, is] :
       {std::pair{4, false}, {5, true}, {8, true}, {9, false}, {20, true}, {21, false}})
    CHECK(struck.has(static_cast<Sequence>(number)) == is);
  CHECK(struck.has_all({5, 8}));
  CHECK_FALSE(struck.has_all({5, 10}));
  StruckLetters again;
  again.restore(struck.encode());
  CHECK(again.encode() == struck.encode());
  struck.strike({}, 9);
  CHECK_FALSE(struck.has(5));
  CHECK(struck.has(10));
  std::vector<Range> many;
  for (Sequence at = 0; at < StruckLetters::ranges_max; ++at) many.push_back({100 + 2 * at, 100 + 2 * at});
  struck.strike(many, 1);
  CHECK(struck.has(10));
  CHECK(struck.has(100));
  CHECK_FALSE(struck.has_room_for({50, 50}));  // one more range
  CHECK(struck.has_room_for({101, 101}));      // it joins two
  CHECK(struck.has_room_for({21, 99}));
}

}  // namespace cursors_test
