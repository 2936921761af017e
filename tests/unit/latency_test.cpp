// How long readings take, by commit and row: what is known of old ones, and what an outage may not spoil.
#include <doctest/doctest.h>

#include "base/metrics.h"
#include "uplink/commit_times.h"
#include "uplink/uplink_latency.h"

namespace latency_test {
using namespace millrace;
using namespace std::chrono_literals;

namespace {

Instant at(double seconds) { return {static_cast<std::int64_t>(seconds * 1e9)}; }

Row row_of(Sequence first, std::uint32_t count) {
  Row row;
  row.first = first;
  row.count = count;
  return row;
}

Log::GroupTimes group(Sequence through, double received, double committed) {
  return {through, at(received), at(committed), {}};
}

// Of the raw lane; nothing was seen: no records.
UplinkLatency::Whole raw_of(const UplinkLatency& latency, bool live, double now) {
  for (const auto& whole : latency.whole(at(now))) {
    if (whole.live == live && whole.lane == Lane::raw) return whole;
  }
  return {Lane::raw, live};
}

}  // namespace

TEST_CASE("commit times: bounded however long nothing is sent, and nothing looks quicker than it was") {
  CommitTimes times(100);
  CHECK_FALSE(times.find(100));
  CHECK_FALSE(times.find(101));
  for (int i = 1; i <= 100'000; ++i) times.add({100 + static_cast<Sequence>(i) * 10, at(i), at(i + 0.5), 0});
  CHECK_FALSE(times.find(100));  // of another life
  for (const int i : {1, 2, 500, 99'000, 99'999, 100'000}) {
    const auto* found = times.find(100 + static_cast<Sequence>(i) * 10);
    REQUIRE(found);
    CHECK(found->received <= at(i));
    CHECK(found->committed <= at(i + 0.5));
  }
  for (const int age : {1'000, 10'000, 50'000}) {
    CHECK(at(100'000.5) - times.find(100 + (100'000 - age) * 10)->committed <=
          std::chrono::seconds(age * 3 / 2 + 2));
  }
  CHECK(times.find(100 + 99'999 * 10)->received == at(99'999));  // the newest are as they were
  CHECK_FALSE(times.find(2'000'000));
}

TEST_CASE(
    "latency: live is what found the way free; an outage and its draining are backlog, and spoil nothing") {
  Metrics metrics;
  UplinkLatency latency(metrics, "central", 0);
  CHECK(latency.behind(Lane::raw));
  latency.on_caught_up(Lane::raw);
  latency.on_committed(group(10, 0, 0.2));
  latency.on_acknowledged(Lane::raw, row_of(1, 10), at(0.2), at(0.25));
  CHECK(raw_of(latency, true, 505).records == 10);
  CHECK(raw_of(latency, true, 505).p99 == doctest::Approx(0.256));
  // On its way when the connection breaks, committed in the outage, committed while it drains.
  latency.on_committed(group(20, 1, 1.2));
  latency.on_trouble();
  latency.on_committed(group(30, 2, 2.2));
  CHECK(latency.behind(Lane::raw));
  latency.on_committed(group(40, 500, 500.2));
  for (const Sequence first : {11u, 21u, 31u})
    latency.on_acknowledged(Lane::raw, row_of(first, 10), at(501), at(502));
  CHECK(raw_of(latency, true, 505).records == 10);
  CHECK(raw_of(latency, true, 505).p99 == doctest::Approx(0.256));
  CHECK(raw_of(latency, false, 505).records == 30);
  CHECK(raw_of(latency, false, 505).p99 > 256);
  // Another lane that caught up says nothing of this one.
  latency.on_caught_up(Lane::alarm);
  CHECK(latency.behind(Lane::raw));
  latency.on_caught_up(Lane::raw);
  latency.on_committed(group(50, 503, 503.1));
  latency.on_acknowledged(Lane::raw, row_of(41, 10), at(503.1), at(503.11));
  CHECK(raw_of(latency, true, 505).records == 20);
}

TEST_CASE("latency: of what was committed in another life only the answer's time is known") {
  Metrics metrics;
  UplinkLatency latency(metrics, "central", 1000);
  latency.on_acknowledged(Lane::raw, row_of(990, 10), at(5), at(6));
  CHECK(raw_of(latency, false, 505).records == 0);
  const std::string text = metrics.expose();
  CHECK(text.find(
            "millrace_uplink_answer_seconds_count{uplink=\"central\",lane=\"raw\",traffic=\"backlog\"} 10") !=
        std::string::npos);
}

TEST_CASE("latency: what is recent is of the last five to ten minutes") {
  RecentLatency recent;
  recent.observe(0.001, 90, at(1000));
  recent.observe(10, 10, at(1200));
  CHECK(recent.of(at(1299)).count() == 100);
  CHECK(recent.of(at(1299)).quantile(0.99) == doctest::Approx(16.384));
  recent.observe(0.001, 5, at(1400));
  CHECK(recent.of(at(1599)).count() == 105);
  CHECK(recent.of(at(1701)).count() == 5);
  recent.observe(0.001, 1, at(1702));
  CHECK(recent.of(at(1702)).count() == 6);
  CHECK(recent.of(at(1702)).quantile(0.99) < 0.01);
  CHECK(recent.of(at(2400)).count() == 0);
}

}  // namespace latency_test
