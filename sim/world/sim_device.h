// A device that publishes numbered readings to an endpoint at QoS 1 or 2, MQTT 3.1.1, from one session,
// over whatever connections it takes: what has no answer is sent again, as its standard says (section 4.4).
// A number counts as acknowledged with PUBACK or PUBCOMP. Packet identifiers are used again as soon as they
// are free.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "mqtt/packet.h"
#include "sim/world/sim_net.h"

namespace millrace::sim {

class SimDevice {
 public:
  SimDevice(std::string name, std::string address, int qos)
      : name_(std::move(name)), address_(std::move(address)), qos_(qos) {}

  // Publishes the next reading, if it is connected and few enough are open; else it tries to connect.
  // `payload` of a number.
  void publish(SimNet& net, const std::function<std::string(std::uint64_t)>& payload);
  void connect(SimNet& net);
  void cut() { stream_.reset(); }  // without a word

  const std::string& name() const { return name_; }
  int qos() const { return qos_; }
  bool waits() const { return !flying_.empty(); }
  const std::set<std::uint64_t>& acknowledged() const { return acknowledged_; }

 private:
  struct Flight {
    std::uint64_t number = 0;
    std::string payload;
    bool received = false;  // PUBREC has come
  };
  void hear(BytesView chunk);
  void on_packet(const mqtt::Packet& packet);
  void say(std::uint16_t id, bool again);

  static constexpr std::uint16_t open_max = 8;
  const std::string name_, address_;
  const int qos_;
  std::unique_ptr<Stream> stream_;
  mqtt::Framer framer_{1 << 16};
  bool welcome_ = false;
  std::uint64_t number_ = 0;
  std::map<std::uint16_t, Flight> flying_;
  std::set<std::uint64_t> acknowledged_;
};

}  // namespace millrace::sim
