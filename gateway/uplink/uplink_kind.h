// A kind of uplink: what stands of it in the configuration (config/kind.h), and how that becomes an uplink.
// Each kind is a file in its own folder and a line in the build; nothing else knows it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/metrics.h"
#include "base/rng.h"
#include "base/trial.h"
#include "config/load.h"
#include "loop/loop.h"
#include "net/needed_files.h"
#include "uplink/shipper.h"
#include "uplink/shipping.h"
#include "uplink/uplink.h"

namespace millrace {

// What uplinks are made from.
struct NorthParts {
  Loop& loop;
  Rng& rng;
  const std::string& gateway;
  std::uint64_t epoch;           // of the log it ships from
  const std::string& state_dir;  // what must outlive a reboot and is no data: beside the log
  Metrics& metrics;              // they outlive the uplink
};

struct UplinkPlan {
  std::string name;
  PartConfig config;  // it is another plan when this is another
  std::vector<std::string>
      claims;         // what one at a time may have: a client identifier at a broker, a transactional id
  NeededFiles needs;  // without which it cannot start
  std::vector<std::string> servers, topics;  // where a subscriber of MQTT brokers would hear it
  bool unverified = false;                   // whoever answers is taken for its server
  ShipperOptions shipper;
  std::function<std::unique_ptr<Uplink>(const NorthParts&)> make;
};

struct UplinkKind : PartKind {
  UplinkPlan (*plan)(const void* values, const std::string& gateway) = nullptr;
  // Errors that the words alone do not show.
  void (*check)(const void* values, const PartConfig&, LoadedConfig&) = nullptr;
  // The uplink that keeps this file beside the log, by its name in the file's; empty: none of this kind.
  std::string_view (*keeps)(std::string_view file) = nullptr;
  // Opens connections and topics, and closes them; blocks. `beside`: a daemon with this configuration runs,
  // so what it holds must not be taken from it.
  void (*try_online)(const void* values, const std::string& gateway, bool beside,
                     std::vector<Trial>&) = nullptr;
};

// What stands between the two of a file's name; empty where it is called otherwise.
inline std::string_view name_between(std::string_view before, std::string_view file,
                                     std::string_view behind) {
  if (file.size() < before.size() + behind.size() || !file.starts_with(before) || !file.ends_with(behind))
    return {};
  return file.substr(before.size(), file.size() - before.size() - behind.size());
}

// The shipper's part of a plan.
inline UplinkPlan plan_shipping(const ShippingConfig& c) {
  UplinkPlan plan;
  plan.name = plan.shipper.name = c.name;
  plan.shipper.drain = c.drain;
  plan.shipper.start_oldest = c.start_oldest;
  plan.shipper.standby_of = c.standby_of;
  plan.shipper.standby_after = c.standby_after;
  plan.shipper.initial_interval = c.initial_interval;
  plan.shipper.max_interval = c.max_interval;
  return plan;
}

}  // namespace millrace
