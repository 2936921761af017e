// From the inbox to the log: takes arrivals in portions and commits what is made of them, pauses inputs when
// there is no room, and reports a start that lost something. What becomes of one payload is in decoding.h,
// which inputs there are in known_inputs.h, what drivers on the loop offer in log_intake.h. Windows listen to
// the log by themselves (windows/window_consumer.h). On the loop.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "base/metrics.h"
#include "decode/router.h"
#include "ingest/decode.h"
#include "ingest/intake.h"
#include "ingest/mapped_inbox.h"
#include "log/log.h"
#include "loop/loop.h"
#include "pipeline/decoding.h"
#include "pipeline/known_inputs.h"
#include "pipeline/log_intake.h"
#include "pipeline/pressure.h"
#include "windows/window_consumer.h"

namespace millrace {

struct PipelineOptions {
  bool forward_raw = true;    // some uplink takes the raw lane
  std::uint64_t boot_id = 0;  // of this boot: what arrives before the clock is set can be dated later by it
  WindowOptions windows;
  Duration look_interval = std::chrono::milliseconds(5);
  Duration patient_interval = std::chrono::milliseconds(50);  // where nothing came that is not patient
  std::size_t report_state_max = 4 << 20;                     // bytes of what report by exception remembers
  // What is known of stamps that nobody vouched for; none: they stay as they are.
  const BootTimes* boots = nullptr;
  Decoding::Witness witness;
};

class Pipeline {
 public:
  Pipeline(Loop& loop, MappedInbox& inbox, Log& log, Metrics& metrics, PipelineOptions options);

  // How an input's payloads become records, until the handle goes; what the inbox holds of it at that moment
  // is still decoded so. An input that comes back under the same name decodes what it brings itself. The
  // first does what Router::decode promises.
  Handle set_input(const std::string& name, Decode decode, bool retained_once) {
    return inputs_.add(name, std::move(decode), retained_once);
  }
  Handle set_input(const std::string& name, std::shared_ptr<const Router> router, bool retained_once) {
    return inputs_.add(name, std::move(router), retained_once);
  }
  Handle set_input(const std::string& name, Router router, bool retained_once) {
    return set_input(name, std::make_shared<const Router>(std::move(router)), retained_once);
  }
  // How what formats of the input say back reaches its devices, until the handle goes: false, it does not.
  // Called on the loop, never inside a call of the driver's own.
  Handle set_voice(const std::string& name, KnownInputs::Say say) {
    return inputs_.set_voice(name, std::move(say));
  }
  // The payload of an input's dead letter, decoded with today's configuration as it arrived then: time,
  // clock, publisher. Of one that was read but for some values, these and no others: each value of a payload
  // enters once, under the names that held when it did. The records join `set`, and so does a new letter
  // where some values still cannot be read. Not ok: nothing came of it.
  Status decode_again(const Record& letter, WriteSet& set) { return decoding_.decode_again(letter, set); }
  void set_forward_raw(bool forward) { decoding_.set_forward_raw(forward); }
  // Inputs should pause (once, when the log is about to be full) or may go on (whenever there is room):
  // idempotent.
  void on_pressure(std::function<void(bool pause)> changed) { pressure_.on_change(std::move(changed)); }
  // Whether inputs are to pause: for one that starts meanwhile.
  bool pressed() const { return pressure_.pressed(); }
  // The way in for drivers on the loop: it joins the open group without passing through the inbox.
  Intake& intake() { return intake_; }
  // The gateway's own word: an event of the alarm lane that no input reports, committed at once.
  void tell(std::string metric, std::string words);
  const WindowEngine& windows() const { return windows_.engine(); }

  // Restores windows, then begins to take. `ready` runs once that is done.
  void start(std::function<void()> ready);
  // Takes what the inbox holds (inputs have stopped) and a last snapshot; `done` when it is committed or
  // cannot be, or after `within`: the rest stays in the inbox, and is found at the next start.
  void drain(Duration within, std::function<void()> done);

 private:
  void report_unclean_start();
  void look();
  bool comes_often();
  void look_again_soon();
  void doze();
  bool take_some(WriteSet& set);
  void observe_commit(const Log::GroupTimes& group);

  Loop& loop_;
  MappedInbox& inbox_;
  Log& log_;
  Metrics& metrics_;
  PipelineOptions options_;
  WindowConsumer windows_;
  KnownInputs inputs_;
  Pressure pressure_;
  Decoding decoding_;
  LogIntake intake_;
  std::function<void()> drained_;
  std::unique_ptr<Timer> look_timer_, doze_timer_, drain_timer_;
  bool running_ = false, looking_ = false;
  bool patient_ = false;            // all that the last look took
  std::size_t records_before_ = 0;  // that it made of it
  Ticket taken_through_ = 0, released_seen_ = 0;
  Instant took_at_;  // when a look found something
  std::uint64_t redelivered_ = 0;
  Gauge& inbox_fill_;
  std::array<Histogram*, lane_count> commit_seconds_{};  // by lane, once it has something
  Metrics::Hook scrape_;
};

}  // namespace millrace
