#include "sim/fleet/site.h"

#include <algorithm>

namespace millrace::sim {

SerialSite::SerialSite(Loop& loop, Rng& rng, SiteAccount& account, const SiteSpec& spec) {
  for (const BusSpec& bus : spec.buses) devices_.push_back(make_bus(loop, rng, account, bus));
  for (const TalkerSpec& talker : spec.talkers) devices_.push_back(make_talker(loop, rng, account, talker));
  for (const TalkerSpec& meter : spec.meters) devices_.push_back(make_meter(loop, rng, account, meter));
  for (const TalkerSpec& one : spec.microcontrollers)
    devices_.push_back(make_microcontroller(loop, rng, account, one));
}

Status SerialSite::open() {
  for (const auto& device : devices_) {
    if (Status status = device->open(); !status.ok()) return status;
  }
  return {};
}

bool SerialSite::heard() {
  bool all = true;
  for (const auto& device : devices_) all = device->heard() && all;
  return all;
}

void SerialSite::start() {
  for (const auto& device : devices_) device->start();
}

void SerialSite::end() {
  for (const auto& device : devices_) device->end();
}

bool SerialSite::finished() const {
  return std::ranges::all_of(devices_, [](const auto& device) { return device->finished(); });
}

}  // namespace millrace::sim
