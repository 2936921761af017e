// What of an uplink's configuration is the shipper's: the same for every kind.
#pragma once

#include "plugin.h"

namespace millrace {

template <typename UplinkConfig>
UplinkPlan plan_shipping(const UplinkConfig& c) {
  UplinkPlan plan;
  plan.name = plan.shipper.name = c.name;
  plan.shipper.drain = c.drain;
  plan.shipper.start_oldest = c.start_oldest;
  plan.shipper.initial_interval = c.initial_interval;
  plan.shipper.max_interval = c.max_interval;
  return plan;
}

}  // namespace millrace
