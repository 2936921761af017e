// Readings that were stamped while nobody vouched for the clock: kept, in the order in which they came, until
// an entry says what time it was, and fed then. Bounded in bytes, and in time by who feeds: what finds no
// room, comes too late in its boot, or is given up is counted and never aggregated. Pure: equal entries give
// equal readings.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/time.h"
#include "record/record.h"

namespace millrace {

class UndatedReadings {
 public:
  static constexpr std::size_t bytes_max = 4 << 20;  // some 15,000 readings

  // What is stamped later than this by the monotonic clock of its boot is not kept.
  void keep_until(Instant until) { until_us_ = until.ns / 1000; }
  // The reading itself, where it is known already what time it was: it came in the commit that says so.
  std::optional<Record> take(const Record& reading);
  bool any() const { return !kept_.empty(); }
  std::size_t size() const { return kept_.size(); }
  // Those of this boot with the times they had, by wall minus monotonic clock, which was trusted when the
  // monotonic one said this; those of another boot can never be told. Nothing is kept any more.
  std::vector<Record> dated(std::uint64_t boot_id, std::int64_t offset_us, std::int64_t monotonic_us);
  void give_up();
  std::uint64_t given_up() const { return given_up_; }

 private:
  struct Kept {
    Record reading;
    std::uint64_t boot_id = 0;
    std::int64_t monotonic_us = 0;
  };
  static Record at(Record reading, std::int64_t time_us);

  std::vector<Kept> kept_;
  std::uint64_t told_boot_ = 0;  // what is told already
  std::int64_t told_offset_us_ = 0, told_through_us_ = 0;
  std::size_t bytes_ = 0;
  std::int64_t until_us_ = 0;
  std::uint64_t given_up_ = 0;
};

}  // namespace millrace
