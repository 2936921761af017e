// Polls a bus: asks what the schedule says (by asker.h, which keeps old answers apart from new ones), and
// puts what came into the inbox.
//
// The way of a value: the reply as it came (reply.h) goes into the inbox, like a line of a serial port, and
// is decoded by today's rows on the loop. So a killed process loses nothing that was answered and nothing is
// doubled; order, clocks, dead letters, pausing and the ledger are those of every other input; and the only
// new machinery is a decoder in the input's plan.
//
// A device counts as away when it is silent failures_max times in a row; so do all, at once, where the port
// or connection cannot be opened again: nobody knows of any of them then. A connection on which somebody
// answered, and which then ends, is opened again at once: many devices end one that says nothing for a while.
// Some gateways end it whenever they are asked for a device they do not reach: what ends fresh ones twice,
// with an answer to somebody in between, counts as silent, and is no trouble of the bus. So that this is
// found out, who answered last is asked first after the bus had trouble.
//
// Lives on the bus's worker, which run() blocks; request_stop() and request_pause() from any thread.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/metrics.h"
#include "drivers/modbus/asker.h"
#include "drivers/modbus/bus_schedule.h"
#include "drivers/modbus/line.h"
#include "ingest/clock_trust.h"
#include "ingest/inbox.h"

namespace millrace {

// The counters of a bus, registered on the loop.
struct BusMetrics {
  BusMetrics(Metrics& metrics, const std::string& input, const std::vector<Slave>& slaves);
  Counter& polls;
  Counter& silent;
  Counter& exceptions;
  Counter& damaged;
  Counter& strays;
  Counter& drained;
  Counter& missed;
  Counter& dropped;
  Counter& splits;
  Counter& opens;
  Gauge& busy_seconds;
  std::vector<Gauge*> device_up;
};

class Poller {
 public:
  struct Parts {
    const Clock& clock;
    Inbox& inbox;
    const ClockTrust& trust;
  };
  // What the loop hears of a round.
  struct Round {
    struct Change {
      std::size_t device;
      bool up;
      std::string why;
      WallTime at;
    };
    // Of registers that a device refuses, and from when it no longer does (`none`).
    struct Refusal {
      std::size_t device;
      Span span;
      Exception exception;
      WallTime at;
    };
    Instant next;  // when to run again; the past: at once
    bool open = false;
    std::string trouble;          // of the bus; empty: none
    bool needs_person = false;    // to end it
    std::vector<Change> changes;  // of devices
    std::vector<Refusal> refusals;
  };

  Poller(Parts parts, const ModbusInputConfig& config, std::vector<Slave> slaves, std::unique_ptr<Line> line,
         std::shared_ptr<std::atomic<bool>> stopping, BusMetrics& metrics, std::uint64_t seed);

  // Asks until `until`, or until nothing is due for a while; ends early on a request to stop or pause, and
  // some 200 ms after it began where there is something to hear of.
  Round run(Instant until);
  void close() { line_->close(); }
  void request_stop() { *stopping_ = true; }
  void request_pause(bool pause) { paused_ = pause; }

 private:
  struct Refused {
    Span span;
    Instant last;
    bool gap;  // its rows were told bad, and had no value since
  };
  struct Silent {
    Span span;
    int times = 0;              // in a row, whatever else the device answered meanwhile
    int ends = 0;               // of connections on which nobody had answered before
    std::uint64_t answers = 0;  // of all, when it ended the first of those
  };
  struct State {
    Instant split_at;              // when its blocks were last cut; 0: they are whole
    std::vector<Refused> refused;  // whose exception was told
    std::vector<Silent> silent;
    bool down = false;  // told
  };

  bool open_line(Round& round);
  void fall(Round& round, const std::string& why, bool needs_person = false, bool unreachable = false);
  void lose_devices(Round& round, const std::string& why);
  void poll(const BusSchedule::Job& job, Round& round);
  void count_questions();
  void take(const BusSchedule::Job& job, const Reply& outcome, Duration cost, Round& round);
  void take_end(const BusSchedule::Job& job, const Reply& outcome, Duration cost, Round& round);
  void take_exception(const BusSchedule::Job& job, Exception exception, Round& round);
  void take_silence(const BusSchedule::Job& job, const Reply& outcome, Duration cost, Round& round);
  void take_data(const BusSchedule::Job& job, const Bytes& data, Round& round);
  void deliver(std::size_t device, const Block& block, const Bytes& pdu);
  Silent& silent_of(const BusSchedule::Job& job);
  bool tell_up(Round& round, std::size_t device);
  void tell_down(Round& round, std::size_t device, std::string why);
  std::vector<Block> plan(std::size_t device) const;
  PlanLimits limits_of(std::size_t device) const;
  std::vector<std::vector<Block>> plans() const;

  Parts parts_;
  ModbusInputConfig config_;
  std::vector<Slave> slaves_;
  std::unique_ptr<Line> line_;
  std::shared_ptr<std::atomic<bool>> stopping_;
  std::atomic<bool> paused_{false};
  BusMetrics& metrics_;
  Rng rng_;
  Backoff backoff_;
  BusSchedule schedule_;
  std::vector<State> states_;
  Asker asker_;
  Instant reopen_at_;
  static constexpr const char* never_open = "not connected yet";
  std::string trouble_ = never_open;
  bool needs_person_ = false;
  int silences_ = 0;       // in a row, whoever was asked
  int falls_ = 0;          // in a row, without an answer
  bool answered_ = false;  // by somebody, since it was opened
  std::uint64_t answers_ = 0;
  std::optional<BusSchedule::Job> witness_;  // what was answered last
  std::optional<BusSchedule::Job> first_;    // what is asked before anything that is due
  std::uint64_t missed_told_ = 0;
};

}  // namespace millrace
