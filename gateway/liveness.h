// Whether devices live, as data: every few seconds it looks at the device table and puts what changed into
// the alarm lane
//
// - device_alive: one is there: it has spoken three times, and for `silent_after`; the value is its interval
// - device_late, device_silent: nothing came for two, for five of its intervals; for how many seconds
// - device_back: it speaks again; the value: for how long it had not
// - device_inventory: once a day, and a minute after it brings something else; JSON of what is known of it
//
// and keeps who was there over a restart. In a storm (a broker that is dead takes thousands along) an input
// has events_at_once events, then one more in event_every; who has none is counted in a summary a minute
// (devices_silent, a number, with the first names), so that nothing is untold. While an input has no
// connection, or is paused because the log is full, its devices are not judged; after `silent_after` of it
// one event tells how many are not heard (input_silent), and one that they are again (input_back).
//
// What is kept: chunks of 64 devices as state of the log ("live/INPUT/CHUNK"), written sparingly: what
// changed at most every ten minutes and save_bytes_max a round; when somebody was heard last every six hours
// and at a stop, all at once. After a power cut a device may therefore seem unheard for up to six hours more
// than it was; nobody is silent because of that, since only time in which we listened is silence. On the
// loop.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/metrics.h"
#include "ingest/intake.h"
#include "log/log.h"
#include "log_age.h"
#include "loop/loop.h"
#include "observe/device_table.h"

namespace millrace {

class Liveness {
 public:
  static constexpr std::string_view prefix = "live/";
  static constexpr double events_at_once = 20;
  static constexpr Duration event_every = std::chrono::seconds(30), summary_every = std::chrono::minutes(1);
  static constexpr Duration save_changed_every = std::chrono::minutes(10),
                            save_heard_every = std::chrono::hours(6);
  static constexpr std::size_t save_bytes_max = 64 << 10, inventories_at_once = 50, names_in_summary = 8;

  struct Options {
    bool events = true;
    Duration inventory_interval = std::chrono::hours(24);  // 0: none
    std::size_t series_max = 200;                          // of millrace_device_last_seen_seconds
    std::uint64_t boot_id = 0;
    std::function<bool()> clock_vouched = [] { return true; };
  };

  Liveness(Loop& loop, Log& log, Intake& intake, DeviceTable& devices, LogAge& age, Metrics& metrics,
           Options options);

  // What was kept, before anybody speaks.
  void load();
  // Every few seconds. `hears`: the input is there and has its connection.
  void look(const std::function<bool(const std::string& input)>& hears);
  // Before the log is stopped.
  void save();

 private:
  // Of an input: how many events it may have now, and who had none.
  struct Unasked {
    std::uint64_t devices = 0;
    std::string first;  // names
  };
  struct Share {
    double events = events_at_once;
    Instant at, told;
    std::map<std::string, Unasked> untold;  // by event
    std::optional<Instant> deaf_since;      // the input has no connection
    bool deaf_told = false;
  };
  bool note_hearing(const std::string& input, bool hears);
  void change(const std::string& input, const DeviceTable::Change& change);
  void summarize(const std::string& input, Share& share);
  bool tell_inventory(const DeviceTable::Inventory& inventory, std::size_t& left);
  void report(const std::string& input, std::string_view device, std::string metric, Value value,
              std::string unit, Tags tags);
  std::int64_t passed_us(Instant at) const { return age_us_ - (loop_.now() - at).count() / 1000; }
  Instant at_passed(std::int64_t us) const { return loop_.now() + std::chrono::microseconds(us - age_us_); }
  Bytes encode(const std::string& input, std::size_t chunk) const;
  void decode(std::string_view input, std::size_t chunk, BytesView bytes);
  void save(DeviceTable::Dirty least, std::size_t bytes_max);
  void forget_inputs(WriteSet& set) const;
  void show();

  Loop& loop_;
  Log& log_;
  Intake& intake_;
  DeviceTable& devices_;
  LogAge& age_;
  const Options options_;
  std::map<std::string, Share> shares_;
  std::int64_t age_us_ = 0;  // as of now, while something is told or kept
  Instant saved_changed_, saved_heard_;
  bool reported_ = false, no_room_told_ = false;
  Metrics& metrics_;
  Counter& events_;
  Counter& in_summaries_;
  Counter& saved_bytes_;
  Gauge& left_out_;
  std::set<std::pair<std::string, std::string>> shown_;  // series: input, device
  Metrics::Hook scrape_;
};

}  // namespace millrace
