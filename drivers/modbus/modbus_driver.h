// A Modbus bus as an input: the loop's side. A worker of the bus's own polls (poller.h), in rounds of a
// second, of some 200 ms where something happened: between two the loop hears of it. stop() goes through the
// worker: it waits for a question that is on its way, at most a device's timeout. Read only: nothing is ever
// written to a plant. On the loop.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "drivers/modbus/poller.h"
#include "ingest/driver.h"
#include "ingest/input_kind.h"

namespace millrace {

class ModbusDriver final : public Driver {
 public:
  ModbusDriver(const SouthParts& parts, ModbusInputConfig config);

  const std::string& name() const override { return config_.name; }
  Status start() override;
  void pause() override;
  void resume() override;
  void stop(std::function<void()> done) override;
  // Names the devices that do not answer; of who was not asked yet it says nothing.
  std::string health() const override;
  bool healthy() const override { return !stopping_ && trouble_.empty() && dead_.empty(); }
  bool needs_person() const override { return !trouble_.empty() && needs_person_; }
  bool hears() const override { return !stopping_ && trouble_.empty(); }

 private:
  void run();
  void ran(const Poller::Round& round);
  void report(const Poller::Round::Change& change);
  void report(const Poller::Round::Refusal& refusal);
  Record event_of(std::size_t device, const char* metric, Value value, WallTime at) const;

  Loop& loop_;
  Intake& intake_;
  const ClockTrust& trust_;
  Metrics& registry_;
  ModbusInputConfig config_;
  std::string worker_;
  std::vector<Slave> slaves_;
  BusMetrics metrics_;
  Gauge& up_;
  std::shared_ptr<Poller> poller_;  // the worker's while it runs
  std::unique_ptr<Timer> timer_;
  bool started_ = false, running_ = false, paused_ = false, stopping_ = false;
  std::string trouble_ = "not connected yet";
  bool needs_person_ = false;  // to end trouble_
  std::set<std::string> answering_, dead_;
};

}  // namespace millrace
