// A fleet of MQTT devices: each reading is noted in the ledger, published at its time, and published again
// until the broker has acknowledged it, in order for each device. Devices share a number of connections. On
// the loop.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "base/rng.h"
#include "loop/loop.h"
#include "mqtt/paho/mqtt_connection.h"
#include "sim/fleet/ledger.h"
#include "sim/fleet/scenario.h"
#include "sim/fleet/series.h"

namespace millrace::sim {

class Fleet {
 public:
  Fleet(Loop& loop, Rng& rng, Ledger& ledger, const Series& series, FleetSpec spec);
  void start();
  void stop(std::function<void()> done);
  // Every reading has been made, published and acknowledged.
  bool finished() const;
  std::uint64_t malformed() const { return malformed_; }
  std::size_t connected() const;

 private:
  struct Message {
    std::size_t device;
    std::vector<std::uint64_t> readings;  // empty: malformed
    std::shared_ptr<const Bytes> payload;
    bool flying = false;
  };
  struct Link {
    std::unique_ptr<MqttConnection> connection;
    std::deque<std::shared_ptr<Message>> queue;  // in order; acknowledged ones leave
    std::size_t flying = 0;
  };

  void make_some();
  void make(std::size_t device, std::int64_t now_us);
  void pump(Link& link);
  std::string topic_of(std::size_t device) const;

  Loop& loop_;
  Rng& rng_;
  Ledger& ledger_;
  const Series& series_;
  FleetSpec spec_;
  std::vector<Link> links_;
  std::vector<std::int64_t> skew_us_;
  std::vector<std::vector<std::uint64_t>> batch_;  // array payloads: readings waiting for company
  std::unique_ptr<Timer> timer_;
  Instant started_;
  std::uint64_t made_ = 0, malformed_ = 0;
  bool making_ = false;
};

}  // namespace millrace::sim
