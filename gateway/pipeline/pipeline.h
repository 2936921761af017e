// From the inbox to the log: takes arrivals, decodes them by their input's routes, and chooses lanes. A
// payload is decoded as far as it is good; what cannot be decoded is a dead letter (dead_letters.h), and
// never wedges an input. Windows listen to the log by themselves (windows/window_consumer.h). On the loop.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/metrics.h"
#include "decode/router.h"
#include "ingest/decode.h"
#include "ingest/intake.h"
#include "ingest/mapped_inbox.h"
#include "log/log.h"
#include "loop/loop.h"
#include "pipeline/dead_letters.h"
#include "pipeline/input_memory.h"
#include "pipeline/report_filter.h"
#include "pipeline/stamp_order.h"
#include "windows/window_consumer.h"

namespace millrace {

struct PipelineOptions {
  bool forward_raw = true;    // some uplink takes the raw lane
  std::uint64_t boot_id = 0;  // of this boot: what arrives before the clock is set can be dated later by it
  WindowOptions windows;
  Duration look_interval = std::chrono::milliseconds(5);
  std::size_t report_state_max = 4 << 20;  // bytes of what report by exception remembers
  // Sees what became of each payload: its records, and what of it could not be read.
  std::function<void(const Arrival&, const std::vector<Record>&, const Status&, const Unread&)> witness;
};

class Pipeline final : public Intake {
 public:
  Pipeline(Loop& loop, MappedInbox& inbox, Log& log, Metrics& metrics, PipelineOptions options);

  // How an input's payloads become records, until the handle goes; what the inbox holds of it at that moment
  // is still decoded so. An input that comes back under the same name decodes what it brings itself. The
  // first does what Router::decode promises.
  Handle set_input(const std::string& name, Decode decode, bool retained_once);
  Handle set_input(const std::string& name, Router router, bool retained_once);
  // How what formats of the input say back reaches its devices, until the handle goes: false, it does not.
  // Called on the loop, never inside a call of the driver's own.
  using Say = std::function<bool(const Saying&)>;
  Handle set_voice(const std::string& name, Say say);
  // The payload of an input's dead letter, decoded with today's configuration as it arrived then: time,
  // clock, publisher. Of one that was read but for some values, these and no others: each value of a payload
  // enters once, under the names that held when it did. The records join `set`, and so does a new letter
  // where some values still cannot be read. Not ok: nothing came of it.
  Status decode_again(const Record& letter, WriteSet& set);
  void set_forward_raw(bool forward) { options_.forward_raw = forward; }
  // Inputs should pause (once, when the log is about to be full) or may go on (whenever there is room):
  // idempotent.
  void on_pressure(std::function<void(bool pause)> changed) { pressure_changed_ = std::move(changed); }
  // Whether inputs are to pause: for one that starts meanwhile.
  bool pressed() const { return pressed_; }

  // ---- the Intake: what drivers on the loop offer joins the open group without passing through the inbox
  Handle attach(Peer peer) override;
  bool offer(const Arrival& arrival) override;
  void note_duplicate(std::string_view input) override;
  void report(Record event) override;
  Status put_state(std::string name, Bytes bytes) override;
  std::optional<Bytes> state(std::string_view name) const override;
  std::vector<std::string> states(std::string_view prefix) const override;
  Ticket commit(std::optional<Duration> within) override;
  std::size_t room() const override { return pressed_ ? 0 : log_.room(); }

  // Restores windows, then begins to take. `ready` runs once that is done.
  void start(std::function<void()> ready);
  // Takes what the inbox holds (inputs have stopped) and a last snapshot; `done` when it is committed or
  // cannot be.
  void drain(std::function<void()> done);

  const WindowEngine& windows() const { return windows_.engine(); }

 private:
  // One configuration of an input. `through`: the last ticket of the inbox that is its; what was put later is
  // its successor's.
  struct Decoder {
    std::uint64_t id;
    Decode decode;
    bool retained_once;
    Ticket through = UINT64_MAX;
    bool current() const { return through == UINT64_MAX; }
  };
  struct Input {
    std::deque<Decoder> decoders;  // the oldest first; the last one is in the configuration, if any is
    StampOrder stamps;
    std::unordered_map<std::uint64_t, std::uint64_t> retained;  // topic digest -> payload digest
    Counter* payloads;
    Counter* records;
    Counter* undecodable;
    Counter* retained_dropped;
    Counter* no_value;
    Counter* ignored;
    Counter* latin1;
    Counter* suppressed;
    bool latin1_told = false;
    std::shared_ptr<InputMemory> memory;  // of the formats that have one; outlives their configurations

    const Decoder* decoder_of(Ticket ticket) const;
  };

  void look();
  void look_again_soon();
  bool take_some(WriteSet& set);
  Input& known_input(const std::string& name);
  void end_decoder(const std::string& name, std::uint64_t id);
  void drop_decoders(Ticket done_through);
  void bury_unknown(const Arrival& arrival, WriteSet& set);
  // `ticket`: of the inbox; UINT64_MAX: offered just now.
  void decode(Arrival arrival, Ticket ticket, bool crashed, WriteSet& set);
  Detail boot_of(const Arrival& arrival) const;
  void take_beside(const std::string& name, Input& input, const Arrival* undated, WriteSet& set);
  void save_memories(bool offered, WriteSet& set);
  void fit_states(WriteSet& set);
  void drop_old_memories();
  void admit(std::vector<Record>& records, WriteSet& set);
  void weigh(Input& input, const Arrival& arrival);
  void show_reports();
  static void keep_boot(const Detail& of, std::vector<Record>& records);
  Record stamped(Record record) const;
  void report_unclean_start();
  bool seen_retained(Input& input, const Arrival& arrival, WriteSet& set);
  void count(Input& input, const Arrival& arrival);
  void check_pressure();
  void tell_peers(bool durable);

  Loop& loop_;
  MappedInbox& inbox_;
  Log& log_;
  Metrics& metrics_;
  PipelineOptions options_;
  WindowConsumer windows_;
  std::map<std::string, Input, std::less<>> inputs_;
  std::map<std::string, std::pair<std::uint64_t, Say>, std::less<>> voices_;
  std::function<void(bool)> pressure_changed_;
  std::function<void()> drained_;

  std::map<std::uint64_t, std::shared_ptr<const Peer>> peers_;
  std::uint64_t next_id_ = 1;       // of peers and decoders
  WriteSet offered_;                // since the last commit()
  std::size_t records_before_ = 0;  // that the last commit() took
  Ticket ticket_ = 0, durable_through_ = 0;
  Ticket failed_ = UINT64_MAX;  // the first one whose commit failed
  bool states_told_ = false;
  bool busy_ = false, telling_ = false;

  std::vector<Record> decoded_;
  Unread unread_;             // of the same payload
  std::vector<Worth> worth_;  // of each of its records; empty: all are forwarded
  ReportFilter reports_;
  std::unique_ptr<Timer> look_timer_;
  bool running_ = false, looking_ = false, pressed_ = false;
  Ticket taken_through_ = 0, released_seen_ = 0;
  // inputs that are not configured, and had something in the inbox
  std::set<std::string, std::less<>> told_unknown_;

  // The ledger of the south: taken = admitted + filtered + duplicate + undecodable, in records; a payload
  // that could not be decoded, or not wholly, counts as one, and so does one that is a duplicate, is ignored
  // or has no value.
  Counter& taken_;
  Counter& admitted_;
  Counter& filtered_;
  Counter& duplicate_;
  Counter& undecodable_;
  std::uint64_t redelivered_ = 0;
  DeadLetters letters_;
  Gauge& inbox_fill_;
  Metrics::Hook scrape_;
};

}  // namespace millrace
