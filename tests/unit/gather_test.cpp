// When a subscriber's acknowledgements are read: brokers of several habits, in virtual time of a tenth of a
// millisecond.
#include <doctest/doctest.h>

#include "base/rng.h"
#include "mqtt/gather.h"
#include "tests/support/seed.h"

namespace gather_test {
using namespace millrace;
using namespace millrace::mqtt;
using namespace std::chrono_literals;

namespace {

struct Day {
  std::uint64_t messages = 0, reads = 0;
};

// A second of a broker that has `per_tick` messages to send, by chance, and at most `window` unacknowledged;
// the subscriber acknowledges at once.
Day second_of(double per_tick, int window) {
  Rng rng(seed());
  Gather gather;
  Day day;
  Instant now{1'000'000'000}, held_until{0};
  bool held = false;
  int flying = 0, unread = 0;
  double due = 0;
  for (int tick = 0; tick < 10'000; ++tick, now = now + 100us) {
    due = std::min(due + (rng.unit() < per_tick ? std::max(1.0, per_tick) : 0), 1000.0);
    const int sent = std::min(static_cast<int>(due), window - flying);
    if (sent > 0) {
      gather.heard(now);
      for (int i = 0; i < sent; ++i) gather.message();
      due -= sent;
      flying += sent;
      unread += sent;
      day.messages += static_cast<std::uint64_t>(sent);
    }
    if (held && now >= held_until) {
      gather.over(now);
      held = false;
    }
    if (held || unread == 0) continue;
    ++day.reads;
    const Duration wait = gather.answered(now, static_cast<std::size_t>(unread) * 4);
    flying -= unread;
    unread = 0;
    held = wait.count() > 0;
    held_until = now + wait;
  }
  return day;
}

}  // namespace

TEST_CASE("gather: messages that come by chance are acknowledged together, whatever their rate") {
  for (const double per_tick : {0.02, 0.1, 0.5, 1.0}) {
    CAPTURE(per_tick);
    const Day day = second_of(per_tick, 1000);
    CHECK(day.messages > per_tick * 7000);
    CHECK(day.reads <= 400);
  }
}

TEST_CASE("gather: a broker that waits for its acknowledgements is not kept waiting") {
  for (const int window : {1, 10, 20}) {
    CAPTURE(window);
    const Day day = second_of(1000, window);
    // of 10,000 a second, at a round in each tick
    CHECK(day.messages > 9'000u * static_cast<unsigned>(window));
  }
}

TEST_CASE("gather: with a large window a millisecond's worth is read at a time") {
  const Day day = second_of(50, 2000);  // 500,000 a second
  CHECK(day.messages > 450'000);
  CHECK(day.reads <= 1000);
}

TEST_CASE("gather: who only publishes is read at once") {
  Gather gather;
  for (Instant now{1'000'000'000}; now.ns < 2'000'000'000; now = now + 1ms) {
    gather.heard(now);
    CHECK(gather.answered(now, 400).count() == 0);
  }
}

}  // namespace gather_test
