// What every uplink has in its configuration, whatever it speaks: what it sends, in which order, how fast,
// and how it waits.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "config/keys.h"

namespace millrace {

// What an uplink sends, in which order and how fast.
struct DrainConfig {
  std::vector<std::string> lanes = {"alarm", "window", "raw"};
  std::vector<std::pair<std::string, std::int64_t>> priority = {
      {"alarm", 0}, {"window", 1}, {"raw", 2}};  // lower goes first
  bool newest_first = false;                     // what came after the last reconnect goes before the backlog
  std::string rate;                              // as it is said: "64KiB/s", "500 records/s"
  double rate_bytes = 0, rate_records = 0;       // of backlog, a second; 0: no limit
  Duration max_age{0};                           // older records are not sent; 0: whatever their age
  Duration replay_after = std::chrono::seconds(10);  // sent later than this: marked as replay

  bool sends(const std::string& lane) const;
};

struct ShippingConfig {
  std::string name;
  DrainConfig drain;
  bool start_oldest = false;
  std::string standby_of;                            // sends instead of this uplink, and from its cursor
  Duration standby_after = std::chrono::minutes(1);  // that one is down for longer
  Duration connect_timeout = std::chrono::seconds(10);
  Duration send_timeout = std::chrono::seconds(30);
  Duration initial_interval = std::chrono::milliseconds(500), max_interval = std::chrono::minutes(1);
  std::size_t batches_in_flight = 4;   // its key is "window"
  std::size_t batch_size = 256 << 10;  // as it lies in the log

  // Whether readings go this way as long as all is well.
  bool usually_sends_raw() const { return standby_of.empty() && drain.sends("raw"); }
};

// Of ShippingConfig, but for name, window and send_timeout, which mean something else to each kind.
extern const Shape shipping_shape;
constexpr Duration send_timeout_min = std::chrono::seconds(1);
constexpr std::int64_t batches_in_flight_max = 64;

}  // namespace millrace
