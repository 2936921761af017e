// Dead letters of inputs: payloads that could not be decoded, or not wholly, kept whole in the dead lane with
// all that another try needs. The one place that writes them, and reads them back into arrivals. On the loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "ingest/inbox.h"
#include "log/log.h"
#include "loop/loop.h"

namespace millrace {

class DeadLetters {
 public:
  static constexpr std::size_t reason_max = 1000;  // characters

  struct Options {
    std::uint64_t boot_id = 0;
    std::function<bool()> clock_vouched;
  };
  DeadLetters(Loop& loop, Log& log, Metrics& metrics, Options options);

  // Kept whole, or its head where no row of the log has room for it, up to a tenth of the log; beyond that
  // one sample a minute of each input and reason, 64 in all, and the rest is counted and told, once a minute:
  // false. `missing`: which of the payload's values did not enter; empty: none did. `set` is committed before
  // the loop goes on.
  bool bury(const Arrival& arrival, const std::string& reason, ValueRuns missing, WriteSet& set);
  // What an arrival becomes as a letter. `boot_id`: of the boot in which it arrived.
  static Record letter_of(const Arrival& arrival, const std::string& reason, ValueRuns missing,
                          std::uint64_t boot_id);
  // In any case. `boot_id`: of the boot in which it arrived.
  void put(const Arrival& arrival, const std::string& reason, ValueRuns missing, std::uint64_t boot_id,
           WriteSet& set);
  // What was not kept and is not told yet; nothing, where that is all.
  void tell_dropped();

 private:
  bool has_room_for(const Arrival& arrival, const std::string& reason);
  void drop(WriteSet& set);
  void tell_dropped_in(Duration delay);
  void note_dropped(WriteSet& set) const;

  Loop& loop_;
  Log& log_;
  Options options_;
  std::unordered_map<std::uint64_t, Instant> sampled_;  // within the last minute
  std::uint64_t dropped_ = 0;                           // and not told yet; noted in the log with each
  std::optional<Instant> told_at_;
  std::unique_ptr<Timer> tell_timer_;  // while there is something to tell
  Counter& kept_;
  Counter& full_;
};

// A letter as the arrival it was: time, clock, publisher, and of one that was read but for some values these
// alone. Views of the letter, which outlives it.
class OpenedLetter {
 public:
  explicit OpenedLetter(const Record& letter);
  OpenedLetter(const OpenedLetter&) = delete;
  const Arrival& arrival() const { return arrival_; }

 private:
  std::vector<std::pair<std::string_view, std::string_view>> properties_;
  Publisher publisher_;
  ValueRuns missing_;
  Arrival arrival_;
};

}  // namespace millrace
