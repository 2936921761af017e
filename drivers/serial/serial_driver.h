// Reads lines from a serial port (or a pty). The port is opened by its configured name at each try, so that a stable name
// under /dev/serial/by-id finds the adapter again after it was unplugged; read() == 0 or EIO is the unplugging. Runs on the
// loop; never blocks.
#pragma once

#include <memory>
#include <string>

#include "base/backoff.h"
#include "base/files.h"
#include "base/metrics.h"
#include "drivers/serial/serial_config.h"
#include "decode/line_framer.h"
#include "ingest/clock_trust.h"
#include "ingest/driver.h"
#include "ingest/inbox.h"
#include "loop/loop.h"

namespace millrace {

class SerialDriver final : public Driver {
 public:
  SerialDriver(Loop& loop, Rng& rng, Inbox& inbox, const ClockTrust& trust, Metrics& metrics, SerialInputConfig config);

  const std::string& name() const override { return config_.name; }
  Status start() override;
  void pause() override;
  void resume() override;
  void stop(std::function<void()> done) override;
  std::string health() const override { return trouble_.empty() ? "open" : trouble_; }
  bool healthy() const override { return trouble_.empty(); }

 private:
  void open();
  void close(const std::string& why);
  void read_ready();
  bool take_line(BytesView line);

  Loop& loop_;
  Rng& rng_;
  Inbox& inbox_;
  const ClockTrust& trust_;
  SerialInputConfig config_;
  LineFramer framer_;
  Backoff backoff_;
  Fd fd_;
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<Timer> reopen_timer_;
  bool paused_ = false, stopping_ = false;
  std::string trouble_ = "not open yet";
  Counter& lines_;
  Counter& discarded_;
  Counter& dropped_;
  Gauge& up_;
};

}  // namespace millrace
