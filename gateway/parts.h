// What runs under a name of the configuration: an input with its way into the pipeline, an uplink with its
// share of a log. What a part was given goes with it. On the loop.
#pragma once

#include <functional>
#include <memory>

#include "base/handle.h"
#include "base/logger.h"
#include "ingest/driver.h"
#include "pipeline/pipeline.h"
#include "registry.h"
#include "slots.h"
#include "uplink/shipper.h"

namespace millrace {

class InputPart {
 public:
  // `plan` was checked: its routes compile.
  InputPart(const InputPlan& plan, const SouthParts& south, Pipeline& pipeline)
      : pipeline_(pipeline),
        router_(plan.decode ? nullptr : std::make_shared<const Router>(Router::make(plan.routes).value())),
        routes_(router_ ? pipeline.set_input(plan.name, router_, plan.retained_once)
                        : pipeline.set_input(plan.name, plan.decode, plan.retained_once)),
        driver_(plan.make(south)),
        voice_(pipeline.set_voice(
            plan.name, [this](const Saying& reply) { return driver_->say(reply.topic, reply.payload); })) {}

  void start() {
    if (Status status = driver_->start(); !status.ok())
      LOG_ERROR("input ", driver_->name(), ": ", status.detail());
    if (pipeline_.pressed()) driver_->pause();  // the others were told before it came
  }
  void stop(std::function<void()> done) { driver_->stop(std::move(done)); }
  Driver& driver() { return *driver_; }
  // Null: its payloads are decoded without routes.
  const Router* router() const { return router_.get(); }

 private:
  Pipeline& pipeline_;
  std::shared_ptr<const Router> router_;
  Handle routes_;
  std::unique_ptr<Driver> driver_;
  Handle voice_;
};

class UplinkPart {
 public:
  UplinkPart(Loop& loop, Log& log, Metrics& metrics, Rng& rng, const Config& config, const UplinkPlan& plan,
             ShipperOptions options)
      : uplink_(plan.make({loop, rng, config.gateway.name, log.epoch(), config.log.path, metrics})),
        shipper_(loop, log, *uplink_, metrics, rng, std::move(options)),
        unverified_(plan.unverified) {}

  void start() {
    if (Status status = shipper_.start(); !status.ok())
      LOG_ERROR("uplink ", shipper_.name(), ": ", status.detail());
  }
  void stop(std::function<void()> done) { shipper_.stop(std::move(done)); }
  Shipper& shipper() { return shipper_; }
  const Shipper& shipper() const { return shipper_; }
  bool unverified() const { return unverified_; }

 private:
  std::unique_ptr<Uplink> uplink_;
  Shipper shipper_;
  const bool unverified_;
};

using Inputs = Slots<InputPlan, InputPart>;
using Uplinks = Slots<UplinkPlan, UplinkPart>;

}  // namespace millrace
