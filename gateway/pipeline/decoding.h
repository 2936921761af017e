// From an arrival to records of a set: decodes a payload by its input's configuration as far as it is good,
// dates it, keeps what could not be read as a dead letter, and chooses lanes. Nothing that comes wedges an
// input. The ledger of the south is counted here: taken = admitted + filtered + duplicate + undecodable, in
// records; a payload that could not be decoded, or not wholly, counts as one, and so does one that is a
// duplicate, is ignored or has no value. On the loop.
#pragma once

#include <functional>
#include <vector>

#include "base/metrics.h"
#include "decode/unread.h"
#include "loop/loop.h"
#include "pipeline/dead_letters.h"
#include "pipeline/known_inputs.h"
#include "pipeline/report_filter.h"
#include "record/boot_times.h"
#include "windows/window_consumer.h"

namespace millrace {

class Decoding {
 public:
  // Sees what became of each payload: its records, and what of it could not be read.
  using Witness =
      std::function<void(const Arrival&, const std::vector<Record>&, const Status&, const Unread&)>;
  struct Options {
    bool forward_raw = true;    // some uplink takes the raw lane
    std::uint64_t boot_id = 0;  // of this boot
    std::function<bool()> clock_vouched;
    Witness witness;
    std::size_t report_state_max;  // bytes of what report by exception remembers
    const BootTimes* boots = nullptr;
  };
  Decoding(Loop& loop, Log& log, Metrics& metrics, KnownInputs& inputs, WindowConsumer& windows,
           Options options);

  // `ticket`: of the inbox; UINT64_MAX: offered just now. `crashed`: it was in work when the process died,
  // twice.
  void decode(Arrival arrival, Ticket ticket, bool crashed, WriteSet& set);
  // What Pipeline::decode_again promises.
  Status decode_again(const Record& letter, WriteSet& set);
  // Nothing comes any more: what is told now and then is told.
  void finish() { letters_.tell_dropped(); }
  // Payloads that were recognised as taken before.
  void count_duplicates(std::uint64_t payloads);
  void set_forward_raw(bool forward) { options_.forward_raw = forward; }
  // What report by exception remembers, as gauges.
  void show_reports();

 private:
  void bury_unknown(const Arrival& arrival, WriteSet& set);
  const char* bury(KnownInput& input, const Arrival& arrival, const std::string& reason, WriteSet& set);
  static bool was_taken(KnownInput& input, const Arrival& arrival);
  void date(Arrival& arrival, std::uint64_t boot_id) const;
  bool is_dated_otherwise(const Arrival& arrival, const WriteSet& set);
  Detail boot_of(const Arrival& arrival) const;
  void take_beside(KnownInput& input, const Arrival* undated, WriteSet& set);
  void admit(std::vector<Record>& records, WriteSet& set);
  void weigh(KnownInput& input, const Arrival& arrival);
  void count(KnownInput& input, const Arrival& arrival);
  static void tell_retained(KnownInput& input);

  Loop& loop_;
  KnownInputs& inputs_;
  WindowConsumer& windows_;
  Options options_;
  std::int64_t offset_us_ = 0;  // wall minus monotonic, as the clocks stood then
  Instant clocks_read_at_;
  std::vector<Record> decoded_;
  Unread unread_;             // of the same payload
  std::vector<Worth> worth_;  // of each of its records; empty: all are forwarded
  ReportFilter reports_;
  Counter& taken_;
  Counter& admitted_;
  Counter& filtered_;
  Counter& duplicate_;
  Counter& undecodable_;
  Gauge &report_bytes_, &report_bytes_max_, &report_forgotten_;
  DeadLetters letters_;
};

}  // namespace millrace
