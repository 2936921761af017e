// The gateway's clock: whether it is trusted and why (ingest/clock_trust.h), what was done to it
// (ingest/clock_watch.h), and since when it must be at least this late, by which certificates are judged.
// Kept in the log what the next process has to know. On the loop.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "clock_notes.h"
#include "ingest/clock_trust.h"
#include "ingest/clock_watch.h"
#include "log/sqlite_log.h"
#include "loop/loop.h"

namespace millrace {

class GatewayClock {
 public:
  explicit GatewayClock(Loop& loop) : loop_(loop) {}

  // Once the log is open; commits nothing. `wait`: for how long after the boot uplinks wait for it to be
  // trusted.
  void begin(SqliteLog& log, const std::string& source, Duration wait, std::uint64_t boot_id);
  // Now and then, from when everybody has subscribed and before anything is taken: asks the kernel.
  void judge();
  // Whether it was set is looked at here, which is cheap, and told.
  void look();

  const ClockTrust& trust() const { return trust_; }
  const std::string& why() const { return why_; }  // it is trusted, or not
  const ClockWatch& watch() const { return watch_; }
  bool settled() const { return watch_.settled(loop_.now()); }
  std::optional<WallTime> for_ages();
  // What is known of stamps from when it was not trusted.
  const BootTimes& times() const { return notes_->times(); }
  // How long what was stamped so still waits for it; 0: it is trusted, or has had its time. The monotonic
  // clock counts from the boot: a restart of the process begins no new wait.
  Duration wait_left() const;
  void set_wait(Duration wait) { wait_ = wait; }

 private:
  void decide();

  Loop& loop_;
  SqliteLog* log_ = nullptr;
  ClockSource source_ = ClockSource::kernel;
  std::uint64_t boot_id_ = 0;
  ClockTrust trust_;
  ClockWatch watch_;
  std::unique_ptr<ClockNotes> notes_;
  Duration wait_{0};
  std::string why_;
  WallTime not_before_;  // it was this late once, before we started: by a settled clock, or the build
  WallTime known_;       // and this late, when our own clock said `known_at_`
  Instant known_at_;
};

}  // namespace millrace
