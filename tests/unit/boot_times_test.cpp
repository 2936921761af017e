// What is known of a boot whose clock was not trusted, and what is made of a stored batch by it.
#include <doctest/doctest.h>

#include "base/rng.h"
#include "record/redate.h"
#include "record/unsynced.h"
#include "tests/support/seed.h"
#include "windows/undated_readings.h"

namespace boot_times_test {

using namespace millrace;

namespace {

constexpr std::int64_t second = 1'000'000;
constexpr Instant at(std::int64_t seconds) { return {seconds * 1'000'000'000}; }

Record reading(const char* device, double value, std::int64_t time_us, TimeTrust trust) {
  Record record;
  record.device = device;
  record.metric = "m";
  record.value = value;
  record.time = {time_us};
  record.trust = trust;
  return record;
}

struct Stored {
  EncodedBatch batch;
  std::vector<Record> records() const {
    std::vector<Record> out;
    CHECK(decode_batch(batch.bytes, batch.zstd, out).ok());
    return out;
  }
};
Stored stored(const std::vector<Record>& records, std::uint64_t boot, std::int64_t offset_us) {
  BatchBuilder builder;
  for (const Record& record : records) builder.add(record);
  return {builder.encode(boot, offset_us)};
}

}  // namespace

TEST_CASE("boot times: what was told is not news to the next process of the same boot; what was not is") {
  BootTimes times, again, early;
  CHECK(times.began(7, 0));
  CHECK(times.trusted(7, 9 * second, at(5)));
  early.restore(times.save());
  CHECK(early.trusted(7, 9 * second, at(6)));
  CHECK(times.ended(7, 3));
  again.restore(times.save());
  CHECK_FALSE(again.trusted(7, 9 * second, at(6)));
}

TEST_CASE("boot times: what a boot stamped is told by the clock that was set later, and by no other boot's") {
  BootTimes times;
  CHECK_FALSE(times.may_hold(1, UINT64_MAX));
  CHECK(times.began(7, 100));
  CHECK_FALSE(times.began(7, 200));  // no news
  CHECK(times.may_hold(101, 101));
  CHECK_FALSE(times.may_hold(90, 100));
  CHECK_FALSE(times.time_of(7, 5 * second));
  const std::uint64_t version = times.version();
  CHECK(times.trusted(7, 1000 * second, at(60)));
  CHECK(times.version() != version);
  CHECK(times.time_of(7, 5 * second)->us == 1005 * second);
  CHECK_FALSE(times.time_of(7, 61 * second));  // nobody has vouched for that yet
  CHECK_FALSE(times.time_of(8, 5 * second));
  CHECK_FALSE(times.trusted(8, 0, at(1)));  // it stamped nothing
  CHECK(times.ended(7, 300));
  CHECK_FALSE(times.ended(7, 400));
  CHECK(times.may_hold(300, 310));
  CHECK_FALSE(times.may_hold(301, 310));
}

TEST_CASE("boot times: a clock that was set again tells anew, one that slews does not; doubts begin again") {
  BootTimes times;
  times.began(7, 0);
  CHECK(times.trusted(7, 1000 * second, at(60)));
  CHECK_FALSE(times.trusted(7, 1001 * second, at(70)));
  CHECK(times.time_of(7, 0)->us == 1001 * second);
  CHECK(times.trusted(7, 4600 * second, at(80)));
  CHECK(times.ended(7, 50));
  CHECK(times.began(7, 90));  // NTP went away for a day
  CHECK(times.may_hold(60, 95));
  CHECK(times.trusted(7, 4600 * second, at(90)));  // the same clock: what came in between can be told
  CHECK(times.time_of(7, 85 * second));
}

TEST_CASE("boot times: they outlive the process, the last 64 of them") {
  BootTimes times;
  for (std::uint64_t boot = 1; boot <= 70; ++boot) {
    CHECK(times.began(boot, boot * 10));
    if (boot % 2) CHECK(times.trusted(boot, static_cast<std::int64_t>(boot) * second, at(5)));
    if (boot % 3) CHECK(times.ended(boot, boot * 10 + 5));
  }
  BootTimes again;
  again.restore(times.save());
  CHECK(again.save() == times.save());
  CHECK_FALSE(again.knows(6));
  CHECK(again.knows(7));
  CHECK(again.time_of(69, 0)->us == 69 * second);
  CHECK_FALSE(again.time_of(70, 0));
  again.others_ended(70, 1000);
  CHECK_FALSE(again.trusted(1, 0, at(1)));
  CHECK(again.may_hold(1000, 1000));
  CHECK_FALSE(again.may_hold(1001, 1001));
  Bytes damaged = times.save();
  damaged.resize(damaged.size() / 2);
  BootTimes half;
  half.restore(damaged);
  CHECK(half.knows(7));
  CHECK_FALSE(half.knows(70));
  CHECK_FALSE(BootTimes().began(0, 1));  // a boot without a name
}

TEST_CASE("redate: the stamps of a boot are corrected, all else stays, under the same numbers") {
  BootTimes times;
  times.began(7, 0);
  const std::int64_t offset = 3 * second;  // the clock of 1970, which began three seconds before the boot
  std::vector<Record> made;
  for (int i = 0; i < 50; ++i) {
    made.push_back(reading("own", i, 1'790'000'000 * second + i, TimeTrust::device));
    made.push_back(reading("d1", i, offset + i * second, TimeTrust::unsynced));
    made.push_back(reading("d2", i, offset + i * second, TimeTrust::unsynced));
  }
  Record event = reading("d1", 0, offset + 50 * second, TimeTrust::gateway);
  event.kind = Kind::event;
  stamp_unsynced(event, 7, at(50));
  made.push_back(event);
  const Stored before = stored(made, 7, offset);
  auto untold = redate(before.batch.bytes, before.batch.zstd, times, 7);
  REQUIRE(untold.ok());
  CHECK(untold.value().untold);
  CHECK_FALSE(untold.value().batch);
  auto others = redate(before.batch.bytes, before.batch.zstd, times, 8);
  CHECK_FALSE(others.value().untold);  // of a boot that is over nobody will tell

  times.trusted(7, 1'790'000'000 * second, at(60));
  auto told = redate(before.batch.bytes, before.batch.zstd, times, 7);
  REQUIRE(told.ok());
  REQUIRE(told.value().batch);
  CHECK(told.value().corrected == 101);
  CHECK_FALSE(told.value().untold);
  const std::vector<Record> was = before.records(), is = Stored{*told.value().batch}.records();
  REQUIRE(is.size() == was.size());
  for (std::size_t i = 0; i < is.size(); ++i) {
    CHECK(is[i].device == was[i].device);
    CHECK(is[i].value == was[i].value);
    CHECK(is[i].trust != TimeTrust::unsynced);
    if (was[i].trust == TimeTrust::device) CHECK(is[i].time == was[i].time);
    else CHECK(is[i].time.us == was[i].detail->monotonic_us + 1'790'000'000 * second);
  }
  const EncodedBatch& after = *told.value().batch;
  CHECK(redate(after.bytes, after.zstd, times, 7).value().corrected == 0);
}

TEST_CASE("redate: stamps of both sorts in one batch keep their numbers, whatever the times say") {
  Rng rng(seed());
  for (int round = 0; round < 100 * effort(); ++round) {
    BootTimes times;
    times.began(7, 0);
    std::vector<Record> made;
    for (std::uint64_t n = 1 + rng.below(60); n > 0; --n) {
      const auto monotonic = static_cast<std::int64_t>(rng.below(100)) * second;
      const bool synced = rng.chance(0.3);
      made.push_back(reading(rng.chance(0.5) ? "a" : "b", static_cast<double>(n),
                             synced ? 1'790'000'000 * second + monotonic : monotonic,
                             synced ? TimeTrust::gateway : TimeTrust::unsynced));
    }
    const Stored before = stored(made, 7, 0);
    times.trusted(7, 1'790'000'000 * second, at(static_cast<std::int64_t>(rng.below(120))));
    const auto told = redate(before.batch.bytes, before.batch.zstd, times, 7);
    REQUIRE(told.ok());
    const std::vector<Record> was = before.records();
    const std::vector<Record> is = told.value().batch ? Stored{*told.value().batch}.records() : was;
    REQUIRE(is.size() == was.size());
    for (std::size_t i = 0; i < is.size(); ++i) {
      CHECK(is[i].value == was[i].value);
      const auto time = was[i].trust == TimeTrust::unsynced ? times.time_of(7, was[i].detail->monotonic_us)
                                                            : std::optional(was[i].time);
      CHECK(is[i].time == time.value_or(was[i].time));
      CHECK((is[i].trust == TimeTrust::unsynced) == !time);
      if (!time) CHECK(is[i].detail->monotonic_us == was[i].detail->monotonic_us);
    }
    std::vector<Record> read;
    CHECK(decode_redated(before.batch.bytes, before.batch.zstd, times, read).ok());
    for (std::size_t i = 0; i < is.size(); ++i) CHECK(read[i].time == is[i].time);
  }
}

TEST_CASE("redate: bytes that are no batch are told, and cost nothing") {
  BootTimes times;
  times.began(7, 0);
  const Bytes nonsense(100, std::byte{0xff});
  CHECK(redate(nonsense, false, times, 7).status().code() == Code::corrupt);
  CHECK(redate(nonsense, true, times, 7).status().code() == Code::corrupt);
}

TEST_CASE("undated readings: kept in order, bounded, of the boot that can be told") {
  UndatedReadings kept;
  kept.keep_until(at(300));
  const auto take = [&](std::uint64_t boot, std::int64_t seconds, std::string device = "d") {
    Record record = reading("", static_cast<double>(seconds), 0, TimeTrust::unsynced);
    record.device = std::move(device);
    keep_boot_time(record, boot, -seconds * second);
    (void)kept.take(record);
  };
  take(7, 1);
  take(6, 2);
  take(7, 3);
  take(7, 301);  // too late
  Record nameless = reading("d", 1, 0, TimeTrust::unsynced);
  CHECK_FALSE(kept.take(nameless));
  CHECK(kept.size() == 3);
  CHECK(kept.given_up() == 2);
  const auto told = kept.dated(7, 1000 * second, 400 * second);
  REQUIRE(told.size() == 2);
  CHECK(told[0].time.us == 1001 * second);
  CHECK(told[1].time.us == 1003 * second);
  CHECK(told[1].trust == TimeTrust::gateway);
  CHECK_FALSE(told[1].detail);
  CHECK(kept.given_up() == 3);
  CHECK_FALSE(kept.any());
  // What came in the commit that told it is told at once; what came later in doubt waits anew.
  Record early = reading("d", 1, 5 * second, TimeTrust::unsynced);
  keep_boot_time(early, 7, 0);
  CHECK(kept.take(early)->time.us == 1005 * second);
  keep_boot_time(early, 8, 0);
  CHECK_FALSE(kept.take(early));
  CHECK(kept.size() == 1);
  kept.give_up();
  const std::uint64_t before = kept.given_up();
  for (int i = 0; i < 20; ++i) take(9, 1, std::string(1 << 20, 'x'));
  CHECK(kept.size() == 3);
  kept.give_up();
  CHECK(kept.given_up() == before + 20);
  take(9, 1);
  CHECK(kept.size() == 1);
}

}  // namespace boot_times_test
