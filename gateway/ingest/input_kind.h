// A kind of input: what stands of it in the configuration (config/kind.h), and how that becomes a driver.
// Each kind is a file in its driver's folder and a line in the build; nothing else knows it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/rng.h"
#include "base/trial.h"
#include "config/load.h"
#include "config/routes.h"
#include "ingest/clock_trust.h"
#include "ingest/connection_shares.h"
#include "ingest/decode.h"
#include "ingest/driver.h"
#include "ingest/inbox.h"
#include "ingest/intake.h"
#include "ingest/keeper.h"
#include "loop/loop.h"
#include "net/needed_files.h"

namespace millrace {

// What drivers are made from.
struct SouthParts {
  Loop& loop;
  Rng& rng;
  Inbox& inbox;
  Intake& intake;
  const ClockTrust& trust;
  Metrics& metrics;
  ConnectionShares& shares;
  std::string state_dir;                    // what must outlive a reboot and is no data: beside the log
  std::function<std::int64_t()> passed_us;  // the time that has passed for the log: goes on over restarts
};

class Framer;

struct InputPlan {
  std::string name;
  PartConfig config;  // it is another plan when this is another
  std::vector<std::string>
      claims;            // what one at a time may have: a port, a client identifier at a broker, a tty
  NeededFiles needs;     // without which it cannot start
  bool listens = false;  // devices connect to it: its certificate is a server's
  bool retained_once = false;
  std::vector<RouteConfig> routes;
  Decode decode;                              // instead of routes, where its payloads are nobody else's
  std::vector<std::string> servers, filters;  // what it subscribes to at MQTT brokers
  std::function<std::unique_ptr<Driver>(const SouthParts&)> make;
  std::function<std::unique_ptr<Framer>()> make_framer;  // of a stream of bytes; null: payloads come whole
};

struct InputKind : PartKind {
  InputPlan (*plan)(const void* values) = nullptr;
  // Errors that the words alone do not show; that its routes compile is looked at for all kinds.
  void (*check)(const void* values, const PartConfig&, LoadedConfig&) = nullptr;
  // Opens ports and connections, and closes them; blocks. `beside`: a daemon with this configuration runs, so
  // what it holds must not be taken from it.
  void (*try_online)(const void* values, bool beside, std::vector<Trial>&) = nullptr;
  // Of what its inputs leave in the log. `keep_max`: how long what has no end of its own.
  std::unique_ptr<Keeper> (*keeper)(const SouthParts&, Duration keep_max) = nullptr;
};

}  // namespace millrace
