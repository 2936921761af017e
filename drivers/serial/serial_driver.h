// Reads frames from a serial port (a pty, a connection to a serial server), and asks for them where the
// device must be asked. The port is opened by its configured name at each try, so that a stable name under
// /dev/serial/by-id finds the adapter again after it was unplugged; read() == 0 or EIO is the unplugging. A
// frame cannot be asked for again: it goes into the inbox, and what finds no room there is lost and counted.
// Frames that their sender keeps until they are acknowledged go another way (acknowledger.h). Where the
// stream may begin in the middle of a frame (a port that speaks as it is opened, bytes that the kernel had no
// room for) no rest of one is taken for a whole one; what the port's driver has lost takes the frame that
// lacks it, and where no check tells which one that is, all that is read with it. A stream that does not end
// is gathered: read every 100 ms, or every 1,280 bytes where that is sooner by the port's speed (by TCP every
// 100 ms), not where somebody waits for what we say (requests, acknowledgements), a pause has a meaning, or
// more comes than the speed says. Runs on the loop; never blocks.
#pragma once

#include <memory>
#include <string>

#include "base/backoff.h"
#include "base/metrics.h"
#include "decode/framer.h"
#include "drivers/serial/acknowledger.h"
#include "drivers/serial/hearing.h"
#include "drivers/serial/line_marks.h"
#include "drivers/serial/mbus_answer.h"
#include "drivers/serial/serial_config.h"
#include "drivers/serial/serial_port.h"
#include "drivers/serial/serial_server.h"
#include "drivers/serial/sign_on.h"
#include "ingest/clock_trust.h"
#include "ingest/driver.h"
#include "ingest/inbox.h"
#include "loop/loop.h"

namespace millrace {

// What is counted of a port.
struct SerialCounters {
  SerialCounters(Metrics& metrics, const std::string& input);
  Counter &frames, &discarded_bytes, &bad_frames, &dropped_frames;
  Counter &framing_errors, &parity_errors, &overruns, &breaks;
  Counter &timeouts, &late_answers, &cut_answers, &unplugged, &holes;
  Gauge& up;
};

class SerialDriver final : public Driver {
 public:
  SerialDriver(Loop& loop, Rng& rng, Inbox& inbox, Intake& intake, const ClockTrust& trust, Metrics& metrics,
               SerialInputConfig config);

  const std::string& name() const override { return config_.name; }
  Status start() override;
  void pause() override;
  void resume() override;
  void stop(std::function<void()> done) override;
  std::string health() const override;
  bool healthy() const override { return hears() && hearing_.trouble(loop_.now()).empty(); }
  bool hears() const override { return trouble_.empty(); }

 private:
  // What comes first tells whether the stream began before we did.
  enum class Hush : std::uint8_t {
    none,
    listening,  // what comes now is of a frame that has begun
    throwing    // bytes were lost, and where among those that come nobody knows: they are thrown away
  };
  void open();
  void opened(Result<SerialPort> port);
  void rest();
  void begin_hush(Hush hush);
  void end_hush();
  void tell_open();
  Duration hush_time() const;
  void drain();
  bool overran();
  void throw_away(BytesView bytes);
  void close(const std::string& why);
  void unplugged();
  void watch();
  void listen();
  Duration gather_time() const;
  void gather();
  bool took_all(std::size_t came) const;
  std::size_t read_some(std::size_t most = SIZE_MAX);
  void take_bytes(BytesView bytes);
  void push(BytesView bytes, bool wrong = false);
  void wait_for_pause();
  void take_frame(const Framer::Frame& frame);
  void keep(const Framer::Frame& frame);
  void keep_gathered(bool over);
  void store(const Arrival& arrival);
  void acknowledge(BytesView acknowledgement);
  void ask();
  void ask_for_more(const std::string& request);
  void send(const std::string& bytes);
  bool take_sign_on(BytesView& bytes);
  void speak_at(int baud);
  void give_up_asking();
  void look();
  void count_errors();
  void show_modem_lines();

  Loop& loop_;
  Rng& rng_;
  Inbox& inbox_;
  const ClockTrust& trust_;
  Metrics& metrics_;
  SerialInputConfig config_;
  std::unique_ptr<Framer> framer_;
  Backoff backoff_;
  std::unique_ptr<ServerDial> dial_;
  SerialPort port_;
  LineMarks marks_;
  std::optional<LineErrors> errors_;  // when they were looked at last
  std::uint64_t overruns_seen_ = 0;   // where a stream goes on behind a hole, to be found at once
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<Timer> reopen_timer_, pause_timer_, ask_timer_, answer_timer_, look_timer_, speed_timer_,
      hush_timer_, gather_timer_;
  SignOn sign_on_;
  MbusAnswer answer_;
  int baud_ = 0;          // as it is set now
  bool outruns_ = false;  // more comes than that says
  std::string echo_;      // of the request, as far as it has not come yet
  // of the framer's counts: a new input of this name counts on
  std::uint64_t discarded_seen_ = 0, bad_seen_ = 0;
  std::size_t next_request_ = 0, asked_ = 0;  // which is sent next, and which was
  WallTime asked_at_;
  Instant next_ask_, last_byte_;
  WallTime last_byte_wall_;  // of all that came in one read
  bool asking_ = false, answered_ = false;
  bool paused_ = false, stopping_ = false, dropping_ = false;
  Hush hush_ = Hush::none;
  std::string trouble_ = "not open yet";
  Hearing hearing_;
  // It was said that what comes cannot be read, is lost, or is what was asked.
  bool deaf_ = false, holes_told_ = false, echo_told_ = false;
  SerialCounters count_;
  std::unique_ptr<Acknowledger> acknowledger_;  // none: nobody is told anything
};

}  // namespace millrace
