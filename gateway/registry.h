// The one place that knows every driver and every uplink by name: a new one is a row here. Also what is checked of a
// configuration beyond its words: routes that compile, a subscription that would hear our own uplink.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/rng.h"
#include "config/load.h"
#include "decode/router.h"
#include "ingest/clock_trust.h"
#include "ingest/driver.h"
#include "ingest/inbox.h"
#include "ingest/intake.h"
#include "loop/loop.h"
#include "uplink/shipper.h"
#include "uplink/uplink.h"

namespace millrace {

// What drivers are made from.
struct SouthParts {
  Loop& loop;
  Rng& rng;
  Inbox& inbox;
  Intake& intake;
  const ClockTrust& trust;
  Metrics& metrics;
  std::string state_dir;  // what must outlive a reboot and is no data: beside the log
};

struct InputPlan {
  std::string name;
  std::string fingerprint;  // changes with the input's configuration
  bool retained_once = false;
  std::vector<RouteConfig> routes;
  std::function<std::unique_ptr<Driver>(const SouthParts&)> make;
};

struct UplinkPlan {
  std::string name;
  std::string fingerprint;
  ShipperOptions shipper;
  std::function<std::unique_ptr<Uplink>(Loop&, Rng&, const std::string& gateway, std::uint64_t epoch)> make;
};

std::vector<InputPlan> plan_inputs(const Config& config);
std::vector<UplinkPlan> plan_uplinks(const Config& config);

// Adds to `loaded.errors` what only the whole can show.
void check_whole(LoadedConfig& loaded);

}  // namespace millrace
